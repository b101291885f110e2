import * as z from "zod";
import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";
import { bucketOf } from "../../adapters/config.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { newId } from "../../adapters/ids.ts";
import { knownDataset } from "../../adapters/known-datasets.ts";
import { datasetOf, directoryOf, jobOf } from "../../adapters/objects.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { webHmac } from "../../adapters/web-hmac.ts";
import { covers } from "../../core/capability/scope.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey, formatDataUrl } from "../../core/http/key-path.ts";
import {
  checkOutputPrefix,
  finishBodySchema,
  heartbeatBodySchema,
  jobBodySchema,
  type JobSpec,
  type UrlsBody,
  urlsBodySchema,
} from "../../core/jobs/job.ts";
import { CONNECTIONS_MAX, URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import type { Row } from "../../core/manifest/row.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { createPresigner, type PresignRequest } from "../../core/sigv4/presign.ts";
import { datasetAllowed, tokenOf } from "../auth.ts";
import { readBody, readQuery } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { signedRoot, unknownVersion } from "./datasets.ts";

/** `POST /v1/jobs`: a job, its token, and the capability and endpoint that its nodes read by. */
export async function create(c: Ctx): Promise<Response> {
  const body = await readBody(c, jobBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const [datasetName = "", version = "live"] = body.value.dataset.split("@");
  const refused =
    datasetAllowed(tokenOf(c), datasetName) ??
    checkOutputPrefix(body.value) ??
    (version === "live" ? null : unknownVersion(datasetName, version, "dataset"));
  if (refused !== null) return refuse(c, refused);
  const dataset = await knownDataset(c.env, datasetName);
  if (!dataset.ok) return refuse(c, dataset.failure);
  const now = Date.now();
  const { id: datasetId, bucket, prefix } = dataset.value;
  const id = newId("job", now);
  const expiresAt = now + body.value.ttlSeconds * 1000;
  const spec: JobSpec = {
    ...body.value,
    id,
    datasetName,
    datasetId,
    version,
    bucket,
    prefix,
    createdAt: now,
    expiresAt,
  };
  const read = await signedRoot(c, dataset.value, scopeOf(spec), id, body.value.ttlSeconds);
  if ("failure" in read) return refuse(c, read.failure);
  const created = await jobOf(c.env, id).create(spec);
  if (!created.ok) return refuse(c, created.failure);
  const seconds = Math.floor(now / 1000);
  const times = { nbf: seconds, exp: seconds + body.value.ttlSeconds, jti: crypto.randomUUID() };
  const token = await c.get("tokens").mintJobToken({ job: id, ds: datasetId, ...times });
  const config = c.get("config");
  const direct = { endpoint: config.r2Endpoint, bucket: config.buckets.get(bucket), prefix };
  return answer(c, { ...view(created.value), token, read, direct, serverTime: new Date(now).toISOString() }, 201);
}

/** What a job's nodes may read: its input, and what they put out themselves. */
function scopeOf(spec: JobSpec): { prefixes: string[]; keys: string[] } {
  const own = spec.outputPrefix === undefined ? [] : [spec.outputPrefix];
  return { prefixes: [...spec.input.prefixes, ...own], keys: spec.input.keys };
}

/** `GET /v1/jobs/:id` */
export async function status(c: Ctx): Promise<Response> {
  const job = await findJob(c);
  return job.ok ? answer(c, view(job.value)) : refuse(c, job.failure);
}

/** `GET /v1/jobs` */
export async function list(c: Ctx): Promise<Response> {
  const query = readQuery(c, z.strictObject(pageQuery));
  if (!query.ok) return refuse(c, query.failure);
  const page = await directoryOf(c.env).list("job", query.value.cursor ?? null, query.value.limit);
  const jobs = page.entries
    .filter(({ summary }) => datasetAllowed(tokenOf(c), summary["dataset"] ?? "") === null)
    .map(({ id, state, summary, createdAt }) => ({
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

/** `POST /v1/jobs/:id/urls`: URLs that read or write one key each, for up to 10,000 keys. */
export async function urls(c: Ctx): Promise<Response> {
  const body = await readBody(c, urlsBodySchema, URLS_BODY_MAX_BYTES);
  if (!body.ok) return refuse(c, body.failure);
  const job = jobOf(c.env, c.get("job").job);
  const found = await job.status();
  if (!found.ok) return refuse(c, found.failure);
  const { spec } = found.value;
  const refused = checkScope(body.value, spec);
  if (refused !== null) return refuse(c, refused);
  if (body.value.method === "PUT") {
    const announced = await job.announce(body.value.objects);
    if (!announced.ok) return refuse(c, announced.failure);
  } else if (await job.hasEnded()) return refuse(c, failure("job-ended", `The job has ended; start another.`));
  const now = Date.now();
  // Not beyond the job's own life.
  const expiresSeconds = Math.max(1, Math.min(body.value.expiresSeconds, Math.floor((spec.expiresAt - now) / 1000)));
  const signed =
    body.value.method === "PUT"
      ? await signPuts(c, spec, body.value.objects, expiresSeconds, now)
      : await signGets(c, spec, body.value, expiresSeconds, now);
  if (!signed.ok) return refuse(c, signed.failure);
  const expiresAt = new Date(now + expiresSeconds * 1000).toISOString();
  return answer(c, { urls: signed.value, expiresAt, serverTime: new Date(now).toISOString() });
}

function checkScope(body: UrlsBody, spec: JobSpec): Failure | null {
  const isPut = body.method === "PUT";
  const keys = isPut ? body.objects.map(({ key }) => key) : body.keys;
  const scope = isPut
    ? { prefixes: spec.outputPrefix === undefined ? [] : [spec.outputPrefix], keys: [] }
    : scopeOf(spec);
  for (const [index, key] of keys.entries()) {
    const field = isPut ? `objects.${index}.key` : `keys.${index}`;
    const checked = checkKey(spec.prefix + key, field);
    if (!checked.ok) return checked.failure;
    if (covers(scope, key)) continue;
    const rule = isPut ? "outside the job's output prefix" : "outside the job's input and output";
    return failure("out-of-scope", `"${key.slice(0, 200)}" is ${rule}.`, { field });
  }
  return null;
}

interface SignedUrl {
  key: string;
  url: string;
  /** To be sent as they are; what is signed differs otherwise. */
  headers: Record<string, string>;
  etag: string | null;
  size: number | null;
}

async function signGets(
  c: Ctx,
  spec: JobSpec,
  body: Extract<UrlsBody, { method: "GET" }>,
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrl[]>> {
  const keys = body.keys.map(storeKey);
  const rows = await datasetOf(c.env, spec.datasetName).remember(keys);
  const known = new Map(rows.map((row) => [row.key, row]));
  if (body.via === "edge") {
    const dataset = { id: spec.datasetId, name: spec.datasetName };
    const read = await signedRoot(c, dataset, scopeOf(spec), spec.id, expiresSeconds);
    if ("failure" in read) return fail(read.failure);
    const base = read.rootUrl.slice(0, -1);
    return ok(
      body.keys.map((key, index) => {
        const row = known.get(keys[index] ?? key);
        const url = formatDataUrl(base, key);
        return { key, url, headers: {}, etag: row?.sourceEtag ?? row?.etag ?? null, size: row?.size ?? null };
      }),
    );
  }
  return signAll(
    c,
    spec,
    keys.map((key, index) => ({
      request: { method: "GET", key },
      asked: body.keys[index] ?? key,
      etag: known.get(key)?.etag ?? null,
      size: known.get(key)?.size ?? null,
    })),
    expiresSeconds,
    now,
  );
}

/** A PUT URL signs its length, its type and `if-none-match: *`: it writes once, and only what was announced. */
async function signPuts(
  c: Ctx,
  spec: JobSpec,
  objects: Extract<UrlsBody, { method: "PUT" }>["objects"],
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrl[]>> {
  return signAll(
    c,
    spec,
    objects.map(({ key, size, contentType }) => {
      const headers = { "content-length": String(size), "content-type": contentType, "if-none-match": "*" };
      return { request: { method: "PUT", key: storeKey(key), headers }, asked: key, etag: null, size };
    }),
    expiresSeconds,
    now,
  );
}

async function signAll(
  c: Ctx,
  spec: JobSpec,
  wanted: {
    request: Pick<PresignRequest, "method" | "key" | "headers">;
    asked: string;
    etag: string | null;
    size: number | null;
  }[],
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrl[]>> {
  const config = c.get("config");
  const bucket = config.buckets.get(spec.bucket);
  if (bucket === undefined) return fail(failure("unknown-bucket", `"${spec.bucket}" has no name in [vars.BUCKETS].`));
  const endpoint = {
    endpoint: config.r2Endpoint,
    region: "auto",
    addressing: "path" as const,
    ...config.r2Credentials,
  };
  const presign = await createPresigner(webHmac, endpoint, now);
  const signed: SignedUrl[] = [];
  for (const { request, asked, etag, size } of wanted) {
    const url = await presign({ ...request, bucket, key: spec.prefix + request.key, expiresSeconds });
    if (!url.ok) return url;
    signed.push({ key: asked, url: url.value, headers: { ...request.headers }, etag, size });
  }
  return ok(signed);
}

/** `POST /v1/jobs/:id/finish`: every output is looked at in the bucket before the manifest says that it is there. */
export async function finish(c: Ctx): Promise<Response> {
  const body = await readBody(c, finishBodySchema);
  if (!body.ok) return refuse(c, body.failure);
  const job = jobOf(c.env, c.get("job").job);
  const found = await job.status();
  if (!found.ok) return refuse(c, found.failure);
  // A finish whose answer was lost is asked again, and is no error.
  if (found.value.state === body.value.outcome) return answer(c, view(found.value));
  const announced = await job.announced(body.value.outputs ?? null);
  if (!announced.ok) return refuse(c, announced.failure);
  const { spec } = found.value;
  const bucket = bucketOf(c.env, spec.bucket);
  if (bucket === null) return refuse(c, failure("unknown-bucket"));
  const store = createR2Store(bucket);
  const rows: Row[] = [];
  let refused: Failure | null = null;
  await forEachLimited(announced.value, CONNECTIONS_MAX, async ({ key, size }) => {
    const head = await store.head(spec.prefix + storeKey(key));
    if (!head.ok) {
      const missing = head.failure.code === "object-not-found";
      refused = missing
        ? failure("output-missing", `"${key}" is not there; put it, or leave it out of outputs.`)
        : head.failure;
    } else if (head.value.size !== size) {
      refused = failure("output-mismatch", `"${key}" has ${head.value.size} bytes; ${size} were announced.`);
    } else rows.push(outputRow(spec, key, head.value));
  });
  if (refused !== null) return refuse(c, refused);
  const finished = await job.finish(body.value.outcome, rows);
  if (!finished.ok) return refuse(c, finished.failure);
  const after = await job.status();
  return after.ok ? answer(c, view(after.value)) : refuse(c, after.failure);
}

function outputRow(
  spec: JobSpec,
  key: string,
  stored: { size: number; etag: string; lastModified: number; http: { contentType?: string } },
): Row {
  return {
    key: storeKey(key),
    size: stored.size,
    etag: stored.etag,
    uploadedAt: stored.lastModified,
    contentType: stored.http.contentType ?? null,
    proof: null,
    sourceEtag: null,
    sourceModifiedAt: null,
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
    nodes: nodes.map(({ name, lastHeartbeatAt }) => ({ name, lastHeartbeatAt: time(lastHeartbeatAt) })),
    outputs,
    createdAt: time(spec.createdAt),
    expiresAt: time(spec.expiresAt),
    endedAt: time(endedAt),
  };
}
