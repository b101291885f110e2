import { createMemoryVersion } from "../../workers/adapters/memory-versions.ts";
import { describeVersionResolver } from "./version-resolver.ts";

describeVersionResolver("a version in memory", async (objects) => createMemoryVersion(objects));
