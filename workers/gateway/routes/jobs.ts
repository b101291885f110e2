import * as z from "zod";
import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";
import type { Found } from "../../../durable-objects/gpu-job/outputs.ts";
import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { ContentDigest } from "../../adapters/content-digest.ts";
import { newId } from "../../adapters/ids.ts";
import { asked } from "../../adapters/ask.ts";
import { knownDataset } from "../../adapters/known-datasets.ts";
import { directoryOf, jobOf } from "../../adapters/objects.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { removeUnits, writeUnits } from "../../adapters/unit-lists.ts";
import { type FailureCode, failure } from "../../core/failure.ts";
import { credentialsLife } from "../../core/jobs/credentials.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { type FinishBody, finishBodySchema, heartbeatBodySchema } from "../../core/jobs/node-requests.ts";
import { storeKeys } from "../../core/jobs/output-keys.ts";
import { checkHashed, checkLooks } from "../../core/jobs/outputs.ts";
import { checkOutputPrefix, type JobBody, jobBodySchema } from "../../core/jobs/request.ts";
import { parseState, resumeAt, type State } from "../../core/jobs/resume.ts";
import { BODY_MAX_BYTES, URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
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
  const body = await readBody(c, jobBodySchema, BODY_MAX_BYTES, { wayOut: "name keys by prefixes or globs" });
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
  const { spec } = job.value;
  const cancelled = await jobOf(c.env, spec.id).cancel();
  // A cancel whose answer was lost is asked again, and is no error; two may come at once.
  const after = await findJob(c);
  if (!after.ok) return refuse(c, after.failure);
  const { state, endedAt } = after.value;
  if (!cancelled.ok && state !== "cancelled") return refuse(c, cancelled.failure);
  return answer(c, { id: spec.id, state, ...revocation(c, spec, endedAt ?? Date.now()) });
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
  const { outcome, outputs } = body.value;
  const keys = outputs === undefined ? ok(null) : storeKeys(outputs, (index) => `outputs.${index}`);
  if (!keys.ok) return refuse(c, keys.failure);
  const found = await askJob(c, (job) => job.status());
  if (!found.ok) return refuse(c, found.failure);
  // A finish whose answer was lost is asked again, and is no error.
  if (found.value.state === outcome) return answer(c, view(found.value));
  const begun = await askJob(c, (job) => job.beginFinish(outcome));
  if (!begun.ok) return refuse(c, begun.failure);
  const { attempt } = begun.value;
  let isFinished = false;
  try {
    const there = await lookAtOutputs(c, found.value.spec, outcome, keys.value);
    if (!there.ok) return refuse(c, there.failure);
    const finished = await askJob(c, (job) => job.finish(outcome, there.value, attempt));
    isFinished = finished.ok;
    const after = await askJob(c, (job) => job.status());
    if (!after.ok) return refuse(c, after.failure);
    // Two nodes may finish at once: the second finds what it wanted.
    isFinished ||= after.value.state === outcome;
    return finished.ok || isFinished ? answer(c, view(after.value)) : refuse(c, finished.failure);
  } finally {
    // Where this is lost too, or the request is killed, the job goes on by itself after a while.
    if (!isFinished) await askJob(c, (job) => job.goOn(attempt));
  }
}

/** Asks the job of the token. */
const askJob = <T>(c: Ctx, question: (job: ReturnType<typeof jobOf>) => Promise<Result<T>>): Promise<Result<T>> =>
  asked("The job", () => question(jobOf(c.env, c.get("job").job)));

/** What a job that has failed may well have announced in vain; what it names must be there. */
const LEFT_OUT: ReadonlySet<FailureCode> = new Set<FailureCode>(["output-missing", "output-mismatch", "output-taken"]);

/** What is not committed as yet, of the outputs of these keys or (null) of all. */
async function lookAtOutputs(
  c: Ctx,
  spec: JobSpec,
  outcome: FinishBody["outcome"],
  keys: string[] | null,
): Promise<Result<Found[]>> {
  const announced = await askJob(c, (job) => job.announced(keys));
  if (!announced.ok) return announced;
  const store = r2StoreOf(c.env, spec.bucket);
  if (store === null) return fail(failure("unknown-bucket"));
  const open = announced.value.filter(({ state }) => state === "announced");
  // What goes in parts is put together by a commit, and only looked at here.
  const looked = open.map(({ sha256 }) => ({ sha256, partBytes: null }));
  const tooMuch = checkHashed(open) ?? checkLooks(looked, "Commit some of them first, or name others in outputs.");
  if (tooMuch !== null) return fail(tooMuch);
  const verified = await verifyOutputs(
    store,
    spec,
    open.map((output) => ({ output })),
  );
  const isLeftOut = (each: Result<Found> | undefined) =>
    each?.ok === false && outcome === "failed" && keys === null && LEFT_OUT.has(each.failure.code);
  const refused = verified.find((each) => !each.ok && !isLeftOut(each));
  if (refused !== undefined && !refused.ok) return refused;
  const groups = open.filter((_, index) => isLeftOut(verified[index])).map(({ checkpoint }) => checkpoint);
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
