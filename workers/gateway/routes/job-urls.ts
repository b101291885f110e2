import { jobOf } from "../../adapters/objects.ts";
import { webHmac } from "../../adapters/web-hmac.ts";
import { covers } from "../../core/capability/scope.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey, formatDataUrl } from "../../core/http/key-path.ts";
import { inputOf, type JobSpec, OUTPUT_JOB, outputScope, readScope } from "../../core/jobs/job.ts";
import { type UrlsBody, urlsBodySchema } from "../../core/jobs/node-requests.ts";
import { URLS_BODY_MAX_BYTES } from "../../core/limits.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { createPresigner, type PresignRequest } from "../../core/sigv4/presign.ts";
import { readBody } from "../body.ts";
import { answer, type Ctx, refuse } from "../context.ts";
import { signedRoot } from "./capabilities.ts";
import { type Expected, expectObjects } from "./job-reads.ts";

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
    const outputs = body.value.objects.map((output) => ({ ...output, key: storeKey(output.key) }));
    const announced = await job.announce(outputs);
    if (!announced.ok) return refuse(c, announced.failure);
  } else if (await job.hasEnded()) return refuse(c, failure("job-ended", `The job has ended; start another.`));
  // As the URLs of R2 say it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
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
  const isInput = isPut ? () => false : inputOf(spec);
  const own = outputScope(spec);
  for (const [index, key] of keys.entries()) {
    const field = isPut ? `objects.${index}.key` : `keys.${index}`;
    const checked = checkKey(spec.prefix + key, field);
    if (!checked.ok) return checked.failure;
    if (isInput(key) || (own !== null && covers(own, key))) continue;
    const rule = isPut ? "outside the job's output prefix" : "outside the job's input and output";
    return failure("out-of-scope", `"${key.slice(0, 200)}" is ${rule}.`, { field });
  }
  return null;
}

/** Characters of all URLs of one answer by the edge, near enough. */
const EDGE_URLS_MAX_LENGTH = 16 * 1024 * 1024;

interface SignedUrl {
  key: string;
  /** Null for what a sealed version does not hold: of a Zarr array, a chunk of fill values. */
  url: string | null;
  /** To be sent as they are; what is signed differs otherwise. */
  headers: Record<string, string>;
  etag: string | null;
  size: number | null;
}

export async function signGets(
  c: Ctx,
  spec: JobSpec,
  body: Extract<UrlsBody, { method: "GET" }>,
  expiresSeconds: number,
  now: number,
): Promise<Result<SignedUrl[]>> {
  const expected = await expectObjects(c, spec, body);
  if (!expected.ok) return expected;
  if (body.via === "edge") return signEdge(c, spec, expected.value, expiresSeconds);
  // R2 knows nothing of versions: what a version does not hold gets no URL, and what it holds one that reads nothing else.
  const isAbsent = ({ object, isSealed }: Expected) => isSealed && object === null;
  const there = expected.value.filter((each) => !isAbsent(each));
  const wanted = there.map(({ key, object, isSealed }) => {
    const headers = isSealed && object !== null ? { "if-match": `"${object.etag}"` } : {};
    const request = { method: "GET" as const, key: storeKey(key), headers };
    return { request, asked: key, etag: object?.etag ?? null, size: object?.size ?? null };
  });
  const signed = await signAll(c, spec, wanted, expiresSeconds, now);
  if (!signed.ok) return signed;
  const inTurn = signed.value.values();
  return ok(
    expected.value.flatMap((each): SignedUrl[] => {
      if (isAbsent(each)) return [{ key: each.key, url: null, headers: {}, etag: null, size: null }];
      const { value } = inTurn.next();
      return value === undefined ? [] : [value];
    }),
  );
}

/** By the edge: one capability for all keys at the job's version, another for the outputs of a job on a sealed one. */
async function signEdge(
  c: Ctx,
  spec: JobSpec,
  expected: readonly Expected[],
  expiresSeconds: number,
): Promise<Result<SignedUrl[]>> {
  const dataset = { id: spec.datasetId, name: spec.datasetName };
  const { version } = spec;
  const read = await signedRoot(c, dataset, readScope(spec), spec.id, expiresSeconds, { version });
  if ("failure" in read) return fail(read.failure);
  const own = outputScope(spec);
  const outputs = own === null ? read : await signedRoot(c, dataset, own, spec.id, expiresSeconds);
  if ("failure" in outputs) return fail(outputs.failure);
  // The capability is in each URL: with many prefixes and keys that is more than an isolate holds.
  const longest = Math.max(read.rootUrl.length, outputs.rootUrl.length);
  if (longest * expected.length > EDGE_URLS_MAX_LENGTH) {
    const most = Math.floor(EDGE_URLS_MAX_LENGTH / longest);
    return fail(failure("invalid-body", `Ask for at most ${most} keys at once by the edge.`, { field: "keys" }));
  }
  return ok(
    expected.map(({ key, object }) => {
      const { rootUrl } = own !== null && covers(own, key) ? outputs : read;
      const url = formatDataUrl(rootUrl.slice(0, -1), key);
      return { key, url, headers: {}, etag: object?.etag ?? null, size: object?.size ?? null };
    }),
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
      const headers = {
        "content-length": String(size),
        "content-type": contentType,
        "if-none-match": "*",
        // By this, finish knows the job's own outputs from what was there before.
        [`x-amz-meta-${OUTPUT_JOB}`]: spec.id,
      };
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
