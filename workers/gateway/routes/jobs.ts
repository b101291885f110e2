import * as z from "zod";
import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";
import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { ContentDigest } from "../../adapters/content-digest.ts";
import { newId } from "../../adapters/ids.ts";
import { knownDataset } from "../../adapters/known-datasets.ts";
import { directoryOf, jobOf } from "../../adapters/objects.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { removeUnits, writeUnits } from "../../adapters/unit-lists.ts";
import { failure } from "../../core/failure.ts";
import { credentialsLife } from "../../core/jobs/credentials.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { type FinishBody, finishBodySchema, heartbeatBodySchema } from "../../core/jobs/node-requests.ts";
import { checkHashed } from "../../core/jobs/outputs.ts";
import { checkOutputPrefix, type JobBody, jobBodySchema } from "../../core/jobs/request.ts";
import { parseState, resumeAt, type State } from "../../core/jobs/resume.ts";
import { URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import type { Row } from "../../core/manifest/row.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { accountOf } from "../../core/sigv4/temporary-credentials.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { verifyOutputs } from "../jobs/verify-outputs.ts";
import { view } from "../jobs/view.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { unitsOf } from "../jobs/input.ts";
import { pinVersion } from "../jobs/pinned-version.ts";
import { accessOf } from "../jobs/access.ts";
import { bootstrapLine } from "./job-access.ts";

/**
 * `POST /v1/jobs`: a job on one sealed version, its token, how many units its input was cut into, the capability and endpoint
 * that its nodes read by, and a second capability, `readOutputs`, for what they put out themselves.
 */
export async function create(c: Ctx): Promise<Response> {
  const body = await readBody(c, jobBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const { resumeFrom } = body.value;
  const [datasetName = "", versionText = "live"] = body.value.dataset.split("@");
  const refused = datasetAllowed(tokenOf(c), datasetName) ?? checkOutputPrefix(body.value);
  if (refused !== null) return refuse(c, refused);
  // Before a version is sealed for it.
  const state = resumeFrom === undefined ? ok(null) : parseState(resumeFrom);
  if (!state.ok) return refuse(c, state.failure);
  const dataset = await knownDataset(c.env, datasetName);
  if (!dataset.ok) return refuse(c, dataset.failure);
  const pinned = await pinVersion(c.env, dataset.value.config, versionText);
  if (!pinned.ok) return refuse(c, pinned.failure);
  const { config } = dataset.value;
  const { sealed, warnings } = pinned.value;
  const { input, units } = body.value;
  const id = newId("job", Date.now());
  const content = new ContentDigest();
  const cut = await unitsOf(c, { config, sealed, input, targetBytes: units.targetBytes }, content);
  if (!cut.ok) return refuse(c, cut.failure);
  // Before the job is there: a job that is there has its list.
  const unitList = await writeUnits(c.env, id, cut.value.units, content);
  if (!unitList.ok) return refuse(c, unitList.failure);
  const spec = specOf(body.value, id, { config, sealed, arrays: cut.value.arrays, unitList: unitList.value });
  const begun = await begin(c, spec, state.value);
  if (begun.ok) return answer(c, { ...begun.value, warnings }, 201);
  // What is left of it the bucket's owner sees; nobody reads it.
  await removeUnits(c.env, id);
  return refuse(c, begun.failure);
}

function specOf(
  body: JobBody,
  id: string,
  of: { config: DatasetConfig; sealed: SealedVersion } & Required<Pick<JobSpec, "unitList" | "arrays">>,
): JobSpec {
  const now = Date.now();
  const { id: datasetId, name: datasetName, bucket, prefix } = of.config;
  const { resumeFrom: _, lostAfterSeconds = 10 * body.heartbeatTimeoutSeconds, ...fixed } = body;
  return {
    ...fixed,
    lostAfterSeconds,
    unitList: of.unitList,
    arrays: of.arrays,
    id,
    datasetName,
    datasetId,
    version: String(of.sealed.info.number),
    bucket,
    prefix,
    createdAt: now,
    expiresAt: now + body.ttlSeconds * 1000,
  };
}

/** Creates a job whose list is there, where an earlier one was, if it resumes; answers as who asked for it is answered. */
async function begin(c: Ctx, spec: JobSpec, state: State | null) {
  const { id, datasetId, createdAt: now } = spec;
  const resume = state === null ? ok(null) : resumeAt(state, spec);
  if (!resume.ok) return resume;
  const seconds = Math.floor(now / 1000);
  const times = { nbf: seconds, exp: seconds + spec.ttlSeconds, jti: crypto.randomUUID() };
  const token = await c.get("tokens").mintJobToken({ job: id, ds: datasetId, ...times });
  const access = await accessOf(c, spec, token, now);
  if (!access.ok) return access;
  const created = await jobOf(c.env, id).create(spec, resume.value);
  if (!created.ok) return created;
  return ok({ ...view(created.value), token, ...access.value, bootstrap: bootstrapLine(c, id, token) });
}

/**
 * `GET /v1/jobs/:id`; `reads` is what was observed at the edge, a few seconds ago. Other answers leave it out: a finish
 * that is asked again is answered the same.
 */
export async function status(c: Ctx): Promise<Response> {
  const job = await findJob(c);
  return job.ok ? answer(c, { ...view(job.value), reads: job.value.reads }) : refuse(c, job.failure);
}

/** `GET /v1/jobs` */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, z.strictObject(pageQuery));
  if (!query.ok) return refuse(c, query.failure);
  const page = await directoryOf(c.env).list(
    "job",
    query.value.cursor ?? null,
    query.value.limit,
    tokenOf(c).datasets ?? null,
  );
  const jobs = page.entries.map(({ id, state, summary, createdAt }) => ({
    id,
    state,
    ...summary,
    createdAt: new Date(createdAt).toISOString(),
  }));
  return answer(c, { jobs, ...(page.next === null ? {} : { cursor: formatCursor(page.next) }) });
}

