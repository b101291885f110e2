import { failure } from "../core/failure.ts";
import type { DatasetConfig } from "../core/manifest/dataset.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { Answers } from "./answers.ts";
import { datasetOf } from "./objects.ts";

/** What this isolate knows of a dataset. */
export interface KnownDataset {
  config: DatasetConfig;
  /** The ids of revoked capabilities, and the second up to which all are. */
  revoked: { ids: ReadonlySet<string>; upTo: number };
  hasTombstones: boolean;
}

/** A change holds everywhere after ten seconds. */
const answers = new Answers<KnownDataset>({ askMs: 10_000, holdMs: 300_000, max: 1000 });

/** What is remembered and may be relied on; null: ask. */
export const recallDataset = (name: string, now: number): KnownDataset | null => answers.recall(name, now);

/** A dataset's configuration and its revoked capabilities. Where they cannot be asked, nothing is served. */
export async function knownDataset(
  env: Env,
  name: string,
  waitUntil: (work: Promise<unknown>) => void = () => undefined,
): Promise<Result<KnownDataset>> {
  const ask = async (): Promise<Result<KnownDataset>> => {
    const view = await datasetOf(env, name).readerView();
    if (!view.ok) return view;
    const { config, revoked, hasTombstones } = view.value;
    return ok({ config, revoked: { ids: new Set(revoked.ids), upTo: revoked.upTo }, hasTombstones });
  };
  const answer = await answers.get(name, Date.now(), ask, waitUntil);
  return answer ?? fail(failure("store-unavailable", "The dataset cannot be asked at the moment."));
}
