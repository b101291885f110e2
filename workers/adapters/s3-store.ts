import { AwsClient } from "aws4fetch";
import { type Failure, failure } from "../core/failure.ts";
import type { ByteRange } from "../core/http/range.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import { encodeWireKey } from "../core/sigv4/wire-key.ts";
import type { HttpMetadata, ObjectBody, ObjectInfo, ObjectReader, PartSizeReader } from "../ports/object-store.ts";
import { parseError, parseListing } from "./s3-xml.ts";

/** Seconds within which a source must answer a listing or a HEAD, and finish the body of a GET. */
const ANSWER_SECONDS = 60;
const BODY_SECONDS = 600;

/**
 * An S3-compatible bucket as an object reader, signed with SigV4 by aws4fetch.
 *
 * Redirects are never followed: S3 redirects to other regions and endpoints, and the signature would go along. Bodies
 * come as they are stored (`encodeResponseBody: "manual"`), else the runtime would decode gzip and the bytes would be
 * others than the ETag speaks of.
 */
export function createS3Store(source: SourceConfig, credentials: Credentials): ObjectReader & PartSizeReader {
  const client = new AwsClient({ ...credentials, service: "s3", region: source.region, retries: 0 });
  const base = bucketUrl(source);

  async function request(
    method: "GET" | "HEAD",
    path: string,
    headers: Record<string, string>,
    seconds: number,
  ): Promise<Result<Response>> {
    // The path's one segment: `new URL()` would take it for a step, and the bucket, or all buckets, be asked instead.
    const step = /^\/(\.\.?)(\?|$)/.exec(path)?.[1];
    if (step !== undefined) {
      return fail(failure("unaddressable-key", `No URL leads to the key "${step}"; rename the object.`));
    }
    try {
      const signed = await client.sign(`${base}${path}`, { method, headers });
      const response = await fetch(signed, {
        redirect: "manual",
        encodeResponseBody: "manual",
        signal: AbortSignal.timeout(seconds * 1000),
      });
      if (response.status === 200 || response.status === 206) return ok(response);
      const body = await readStart(response);
      return fail(classify(response, body));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return fail(failure("source-unreachable", `No answer from ${new URL(base).host}: ${reason}`));
    }
  }

  async function head(key: string): Promise<Result<ObjectInfo>> {
    const answer = await request("HEAD", `/${encodeWireKey(key)}`, IDENTITY, ANSWER_SECONDS);
    return answer.ok ? parseInfo(key, answer.value) : answer;
  }

  return {
    head,

    async list({ prefix, after }) {
      const query = [
        ["list-type", "2"],
        ["encoding-type", "url"],
        ["max-keys", String(LIST_MAX_KEYS)],
        ["prefix", prefix],
        ...(after === null ? [] : [["start-after", after]]),
      ];
      const search = query.map(([name, value]) => `${name}=${encodeURIComponent(value ?? "")}`).join("&");
      const answer = await request("GET", `?${search}`, IDENTITY, ANSWER_SECONDS);
      if (!answer.ok) {
        // What is not found where a bucket is listed is the bucket.
        const { code, detail } = answer.failure;
        return code === "object-not-found" ? fail(failure("source-no-bucket", detail)) : answer;
      }
      const body = await readText(answer.value);
      if (!body.ok) return body;
      const page = parseListing(body.value);
      if (!page.ok) return page;
      const { objects, truncated } = page.value;
      const unordered = findDisorder(objects, after);
      if (unordered !== null) return fail(unordered);
      const last = objects.at(-1)?.key ?? null;
      if (truncated && last === null) return fail(failure("source-bad-answer", "A truncated listing names no key."));
      return ok({ objects, next: truncated ? last : null });
    },

    async get(key, options = {}) {
      const headers: Record<string, string> = { ...IDENTITY };
      if (options.range !== undefined) headers["range"] = formatRange(options.range);
      if (options.ifMatch !== undefined) headers["if-match"] = `"${options.ifMatch}"`;
      const answer = await request("GET", `/${encodeWireKey(key)}`, headers, BODY_SECONDS);
      if (!answer.ok) return answer;
      const body = parseBody(key, answer.value, options.range);
      if (!body.ok) await answer.value.body?.cancel();
      return body;
    },

    async firstPart(key) {
      const answer = await request("HEAD", `/${encodeWireKey(key)}?partNumber=1`, IDENTITY, ANSWER_SECONDS);
      if (!answer.ok) {
        // Ceph and s3rver ignore the parameter, Swift answers 405, Miniflare 501, some 400: they do not tell.
        return answer.failure.code === "source-bad-answer" ? ok(null) : answer;
      }
      const parts = parseLength(answer.value.headers.get("x-amz-mp-parts-count"));
      const bytes = parseLength(answer.value.headers.get("content-length"));
      return ok(parts === null || bytes === null ? null : { bytes, parts });
    },
  };
}

