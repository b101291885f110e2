import { asked } from "../../adapters/ask.ts";
import { knownJob } from "../../adapters/known-jobs.ts";
import { jobOf } from "../../adapters/objects.ts";
import { readUnits } from "../../adapters/unit-lists.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import {
  acksBodySchema,
  checkpointBodySchema,
  type LeaseAnswer,
  type LeasedUnit,
  leasesBodySchema,
  type Progress,
} from "../../core/jobs/lease.ts";
import type { Part, Unit } from "../../core/jobs/units/unit.ts";
import { ACKS_BODY_MAX_BYTES, LEASE_PARTS_MAX, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { ok, type Result } from "../../core/result.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { signGets } from "../jobs/sign-urls.ts";

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
  const leased = await asked(ASKED, async () => jobOf(c.env, id).lease(node, { request, count, epoch }));
  if (!leased.ok) return refuse(c, leased.failure);
  // As the URLs of R2 say it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const { expiresAt } = leased.value;
  if (expiresAt === null) {
    const wait = Math.min(WAIT_MAX_SECONDS, Math.ceil(spec.value.nodes / WAIT_NODES_A_SECOND));
    const retryAfterSeconds = leased.value.state === "wait" ? wait : null;
    return answer(c, { ...view(spec.value, leased.value, now), urlsExpireAt: null, retryAfterSeconds });
  }
  const units = await readUnits(
    c.env,
    id,
    leased.value.leases.map(({ unit }) => unit),
  );
  if (!units.ok) return refuse(c, units.failure);
  const fitting = await giveBackSurplus(c, id, node, leased.value, units.value);
  if (!fitting.ok) return refuse(c, fitting.failure);
  const outlive = Math.ceil((expiresAt - now) / 1000) + URLS_OUTLIVE_SECONDS;
  const left = Math.floor((spec.value.expiresAt - now) / 1000);
  const expiresSeconds = Math.max(1, Math.min(outlive, left, PRESIGN_MAX_SECONDS));
  const parts = fitting.value.units.flatMap((unit) => unit.parts);
  const signed = await signParts(c, spec.value, parts, via, expiresSeconds, now);
  if (!signed.ok) return refuse(c, signed.failure);
  const handed = fitting.value.leases.map((lease, index) => {
    const unit = fitting.value.units[index];
    return { ...lease, bytes: unit?.bytes ?? 0, parts: (unit?.parts ?? []).map(signed.value) };
  });
  return answer(c, {
    ...view(spec.value, leased.value, now),
    leases: handed,
    progress: fitting.value.progress,
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

/** Of leases that have more parts than one answer holds, the last are given back at once; one is always handed out. */
async function giveBackSurplus(
  c: Ctx,
  id: string,
  node: string,
  { leases: all, progress }: LeaseAnswer,
  units: readonly Unit[],
): Promise<Result<{ leases: LeasedUnit[]; units: readonly Unit[]; progress: Progress }>> {
  let parts = 0;
  let fits = 0;
  for (const unit of units) {
    parts += unit.parts.length;
    if (fits > 0 && parts > LEASE_PARTS_MAX) break;
    fits += 1;
  }
  if (fits === all.length) return ok({ leases: all, units, progress });
  const surplus = all.slice(fits).map(({ lease }) => ({ lease, outcome: "released" as const }));
  const released = await asked(ASKED, async () => jobOf(c.env, id).ack(node, surplus));
  if (!released.ok) return released;
  return ok({ leases: all.slice(0, fits), units: units.slice(0, fits), progress: released.value.progress });
}

/** Signs each key once, however many parts of it there are; returns how a part is answered. */
async function signParts(
  c: Ctx,
  spec: JobSpec,
  parts: readonly Part[],
  via: "r2" | "edge",
  expiresSeconds: number,
  now: number,
): Promise<Result<(part: Part) => unknown>> {
  const keys = [...new Set(parts.map(({ key }) => key))];
  const asking = { method: "GET" as const, via, keys, expiresSeconds };
  const signed = await signGets(c, spec, asking, expiresSeconds, now);
  if (!signed.ok) return signed;
  const byKey = new Map(signed.value.map((each) => [each.key, each]));
  return ok(({ key, size, ...place }) => {
    const { url = null, headers = {}, etag = null, size: served = null } = byKey.get(key) ?? {};
    // The version does not hold it: of a Zarr array, a chunk of fill values.
    if (etag === null) return { key, url: null, headers: {}, etag, size: 0, ...place };
    // The edge may serve a document that we made of its folder's metadata in place of an object.
    return { key, url, headers, etag, size: place.range === undefined ? (served ?? size) : size, ...place };
  });
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
