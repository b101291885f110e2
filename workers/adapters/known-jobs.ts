import type { JobSpec } from "../core/jobs/job.ts";
import { ok, type Result } from "../core/result.ts";
import { asked } from "./ask.ts";
import { jobOf } from "./objects.ts";
import { WeighedMemo } from "./weighed-memo.ts";

/** Bytes of specifications that an isolate keeps; one that names ten thousand keys may have a megabyte. */
const KEPT_BYTES = 4 * 1024 * 1024;
const known = new WeighedMemo<JobSpec>(KEPT_BYTES);

/** What never changes of a job. */
export async function knownJob(env: Env, id: string): Promise<Result<JobSpec>> {
  const kept = known.get(id);
  if (kept !== null) return ok(kept);
  const found = await asked("The job", async () => jobOf(env, id).spec());
  if (found.ok) known.set(id, found.value, 2 * JSON.stringify(found.value).length);
  return found;
}
