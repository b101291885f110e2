import { type datasetOf } from "../../workers/adapters/objects.ts";
import { sealedAmong, sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import type { CleanManifest } from "./cleanup.ts";

/** Requests that looking keys up in versions may make: with seven for each item of a run, within an invocation's 10,000. */
const LOOK_UPS_MAX = 5000;

/**
 * What a job that deletes what it never committed asks and tells the manifest: who found it before, as a migration that met
 * the same bytes, has written a row, and that may have been sealed.
 */
export const cleanManifestOf = (
  env: Env,
  dataset: ReturnType<typeof datasetOf>,
  { id: job, datasetId, datasetName, prefix }: JobSpec,
  store: ObjectStore,
): CleanManifest => ({
  async whileUnsealed(objects, work) {
    const holder = `${job}/clean/${crypto.randomUUID()}`;
    await dataset.holdSealing(datasetId, holder);
    try {
      const among = { id: datasetId, name: datasetName };
      const sealed = await sealedAmong(sealedKeysOf(env), among, objects, { left: LOOK_UPS_MAX });
      if (!sealed.ok) throw new Error(sealed.failure.detail);
      await work(sealed.value);
    } finally {
      await dataset.releaseSealing(holder);
    }
  },

  async gone(key, mayBeFound) {
    // A row of it may be under way: it is then held against this hint, and R2 is asked.
    if (!mayBeFound && (await dataset.remember([key])).length === 0) return;
    const hinted = await dataset.hint(datasetId, [{ key, etag: null }]);
    if (!hinted.ok) throw new Error(hinted.failure.detail);
    const there = await store.head(prefix + key);
    if (there.ok) return;
    if (there.failure.code !== "object-not-found") throw new Error(there.failure.detail);
    const answers = hinted.value.questions.map((question) => ({ ...question, row: null }));
    const answered = await dataset.answerRows(datasetId, answers);
    if (!answered.ok) throw new Error(answered.failure.detail);
  },
});
