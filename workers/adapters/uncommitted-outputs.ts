import { ok, type Result } from "../core/result.ts";
import { asked } from "./ask.ts";
import { jobOf } from "./objects.ts";

/** Of these keys of a dataset, those at which the job has put what it has not committed. */
export type UncommittedKeys = (
  job: string,
  datasetId: string,
  keys: readonly string[],
) => Promise<Result<ReadonlySet<string>>>;

/**
 * Asks the job that an object's metadata name. A name that no job can have is nobody's; of one that never was, and of
 * keys that the job never announced, nothing is said: these are objects like any other.
 */
export const uncommittedIn =
  (env: Env): UncommittedKeys =>
  async (job, datasetId, keys) => {
    // An object is made by asking for it: only names that a job can have are asked for.
    if (!/^job_[0-9A-Z]{26}$/.test(job)) return ok(new Set());
    return asked("The job", async () => ok(new Set(await jobOf(env, job).uncommittedAmong(datasetId, [...keys]))));
  };
