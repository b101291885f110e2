import { configOf } from "../../../workers/adapters/config.ts";
import { jobOf } from "../../../workers/adapters/objects.ts";
import { tokensOf } from "../../../workers/adapters/tokens.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import { jobBodySchema } from "../../../workers/core/jobs/request.ts";
import { jobSpec } from "./job.ts";
import { must } from "./run.ts";

/** A job that runs, its token, and its object. What it reads is as a request names it. */
export async function startJob(seen: Env, more: Partial<Omit<JobSpec, "input">> & { input: object }) {
  const input = jobBodySchema.shape.input.parse(more.input);
  const spec = jobSpec({ ...more, input });
  const job = jobOf(seen, spec.id);
  must(await job.create(spec));
  const nbf = Math.floor(spec.createdAt / 1000);
  const claims = { job: spec.id, ds: spec.datasetId, nbf, exp: Math.floor(spec.expiresAt / 1000), jti: spec.id };
  const token = await tokensOf(seen, must(configOf(seen))).mintJobToken(claims);
  return { spec, job, token, root: `/v1/jobs/${spec.id}` };
}