/**
 * `POST /v1/jobs/:id/cancel`: its token and capability are revoked everywhere within 60 seconds. What R2 itself checks is
 * not: credentials live to their end, and so do presigned URLs.
 */
export async function cancel(c: Ctx): Promise<Response> {
  const job = await findJob(c);
  if (!job.ok) return refuse(c, job.failure);
  const cancelled = await jobOf(c.env, job.value.spec.id).cancel();
  if (!cancelled.ok) return refuse(c, cancelled.failure);
  return answer(c, { id: job.value.spec.id, state: cancelled.value, ...revocation(c, job.value.spec, Date.now()) });
}

/** When what a job's nodes hold is of no use any more, at the latest. */
function revocation(c: Ctx, spec: JobSpec, now: number) {
  const at = (time: number) => new Date(time).toISOString();
  const hasCredentials = accountOf(c.get("config").r2Endpoint) !== null;
  const credentialsExpireAt = hasCredentials ? at(now + credentialsLife(spec, now) * 1000) : null;
  const credentials = hasCredentials ? `temporary R2 credentials end by ${credentialsExpireAt}, and ` : "";
  const note =
    `The job's token is refused at once, its capabilities everywhere by revokedBy. Nothing revokes what R2 itself checks: ` +
    `${credentials}presigned URLs when each expires, at the latest with the job's own time at ${at(spec.expiresAt)}.`;
  return { revokedBy: at(now + 60_000), credentialsExpireAt, note };
}

/** `POST /v1/jobs/:id/heartbeat` */
export async function heartbeat(c: Ctx): Promise<Response> {
  const body = await readBody(c, heartbeatBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const { job } = c.get("job");
  const { node, ...said } = body.value;
  const heard = await jobOf(c.env, job).heartbeat(node, said);
  if (!heard.ok) return refuse(c, heard.failure);
  return answer(c, { id: job, ...heard.value, serverTime: new Date().toISOString() });
}

/** `POST /v1/jobs/:id/finish`: every output is looked at in the bucket before the manifest says that it is there. */
export async function finish(c: Ctx): Promise<Response> {
  const body = await readBody(c, finishBodySchema, URLS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const job = jobOf(c.env, c.get("job").job);
  const found = await job.status();
  if (!found.ok) return refuse(c, found.failure);
  // A finish whose answer was lost is asked again, and is no error.
  if (found.value.state === body.value.outcome) return answer(c, view(found.value));
  const begun = await job.beginFinish(body.value.outcome);
  if (!begun.ok) return refuse(c, begun.failure);
  const rows = await lookAtOutputs(c, found.value.spec, body.value);
  if (!rows.ok) {
    await job.goOn(begun.value.attempt);
    return refuse(c, rows.failure);
  }
  const finished = await job.finish(body.value.outcome, rows.value);
  const after = await job.status();
  if (!after.ok) return refuse(c, after.failure);
  // Two nodes may finish at once: the second finds what it wanted.
  if (finished.ok || after.value.state === body.value.outcome) return answer(c, view(after.value));
  await job.goOn(begun.value.attempt);
  return refuse(c, finished.failure);
}

/** Rows of what is not committed as yet, of the outputs that are named or of all. */
async function lookAtOutputs(c: Ctx, spec: JobSpec, body: FinishBody): Promise<Result<Row[]>> {
  const announced = await jobOf(c.env, spec.id).announced(body.outputs?.map(storeKey) ?? null);
  if (!announced.ok) return announced;
  const store = r2StoreOf(c.env, spec.bucket);
  if (store === null) return fail(failure("unknown-bucket"));
  const open = announced.value.filter(({ state }) => state === "announced");
  const tooMuch = checkHashed(open);
  if (tooMuch !== null) return fail(tooMuch);
  const verified = await verifyOutputs(
    store,
    spec,
    open.map((output) => ({ output })),
  );
  // A job that has failed may well lack what it announced; what it names must be there.
  const mayLack = body.outcome === "failed" && body.outputs === undefined;
  const isMissing = (each: Result<Row> | undefined) => each?.ok === false && each.failure.code === "output-missing";
  const refused = verified.find((each) => !each.ok && !(mayLack && isMissing(each)));
  if (refused !== undefined && !refused.ok) return refused;
  const groups = open.filter((_, index) => isMissing(verified[index])).map(({ checkpoint }) => checkpoint);
  const halves = new Set(groups.filter((name) => name !== null));
  // Of a checkpoint that lacks an output nothing is committed.
  return ok(
    verified.flatMap((each, index) => (each.ok && !halves.has(open[index]?.checkpoint ?? "") ? [each.value] : [])),
  );
}

async function findJob(c: Ctx): Promise<Result<JobStatus>> {
  const id = c.req.param("id") ?? "";
  const unknown = fail(failure("unknown-job", `There is no job "${id.slice(0, 64)}".`));
  if (!/^job_[0-9A-Z]{26}$/.test(id)) return unknown;
  const found = await jobOf(c.env, id).status();
  if (!found.ok) return unknown;
  const refused = datasetAllowed(tokenOf(c), found.value.spec.datasetName);
  return refused === null ? found : fail(refused);
}
