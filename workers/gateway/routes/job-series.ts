import * as z from "zod";
import { jobOf } from "../../adapters/objects.ts";
import { seriesNameSchema } from "../../core/jobs/node-requests.ts";
import { SERIES_NAMES_MAX } from "../../core/limits.ts";
import { readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { namedJob } from "../jobs/named-job.ts";

const seriesQuerySchema = z.strictObject({
  /** Names, with commas between them; all that there are, if absent. */
  names: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(seriesNameSchema).max(SERIES_NAMES_MAX))
    .optional(),
});

/** `GET /v1/jobs/:id/series`: what heartbeats said of step, epoch, loss and metrics, over the life of the job. */
export async function series(c: Ctx): Promise<Response> {
  const query = readQuery(c, seriesQuerySchema);
  if (!query.ok) return refuse(c, query.failure);
  const job = await namedJob(c);
  if (!job.ok) return refuse(c, job.failure);
  const found = await jobOf(c.env, job.value.id).series(query.value.names ?? null);
  return found.ok ? answer(c, found.value) : refuse(c, found.failure);
}
