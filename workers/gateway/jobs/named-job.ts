import { knownJob } from "../../adapters/known-jobs.ts";
import type { ApiToken } from "../../adapters/config.ts";
import { failure } from "../../core/failure.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { fail, type Result } from "../../core/result.ts";
import { datasetAllowed } from "../auth.ts";
import type { Ctx } from "../context.ts";

/** Null for the token of a job. */
export const apiTokenOf = (c: Ctx): ApiToken | null => (c.get("apiToken") as ApiToken | undefined) ?? null;

/** The job in the path, of a dataset that the API token may touch; the token of the job itself may. */
export async function namedJob(c: Ctx): Promise<Result<JobSpec>> {
  const id = c.req.param("id") ?? "";
  const unknown = failure("unknown-job", `There is no job "${id.slice(0, 64)}".`);
  // An object is made by asking for it: only ids that a job can have are asked for.
  if (!/^job_[0-9A-Z]{26}$/.test(id)) return fail(unknown);
  const found = await knownJob(c.env, id);
  if (!found.ok) return fail(found.failure.code === "unknown-job" ? unknown : found.failure);
  const token = apiTokenOf(c);
  const refused = token === null ? null : datasetAllowed(token, found.value.datasetName);
  return refused === null ? found : fail(refused);
}
