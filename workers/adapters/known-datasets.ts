import type { DatasetConfig } from "../core/manifest/dataset.ts";
import { ok, type Result } from "../core/result.ts";
import { Memo } from "./memo.ts";
import { datasetOf } from "./objects.ts";

const MAX_AGE_MS = 10_000;
const memo = new Memo<DatasetConfig>(1000);

/** A dataset's configuration, remembered for 10 seconds in this isolate: a change holds everywhere after that. */
export async function knownDataset(env: Env, name: string): Promise<Result<DatasetConfig>> {
  const now = Date.now();
  const known = memo.get(name, now, MAX_AGE_MS);
  if (known !== null) return ok(known);
  const config = await datasetOf(env, name).config();
  if (config.ok) memo.set(name, config.value, now);
  return config;
}
