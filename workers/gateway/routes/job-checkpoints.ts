import * as z from "zod";
import { asked } from "../../adapters/ask.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { jobOf } from "../../adapters/objects.ts";
import { failure } from "../../core/failure.ts";
import { PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { outputSigner } from "../jobs/output-urls.ts";

const query = z.strictObject({
  expiresSeconds: z.coerce.number().int().min(1).max(PRESIGN_MAX_SECONDS).default(3600),
});

/** `GET /v1/jobs/:id/checkpoints`: those that are committed and stay, newest first. */
export async function list(c: Ctx): Promise<Response> {
  const none = readQuery(c, z.strictObject({}));
  if (!none.ok) return refuse(c, none.failure);
  const id = c.req.param("id") ?? "";
  const found = await asked("The job", async () => jobOf(c.env, id).checkpoints());
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
  const id = c.req.param("id") ?? "";
  const name = c.req.param("name") ?? "";
  const spec = await knownJob(c.env, id);
  if (!spec.ok) return refuse(c, spec.failure);
  const found = await asked("The job", async () => jobOf(c.env, id).checkpoint(name === "latest" ? null : name));
  if (!found.ok) return refuse(c, found.failure);
  // A node's URLs end with its job.
  const until = c.get("apiToken") === undefined ? { until: spec.value.expiresAt } : {};
  const signer = await outputSigner(c, spec.value, { seconds: asks.value.expiresSeconds, ...until });
  if (!signer.ok) return refuse(c, signer.failure);
  const outputs: object[] = [];
  for (const { key, size, etag, sha256 } of found.value.outputs) {
    if (etag === null) return refuse(c, failure("internal"));
    const signed = await signer.value.get(key, etag);
    if (!signed.ok) return refuse(c, signed.failure);
    outputs.push({ key, size, etag, sha256, ...signed.value });
  }
  const { committedAt, name: called } = found.value.checkpoint;
  const at = committedAt === null ? null : new Date(committedAt).toISOString();
  return answer(c, { name: called, committedAt: at, outputs, ...signer.value.times });
}
