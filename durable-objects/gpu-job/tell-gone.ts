import type { datasetOf } from "../../workers/adapters/objects.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";

/**
 * Has the manifest lose the row of a key at which a job has deleted what it never committed: who found it before, as a
 * migration that met the same bytes, has written one. R2 is asked once more in between, so that what is put meanwhile stays a
 * row. Throws where that cannot be done now; safe to do twice.
 */
export async function tellGone(
  dataset: ReturnType<typeof datasetOf>,
  { datasetId, prefix }: JobSpec,
  store: ObjectStore | null,
  key: string,
): Promise<void> {
  const rows = await dataset.remember([key]);
  if (rows.length === 0 || store === null) return;
  const hinted = await dataset.hint(datasetId, [{ key, etag: null }]);
  if (!hinted.ok) throw new Error(hinted.failure.detail);
  const there = await store.head(prefix + key);
  if (there.ok) return;
  if (there.failure.code !== "object-not-found") throw new Error(there.failure.detail);
  const answers = hinted.value.questions.map((question) => ({ ...question, row: null }));
  const answered = await dataset.answerRows(datasetId, answers);
  if (!answered.ok) throw new Error(answered.failure.detail);
}
