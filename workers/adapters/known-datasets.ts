import { failure } from "../core/failure.ts";
import type { DatasetConfig } from "../core/manifest/dataset.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { Memo } from "./memo.ts";
import { datasetOf } from "./objects.ts";

/** Milliseconds for which an answer holds, and for which it does when the dataset cannot be asked. */
const ASK_MS = 10_000;
const HOLD_MS = 300_000;

/** What this isolate knows of a dataset. */
export interface KnownDataset {
  config: DatasetConfig;
  /** The ids of revoked capabilities, and the second up to which all are. */
  revoked: { ids: ReadonlySet<string>; upTo: number };
  hasTombstones: boolean;
}

const memo = new Memo<KnownDataset>(1000);

/** What is remembered and may be relied on; null: ask. */
export const recallDataset = (name: string, now: number): KnownDataset | null => memo.get(name, now, ASK_MS);

/**
 * A dataset's configuration and its revoked capabilities, remembered for 10 seconds in this isolate: a change holds
 * everywhere after that. While the Dataset object cannot be asked (it is reset by every deployment), the last answer
 * holds for five minutes, and then nothing is served.
 */
export async function knownDataset(env: Env, name: string): Promise<Result<KnownDataset>> {
  const now = Date.now();
  const known = recallDataset(name, now);
  if (known !== null) return ok(known);
  try {
    const view = await datasetOf(env, name).readerView();
    if (!view.ok) return view;
    const { config, revoked, hasTombstones } = view.value;
    const fresh = { config, revoked: { ids: new Set(revoked.ids), upTo: revoked.upTo }, hasTombstones };
    memo.set(name, fresh, now);
    return ok(fresh);
  } catch {
    const held = memo.get(name, now, HOLD_MS);
    return held === null ? fail(failure("store-unavailable", "The dataset cannot be asked at the moment.")) : ok(held);
  }
}
