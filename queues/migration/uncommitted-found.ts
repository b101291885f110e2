import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { hiddenAmong } from "../../workers/adapters/uncommitted-outputs.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { fail, type Result } from "../../workers/core/result.ts";
import type { Run } from "./run.ts";

/**
 * Of keys at which R2 has the source's very bytes without a row of it, those at which that is an output which a job has put and
 * not committed. Listings tell nothing of who put an object: each costs a look, once, for then it has a row.
 *
 * @param keys as R2 calls them, relative to the prefix
 */
export async function uncommittedFound(run: Run, keys: readonly string[]): Promise<Result<ReadonlySet<string>>> {
  const found: { key: string; etag: string; job: string | undefined }[] = [];
  let trouble: Failure | null = null;
  await forEachLimited(keys, CONNECTIONS_MAX, async (key) => {
    const head = await run.store.head(run.spec.prefix + key);
    if (head.ok) found.push({ key, etag: head.value.etag, job: head.value.custom[OUTPUT_JOB] });
    else if (head.failure.code !== "object-not-found") trouble = head.failure;
  });
  return trouble === null ? hiddenAmong(run.uncommitted, run.spec.datasetId, found) : fail(trouble);
}
