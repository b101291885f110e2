import * as z from "zod";
import { asked } from "../../adapters/ask.ts";
import { jobOf } from "../../adapters/objects.ts";
import { failure } from "../../core/failure.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import type { Result } from "../../core/result.ts";
import { readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { apiTokenOf, namedJob } from "../jobs/named-job.ts";
import { outputSigner } from "../jobs/output-urls.ts";

const query = z.strictObject({
  expiresSeconds: z.coerce.number().int().min(1).max(PRESIGN_MAX_SECONDS).default(3600),
});

/** `GET /v1/jobs/:id/checkpoints`: those that are committed and stay, newest first. */
export async function list(c: Ctx): Promise<Response> {
  const none = readQuery(c, z.strictObject({}));
  if (!none.ok) return refuse(c, none.failure);
  const spec = await readableJob(c);
  if (!spec.ok) return refuse(c, spec.failure);
  const found = await asked("The job", async () => jobOf(c.env, spec.value.id).checkpoints());
  if (!found.ok) return refuse(c, found.failure);
  const checkpoints = found.value.map(({ committedAt, ...rest }) => ({
    ...rest,
    committedAt: new Date(committedAt).toISOString(),
  }));
  return answer(c, { checkpoints, serverTime: new Date().toISOString() });
}

/**
 * `GET /v1/jobs/:id/checkpoints/:name`, and `latest`: a whole checkpoint, with URLs that read it and nothing later. The
 * latest is the last that was committed, in one step.
 */
export async function get(c: Ctx): Promise<Response> {
  const asks = readQuery(c, query);
  if (!asks.ok) return refuse(c, asks.failure);
  const spec = await readableJob(c);
  if (!spec.ok) return refuse(c, spec.failure);
  const name = c.req.param("name") ?? "";
  const job = jobOf(c.env, spec.value.id);
  const found = await asked("The job", async () => job.checkpoint(name === "latest" ? null : name));
  if (!found.ok) return refuse(c, found.failure);
  // A node's URLs end with its job.
  const until = apiTokenOf(c) === null ? { until: spec.value.expiresAt } : {};
  const signer = await outputSigner(c, spec.value, { seconds: asks.value.expiresSeconds, ...until });
  if (!signer.ok) return refuse(c, signer.failure);
  const outputs: object[] = [];
  for (const { key, size, etag, sha256 } of found.value.outputs) {
    if (etag === null) return refuse(c, failure("internal"));
    const signed = signer.value.get(key, etag);
    if (!signed.ok) return refuse(c, signed.failure);
    outputs.push({ key, size, etag, sha256, ...signed.value });
  }
  const { committedAt, name: called } = found.value.checkpoint;
  const at = committedAt === null ? null : new Date(committedAt).toISOString();
  return answer(c, { name: called, committedAt: at, outputs, ...signer.value.times });
}

/** Who has the role reads them after the job's end too: a job that resumes needs the last. Its own token has ended with it. */
async function readableJob(c: Ctx): Promise<Result<JobSpec>> {
  const spec = await namedJob(c);
  if (!spec.ok || apiTokenOf(c) !== null) return spec;
  const admitted = await asked("The job", async () => jobOf(c.env, spec.value.id).admit());
  return admitted.ok ? spec : admitted;
}