const IDENTITY = { "accept-encoding": "identity" };

function bucketUrl(source: SourceConfig): string {
  if (source.addressing === "path") return `${source.endpoint}/${source.bucket}`;
  const endpoint = new URL(source.endpoint);
  const path = endpoint.pathname === "/" ? "" : endpoint.pathname;
  return `${endpoint.protocol}//${source.bucket}.${endpoint.host}${path}`;
}

function formatRange(range: ByteRange): string {
  switch (range.kind) {
    case "bounded":
      return `bytes=${range.start}-${range.end}`;
    case "from":
      return `bytes=${range.start}-`;
    case "suffix":
      return `bytes=-${range.length}`;
  }
}

/** Reads an object's headers; what has no ETag or length is not an S3 object but, say, a proxy's HTML page. */
function parseInfo(key: string, response: Response): Result<ObjectInfo> {
  const headers = response.headers;
  const etag = headers.get("etag")?.replace(/^W\//, "").replaceAll('"', "") ?? "";
  const length = parseLength(headers.get("content-length"));
  if (etag === "" || length === null) {
    const type = headers.get("content-type") ?? "none";
    return fail(failure("source-bad-answer", `The answer has no ETag or no Content-Length (Content-Type: ${type}).`));
  }
  const total = parseContentRange(headers.get("content-range"));
  const lastModified = Date.parse(headers.get("last-modified") ?? "");
  // SSE-KMS and SSE-C ETags look like an MD5 and are none (Amazon S3 User Guide, "Checking object integrity").
  const encrypted =
    headers.has("x-amz-server-side-encryption-customer-algorithm") ||
    headers.get("x-amz-server-side-encryption")?.startsWith("aws:kms") === true;
  return ok({
    key,
    size: total?.size ?? length,
    etag,
    lastModified: Number.isNaN(lastModified) ? 0 : lastModified,
    md5: !encrypted && /^[0-9a-f]{32}$/.test(etag) ? etag : null,
    http: httpMetadata(headers),
    custom: Object.fromEntries(
      [...headers].filter(([name]) => name.startsWith("x-amz-meta-")).map(([name, value]) => [name.slice(11), value]),
    ),
  });
}

/** Insists on 206 and the exact Content-Range for a range, on 200 without one. */
function parseBody(key: string, response: Response, range: ByteRange | undefined): Result<ObjectBody> {
  const info = parseInfo(key, response);
  if (!info.ok) return info;
  const length = parseLength(response.headers.get("content-length")) ?? 0;
  const body = response.body ?? new Blob([]).stream();
  if (range === undefined) {
    return response.status === 200
      ? ok({ ...info.value, offset: 0, length, body })
      : fail(failure("source-bad-answer", "The source answered 206 to a request without a range."));
  }
  const served = parseContentRange(response.headers.get("content-range"));
  if (response.status !== 206 || served === null || served.end - served.start + 1 !== length) {
    return fail(failure("source-bad-answer", "The source did not answer the range that was asked for."));
  }
  const asked = range.kind === "suffix" ? Math.max(0, served.size - range.length) : range.start;
  const end = range.kind === "bounded" ? Math.min(range.end, served.size - 1) : served.size - 1;
  if (served.start !== asked || served.end !== end) {
    return fail(failure("source-bad-answer", "The source answered another range than was asked for."));
  }
  return ok({ ...info.value, offset: served.start, length, body });
}

function httpMetadata(headers: Headers): HttpMetadata {
  const http: HttpMetadata = {};
  const take = (name: string, set: (value: string) => void) => {
    const value = headers.get(name);
    if (value !== null && value !== "") set(value);
  };
  take("content-type", (value) => (http.contentType = value));
  // "aws-chunked" describes a transfer that is over; it is no part of the stored object.
  take("content-encoding", (value) => {
    const codings = value
      .split(",")
      .map((coding) => coding.trim())
      .filter((coding) => coding !== "aws-chunked" && coding !== "");
    if (codings.length > 0) http.contentEncoding = codings.join(", ");
  });
  take("content-language", (value) => (http.contentLanguage = value));
  take("content-disposition", (value) => (http.contentDisposition = value));
  take("cache-control", (value) => (http.cacheControl = value));
  take("expires", (value) => {
    const time = Date.parse(value);
    if (!Number.isNaN(time)) http.expires = time;
  });
  return http;
}

/** What an S3 refusal means. Codes: Amazon S3 API Reference, "Error responses". */
function classify(response: Response, body: string): Failure {
  const { code, message } = parseError(body);
  const said = code === "" ? `status ${response.status}` : `${code}: ${message}`;
  const retryAfter = parseLength(response.headers.get("retry-after"));
  const wait = retryAfter === null ? {} : { retryAfterSeconds: retryAfter };
  if (WRONG_REGION.has(code) || (response.status >= 300 && response.status < 400)) {
    const region = response.headers.get("x-amz-bucket-region");
    const where = region === null ? "" : ` The bucket is in region "${region}".`;
    return failure("source-wrong-region", `The source redirects or names another region (${said}).${where}`);
  }
  if (BAD_CREDENTIALS.has(code) || response.status === 401) {
    // Without the message: some servers echo the signed request in it.
    return failure("source-bad-credentials", `The source answered ${code === "" ? "401" : code}.`);
  }
  if (code === "NoSuchBucket") return failure("source-no-bucket", said);
  if (code === "InvalidObjectState") return failure("source-archived", said);
  if (response.status === 404) return failure("object-not-found", said);
  if (response.status === 403) return failure("source-forbidden", said);
  if (response.status === 412) return failure("precondition-failed", said);
  if (response.status === 416) return failure("range-not-satisfiable", said);
  if (response.status === 429 || code === "SlowDown") return failure("source-throttled", said, wait);
  if (UNAVAILABLE.has(response.status)) return failure("source-unavailable", said, wait);
  return failure("source-bad-answer", `The source answered ${said}.`);
}

const WRONG_REGION = new Set([
  "PermanentRedirect",
  "TemporaryRedirect",
  "AuthorizationHeaderMalformed",
  "IllegalLocationConstraintException",
]);
const BAD_CREDENTIALS = new Set([
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "InvalidToken",
  "ExpiredToken",
  "RequestTimeTooSkewed",
  "AuthFailure",
  "XAdminUserNotFound", // versitygw's word for an unknown access key, with status 404
]);
const UNAVAILABLE = new Set([500, 502, 503, 504]);

/** Resuming by the last key is endless or lossy where the keys do not ascend. */
function findDisorder(objects: { key: string }[], after: string | null): Failure | null {
  let previous = after;
  for (const { key } of objects) {
    if (previous !== null && compareUtf8(key, previous) <= 0) {
      return failure("source-bad-answer", "The listing is not in ascending order of its keys' UTF-8 bytes.");
    }
    previous = key;
  }
  return null;
}

function parseContentRange(value: string | null): { start: number; end: number; size: number } | null {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(value ?? "");
  return match === null ? null : { start: Number(match[1]), end: Number(match[2]), size: Number(match[3]) };
}

function parseLength(value: string | null): number | null {
  return value !== null && /^\d{1,15}$/.test(value) ? Number(value) : null;
}

/** An error document is small; a body that is not ends after 64 KiB. */
async function readStart(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    while (text.length < 65_536) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
  } catch {
    // The status says enough.
  }
  return text;
}

async function readText(response: Response): Promise<Result<string>> {
  try {
    return ok(await response.text());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return fail(failure("source-truncated", `The listing broke off: ${reason}`));
  }
}
