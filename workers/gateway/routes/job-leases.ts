import { asked } from "../../adapters/ask.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { jobOf } from "../../adapters/objects.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { acksBodySchema, checkpointBodySchema, type LeaseAnswer, leasesBodySchema } from "../../core/jobs/lease.ts";
import { likelyFit } from "../../core/jobs/units/likely-fit.ts";
import { ACKS_BODY_MAX_BYTES, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { handOut } from "../jobs/hand-out.ts";

/** Seconds that the URLs outlive the lease: for what was begun in its last moment. */
const URLS_OUTLIVE_SECONDS = 300;

/** Seconds after which to ask again while all units are out: one for each so many expected nodes, so that they stay few a second. */
const WAIT_NODES_A_SECOND = 100;
const WAIT_MAX_SECONDS = 30;

const ASKED = "The job";

/** `POST /v1/jobs/:id/leases`: units for a node, with URLs that outlive the lease. Asked again, the same with fresh URLs. */
export async function leases(c: Ctx): Promise<Response> {
  const body = await readBody(c, leasesBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const id = c.get("job").job;
  const spec = await knownJob(c.env, id);
  if (!spec.ok) return refuse(c, spec.failure);
  const { node, request, count, epoch = null, via } = body.value;
  const asking = { request, count: Math.min(count, likelyFit(spec.value)), epoch };
  const leased = await asked(ASKED, async () => jobOf(c.env, id).lease(node, asking));
  if (!leased.ok) return refuse(c, leased.failure);
  // As the URLs of R2 say it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const { expiresAt } = leased.value;
  if (expiresAt === null) {
    const wait = Math.min(WAIT_MAX_SECONDS, Math.ceil(spec.value.nodes / WAIT_NODES_A_SECOND));
    const retryAfterSeconds = leased.value.state === "wait" ? wait : null;
    return answer(c, { ...view(spec.value, leased.value, now), urlsExpireAt: null, retryAfterSeconds });
  }
  const outlive = Math.ceil((expiresAt - now) / 1000) + URLS_OUTLIVE_SECONDS;
  const left = Math.floor((spec.value.expiresAt - now) / 1000);
  const expiresSeconds = Math.max(1, Math.min(outlive, left, PRESIGN_MAX_SECONDS));
  const handed = await handOut(c, spec.value, node, leased.value, { via, expiresSeconds, now });
  if (!handed.ok) return refuse(c, handed.failure);
  return answer(c, {
    ...view(spec.value, leased.value, now),
    ...handed.value,
    urlsExpireAt: timeOf(now + expiresSeconds * 1000),
    retryAfterSeconds: null,
  });
}

/** `POST /v1/jobs/:id/acks`: what came of leases. Repeated, it is answered as it was. */
export async function acks(c: Ctx): Promise<Response> {
  const body = await readBody(c, acksBodySchema, ACKS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const job = c.get("job").job;
  const settled = await asked(ASKED, async () => jobOf(c.env, job).ack(body.value.node, body.value.acks));
  if (!settled.ok) return refuse(c, settled.failure);
  return answer(c, { ...settled.value, serverTime: timeOf(Date.now()) });
}

/** `POST /v1/jobs/:id/checkpoint`: where the job is, as text from which another can begin (`resumeFrom`). */
export async function checkpoint(c: Ctx): Promise<Response> {
  const body = await readBody(c, checkpointBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const kept = await asked(ASKED, async () => jobOf(c.env, c.get("job").job).resumeState());
  if (!kept.ok) return refuse(c, kept.failure);
  const { state, epoch, progress } = kept.value;
  return answer(c, { state, epoch, progress, serverTime: timeOf(Date.now()) });
}

function view(
  { units: { epochs } }: JobSpec,
  { state, epoch, leases: none, expiresAt, progress }: LeaseAnswer,
  now: number,
) {
  const refreshAfter = expiresAt === null ? null : timeOf(now + Math.floor((expiresAt - now) * 0.75));
  const times = { expiresAt: expiresAt === null ? null : timeOf(expiresAt), refreshAfter, serverTime: timeOf(now) };
  return { state, epoch, epochs, leases: none, ...times, progress };
}

const timeOf = (at: number): string => new Date(at).toISOString();
