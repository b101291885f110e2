import type { KnownOutput } from "../../../durable-objects/gpu-job/outputs.ts";
import { asked } from "../../adapters/ask.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { jobOf } from "../../adapters/objects.ts";
import { givenUp } from "../../adapters/uncommitted-outputs.ts";
import type { Failure } from "../../core/failure.ts";
import { failure } from "../../core/failure.ts";
import { type JobSpec, OUTPUT_JOB } from "../../core/jobs/job.ts";
import { quoted } from "../../core/jobs/output-keys.ts";
import { markOf } from "../../core/jobs/output-mark.ts";
import { CONNECTIONS_MAX } from "../../core/limits.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectStore } from "../../ports/object-store.ts";

/**
 * Whether nothing is at these keys; `output-taken` names one at which something is. What a job that has ended has put and
 * never committed is given up for it.
 */
export async function checkFree(
  env: Env,
  store: ObjectStore,
  spec: JobSpec,
  keys: readonly string[],
): Promise<Failure | null> {
  const refused: Failure[] = [];
  await forEachLimited(keys, CONNECTIONS_MAX, async (key) => {
    const there = await store.head(spec.prefix + key);
    if (!there.ok && there.failure.code !== "object-not-found") refused.push(there.failure);
    if (!there.ok) return;
    const owner = there.value.custom[OUTPUT_JOB];
    const isOurs = owner === spec.id;
    if (owner !== undefined && !isOurs) {
      const given = await givenUp(env, owner, spec.datasetId, key);
      if (!given.ok) refused.push(given.failure);
      if (!given.ok || given.value) return;
    }
    const wayOut = isOurs ? "put by an older URL of the job; abort it, or choose another key" : "choose another key";
    refused.push(failure("output-taken", `Something is at ${quoted(key)} already: ${wayOut}.`, { field: "outputs" }));
  });
  return refused[0] ?? null;
}

/**
 * Sees to it that each output which goes in parts has its upload. R2 creates it before the job knows of it: one that was
 * created by a request that died is nobody's, and R2 drops it after seven days. Of two requests at once the first that the
 * job hears of wins.
 */
export async function openUploads(
  env: Env,
  store: ObjectStore,
  spec: JobSpec,
  outputs: readonly KnownOutput[],
): Promise<Result<KnownOutput[]>> {
  const opened = new Map<string, string>();
  let problem: Failure | null = null;
  const missing = outputs.filter(({ partBytes, uploadId }) => partBytes !== null && uploadId === null);
  await forEachLimited(missing, CONNECTIONS_MAX, async ({ key, contentType, generation }) => {
    if (problem !== null) return;
    const metadata = { http: { contentType }, custom: markOf(spec.id, generation) };
    const created = await store.createUpload(spec.prefix + key, metadata);
    const kept = created.ok
      ? await asked("The job", async () => jobOf(env, spec.id).recordUpload(key, generation, created.value))
      : created;
    if (kept.ok) opened.set(key, kept.value);
    else problem = kept.failure;
  });
  if (problem !== null) return fail(problem);
  return ok(outputs.map((output) => ({ ...output, uploadId: opened.get(output.key) ?? output.uploadId })));
}
