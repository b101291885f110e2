import { failure } from "../core/failure.ts";
import type { DatasetConfig } from "../core/manifest/dataset.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { Memo } from "./memo.ts";
import { datasetOf } from "./objects.ts";

/** Milliseconds for which a configuration holds, and for which it does when the dataset cannot be asked. */
const ASK_MS = 10_000;
const HOLD_MS = 300_000;
const memo = new Memo<DatasetConfig>(1000);

/**
 * A dataset's configuration, remembered for 10 seconds in this isolate: a change holds everywhere after that. While
 * the Dataset object cannot be asked (it is reset by every deployment), the last answer holds for five minutes.
 */
export async function knownDataset(env: Env, name: string): Promise<Result<DatasetConfig>> {
  const now = Date.now();
  const known = memo.get(name, now, ASK_MS);
  if (known !== null) return ok(known);
  try {
    const config = await datasetOf(env, name).config();
    if (config.ok) memo.set(name, config.value, now);
    return config;
  } catch {
    const held = memo.get(name, now, HOLD_MS);
    return held === null ? fail(failure("store-unavailable", "The dataset cannot be asked at the moment.")) : ok(held);
  }
}
