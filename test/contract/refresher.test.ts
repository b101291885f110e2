import { env } from "cloudflare:workers";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { describeRefresher } from "./refresher.ts";

describeRefresher("the R2 store", () => createR2Store(env.DATASETS));
