import { ok, type Result } from "../core/result.ts";
import { asked } from "./ask.ts";
import { jobOf } from "./objects.ts";

/** Of these objects of a dataset that say they are the job's, the keys of those that it has not committed. */
export type UncommittedKeys = (
  job: string,
  datasetId: string,
  objects: readonly { key: string; etag: string }[],
) => Promise<Result<ReadonlySet<string>>>;

/**
 * Asks the job that an object's metadata name. A name that no job can have is nobody's; of one that never was, and of
 * keys that the job never announced, nothing is said: these are objects like any other.
 */
export const uncommittedIn =
  (env: Env): UncommittedKeys =>
  async (job, datasetId, objects) => {
    if (!isJobId(job)) return ok(new Set());
    return asked("The job", async () => ok(new Set(await jobOf(env, job).uncommittedAmong(datasetId, [...objects]))));
  };

/** An object is made by asking for it: only names that a job can have are asked for. */
const isJobId = (job: string): boolean => /^job_[0-9A-Z]{26}$/.test(job);

/** Whether the job that an object's metadata name has ended, never committed it, and has taken it away for another job. */
export const givenUp = async (env: Env, job: string, datasetId: string, key: string): Promise<Result<boolean>> =>
  isJobId(job) ? asked("The job", async () => ok(await jobOf(env, job).giveUpOutput(datasetId, key))) : ok(false);

/**
 * The keys of objects that their jobs have put and not committed.
 *
 * @param found objects, with the job that the metadata of each name
 */
export async function hiddenAmong(
  uncommitted: UncommittedKeys,
  datasetId: string,
  found: readonly { key: string; etag: string; job: string | undefined }[],
): Promise<Result<ReadonlySet<string>>> {
  const hidden = new Set<string>();
  for (const [job, some] of Map.groupBy(found, (each) => each.job)) {
    if (job === undefined) continue;
    const keys = await uncommitted(
      job,
      datasetId,
      some.map(({ key, etag }) => ({ key, etag })),
    );
    if (!keys.ok) return keys;
    for (const key of keys.value) hidden.add(key);
  }
  return ok(hidden);
}
