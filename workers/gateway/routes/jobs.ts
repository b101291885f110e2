import * as z from "zod";
import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";
import type { Output } from "../../../durable-objects/gpu-job/outputs.ts";
import { bucketOf } from "../../adapters/config.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { newId } from "../../adapters/ids.ts";
import { knownDataset } from "../../adapters/known-datasets.ts";
import { directoryOf, jobOf } from "../../adapters/objects.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { writeUnits } from "../../adapters/unit-lists.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { type JobSpec, OUTPUT_JOB, outputScope, readScope } from "../../core/jobs/job.ts";
import { finishBodySchema, heartbeatBodySchema } from "../../core/jobs/node-requests.ts";
import { checkOutputPrefix, jobBodySchema } from "../../core/jobs/request.ts";
import { CONNECTIONS_MAX, URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import { type Row, UNKNOWN_ORIGIN } from "../../core/manifest/row.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, type Result } from "../../core/result.ts";
import type { ObjectInfo } from "../../ports/object-store.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { unitsOf } from "../jobs/input.ts";
import { pinVersion } from "../jobs/pinned-version.ts";
import { signedRoot } from "./capabilities.ts";

/**
 * `POST /v1/jobs`: a job on one sealed version, its token, how many units its input was cut into, the capability and endpoint
 * that its nodes read by, and a second capability, `readOutputs`, for what they put out themselves.
 */
export async function create(c: Ctx): Promise<Response> {
  const body = await readBody(c, jobBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const [datasetName = "", versionText = "live"] = body.value.dataset.split("@");
  const refused = datasetAllowed(tokenOf(c), datasetName) ?? checkOutputPrefix(body.value);
  if (refused !== null) return refuse(c, refused);
  const dataset = await knownDataset(c.env, datasetName);
  if (!dataset.ok) return refuse(c, dataset.failure);
  const pinned = await pinVersion(c.env, dataset.value.config, versionText);
  if (!pinned.ok) return refuse(c, pinned.failure);
  const { sealed, warnings } = pinned.value;
  const {
    input,
    units: { targetBytes },
  } = body.value;
  // Whether the scope fits a capability is known before anything is written.
  const version = String(sealed.info.number);
  const id = newId("job", Date.now());
  const fits = await signedRoot(c, dataset.value.config, readScope(body.value), id, 1, { version });
  if ("failure" in fits) return refuse(c, fits.failure);
  const units = await unitsOf(c, { config: dataset.value.config, sealed, input, targetBytes });
  if (!units.ok) return refuse(c, units.failure);
  // Before the job is there: a job that is there has its list.
  const unitList = await writeUnits(c.env, id, units.value);
  if (!unitList.ok) return refuse(c, unitList.failure);
  const now = Date.now();
  const { id: datasetId, bucket, prefix } = dataset.value.config;
  const expiresAt = now + body.value.ttlSeconds * 1000;
  const { resumeFrom: _, lostAfterSeconds = 10 * body.value.heartbeatTimeoutSeconds, ...fixed } = body.value;
  const spec: JobSpec = {
    ...fixed,
    lostAfterSeconds,
    unitList: unitList.value,
    id,
    datasetName,
    datasetId,
    version,
    bucket,
    prefix,
    createdAt: now,
    expiresAt,
  };
  const read = await signedRoot(c, dataset.value.config, readScope(spec), id, body.value.ttlSeconds, {
    version: spec.version,
  });
  if ("failure" in read) return refuse(c, read.failure);
  const own = outputScope(spec);
  const outputs = own && (await signedRoot(c, dataset.value.config, own, id, body.value.ttlSeconds));
  if (outputs !== null && "failure" in outputs) return refuse(c, outputs.failure);
  const created = await jobOf(c.env, id).create(spec);
  if (!created.ok) return refuse(c, created.failure);
  const seconds = Math.floor(now / 1000);
  const times = { nbf: seconds, exp: seconds + body.value.ttlSeconds, jti: crypto.randomUUID() };
  const token = await c.get("tokens").mintJobToken({ job: id, ds: datasetId, ...times });
  const config = c.get("config");
  const direct = { endpoint: config.r2Endpoint, bucket: config.buckets.get(bucket), prefix };
  const serverTime = new Date(now).toISOString();
  const readOutputs = outputs === null ? {} : { readOutputs: outputs };
  const made = { units: { count: unitList.value.count, bytes: unitList.value.bytes }, warnings };
  return answer(c, { ...view(created.value), token, read, ...readOutputs, direct, ...made, serverTime }, 201);
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

/** `POST /v1/jobs/:id/cancel`: its token and capability are revoked everywhere within 60 seconds. */
export async function cancel(c: Ctx): Promise<Response> {
  const job = await findJob(c);
  if (!job.ok) return refuse(c, job.failure);
  const cancelled = await jobOf(c.env, job.value.spec.id).cancel();
  return cancelled.ok ? answer(c, { id: job.value.spec.id, state: cancelled.value }) : refuse(c, cancelled.failure);
}

/** `POST /v1/jobs/:id/heartbeat` */
export async function heartbeat(c: Ctx): Promise<Response> {
  const body = await readBody(c, heartbeatBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const { job } = c.get("job");
  const state = await jobOf(c.env, job).heartbeat(body.value.node);
  if (!state.ok) return refuse(c, state.failure);
  return answer(c, { id: job, state: state.value, serverTime: new Date().toISOString() });
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
  const begun = await job.beginFinish();
  if (!begun.ok) return refuse(c, begun.failure);
  const announced = await job.announced(body.value.outputs?.map(storeKey) ?? null);
  if (!announced.ok) {
    await job.goOn();
    return refuse(c, announced.failure);
  }
  const { spec } = found.value;
  const bucket = bucketOf(c.env, spec.bucket);
  if (bucket === null) return refuse(c, failure("unknown-bucket"));
  const store = createR2Store(bucket);
  const rows: Row[] = [];
  let refused: Failure | null = null;
  await forEachLimited(announced.value, CONNECTIONS_MAX, async (output) => {
    const head = await store.head(spec.prefix + output.key);
    if (head.ok) {
      refused ??= checkOutput(spec, output, head.value);
      rows.push(outputRow(spec, output.key, head.value));
    } else if (head.failure.code !== "object-not-found") refused = head.failure;
    else if (body.value.outcome === "done" || body.value.outputs !== undefined) {
      // A job that has failed may well lack what it announced; what it names must be there.
      const detail = `"${output.key}" is not there; put it, or leave it out of outputs.`;
      refused = failure("output-missing", detail, { field: "outputs" });
    }
  });
  if (refused !== null) {
    await job.goOn();
    return refuse(c, refused);
  }
  const finished = await job.finish(body.value.outcome, rows);
  const after = await job.status();
  if (!after.ok) return refuse(c, after.failure);
  // Two nodes may finish at once: the second finds what it wanted.
  if (!finished.ok && after.value.state !== body.value.outcome) return refuse(c, finished.failure);
  return answer(c, view(after.value));
}

/** An output is the job's when it is as it was announced, and was put by a URL of the job's own. */
function checkOutput(spec: JobSpec, output: Output, stored: ObjectInfo): Failure | null {
  const field = { field: "outputs" };
  if (stored.size !== output.size) {
    const detail = `"${output.key}" has ${stored.size} bytes; ${output.size} were announced.`;
    return failure("output-mismatch", detail, field);
  }
  if (stored.custom[OUTPUT_JOB] === spec.id) return null;
  return failure("output-mismatch", `"${output.key}" was there before, and was not put by this job.`, field);
}

function outputRow(spec: JobSpec, key: string, stored: ObjectInfo): Row {
  return {
    key: storeKey(key),
    size: stored.size,
    etag: stored.etag,
    uploadedAt: stored.lastModified,
    contentType: stored.http.contentType ?? null,
    contentEncoding: stored.http.contentEncoding ?? null,
    md5: stored.md5,
    sha256: stored.checksums?.sha256 ?? null,
    crc64nvme: null,
    ...UNKNOWN_ORIGIN,
    writer: spec.id,
  };
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

function view({ spec, state, nodes, outputs, endedAt }: JobStatus) {
  const time = (at: number | null) => (at === null ? null : new Date(at).toISOString());
  return {
    id: spec.id,
    name: spec.name,
    dataset: `${spec.datasetName}@${spec.version}`,
    state,
    input: spec.input,
    outputPrefix: spec.outputPrefix ?? null,
    nodes: nodes.map(({ name, lastHeardAt }) => ({ name, lastHeartbeatAt: time(lastHeardAt) })),
    outputs,
    createdAt: time(spec.createdAt),
    expiresAt: time(spec.expiresAt),
    endedAt: time(endedAt),
  };
}
