import * as z from "zod";
import { asked } from "../../adapters/ask.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { jobOf } from "../../adapters/objects.ts";
import { bootstrapScript } from "../../core/jobs/bootstrap.ts";
import { shellQuoted } from "../../core/jobs/environment.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { ok, type Result } from "../../core/result.ts";
import { bearer } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { type Access, accessOf } from "../jobs/access.ts";

/** `POST /v1/jobs/:id/token`: root URLs, credentials and environment anew, while the job runs. */
export async function refresh(c: Ctx): Promise<Response> {
  const body = await readBody(c, z.strictObject({}));
  if (!body.ok) return refuse(c, body.failure);
  const access = await accessNow(c);
  return access.ok ? answer(c, access.value.access) : refuse(c, access.failure);
}

/** `GET /v1/jobs/:id/bootstrap`: a script of POSIX sh that makes a machine a node; it needs curl alone. */
export async function bootstrap(c: Ctx): Promise<Response> {
  const query = readQuery(c, z.strictObject({}));
  if (!query.ok) return refuse(c, query.failure);
  const access = await accessNow(c);
  if (!access.ok) return refuse(c, access.failure);
  return new Response(bootstrapScript(access.value.spec.id, access.value.access.environment), {
    headers: {
      "content-type": "text/x-shellscript; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-request-id": c.get("requestId"),
    },
  });
}

/** The line that a node runs. The token goes by a builtin and a pipe: a command line is anybody's to see. */
export function bootstrapLine(c: Ctx, job: string, token: string): string {
  const url = `${new URL(c.req.url).origin}/v1/jobs/${job}/bootstrap`;
  const header = shellQuoted(`header = "Authorization: Bearer ${token}"`);
  return `printf '%s\\n' ${header} | curl -fsS -K - ${shellQuoted(url)} | sh`;
}

/** The job itself is asked whether it has ended: its token is of no use from then on. */
async function accessNow(c: Ctx): Promise<Result<{ spec: JobSpec; access: Access }>> {
  const { job: id } = c.get("job");
  const found = await knownJob(c.env, id);
  if (!found.ok) return found;
  const admitted = await asked("The job", async () => jobOf(c.env, id).admit());
  if (!admitted.ok) return admitted;
  const token = bearer(c.req.header("authorization"));
  if (!token.ok) return token;
  const access = await accessOf(c, found.value, token.value, Date.now());
  return access.ok ? ok({ spec: found.value, access: access.value }) : access;
}
