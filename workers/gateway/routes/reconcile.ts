import * as z from "zod";
import { markBusy } from "../../adapters/mark-busy.ts";
import { datasetOf } from "../../adapters/objects.ts";
import type { WalkStatus } from "../../core/manifest/reconcile.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";

const bodySchema = z.strictObject({
  /** Read what has none of these, and keep them in its row. */
  checksums: z
    .array(z.enum(["sha256"]))
    .max(1)
    .default([]),
});

/** `POST /v1/datasets/:dataset/reconcile`: walks the bucket and mends the manifest; answers the walk that runs already. */
export async function start(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const body = await readBody(c, bodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const begun = await datasetOf(c.env, name).beginWalk(body.value.checksums.length > 0);
  if (!begun.ok) return refuse(c, begun.failure);
  await markBusy(c.env, name);
  return answer(c, shown(name, begun.value.status), 202);
}

/** `GET /v1/datasets/:dataset/reconcile`: the walk that runs, or ran last. */
export async function status(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const walk = await datasetOf(c.env, name).walkStatus();
  if (!walk.ok) return refuse(c, walk.failure);
  return answer(c, walk.value === null ? { dataset: name, state: "never" } : shown(name, walk.value));
}

function shown(dataset: string, { state, problem, checksums, counts, ...times }: WalkStatus) {
  const { startedAt, updatedAt, endedAt } = times;
  return {
    dataset,
    state,
    problem,
    checksums,
    ...counts,
    startedAt: new Date(startedAt).toISOString(),
    updatedAt: new Date(updatedAt).toISOString(),
    endedAt: endedAt === null ? null : new Date(endedAt).toISOString(),
  };
}
