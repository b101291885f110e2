import { type Failure, type FailureCode, failure } from "../core/failure.ts";
import { parseHttpDate } from "../core/http/date.ts";
import type { ByteRange } from "../core/http/range.ts";
import { RETRY_AFTER_MAX_SECONDS } from "../core/limits.ts";
import { parseCrc64 } from "../core/migration/crc64.ts";
import { rareStorageClass } from "../core/migration/origin.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Checksums, HttpMetadata, ObjectBody, ObjectInfo } from "../ports/object-store.ts";
import { parseError } from "./s3-xml.ts";

/** The headers of an answer, by lower-case name. */
export type Fields = ReadonlyMap<string, string>;

/** Read out once: to ask the runtime's own headers one by one costs several times as much. */
export function fieldsOf(headers: Headers): Fields {
  const fields = new Map<string, string>();
  headers.forEach((value, name) => fields.set(name, value));
  return fields;
}

/** The ETag of an answer, without quotes; empty where there is none. */
export const parseEtag = (fields: Fields): string => fields.get("etag")?.replace(/^W\//, "").replaceAll('"', "") ?? "";

/** SSE-KMS and SSE-C ETags look like an MD5 and are none (Amazon S3 User Guide, "Checking object integrity"). */
export const isEncrypted = (fields: Fields): boolean =>
  fields.has("x-amz-server-side-encryption-customer-algorithm") ||
  fields.get("x-amz-server-side-encryption")?.startsWith("aws:kms") === true;

/**
 * Reads an object's headers; what has no ETag or length is not an S3 object but, say, a proxy's HTML page.
 * `checksums`: they were asked for, and those of the answer are the whole object's.
 */
export const parseInfo = (key: string, response: Response, checksums = false): Result<ObjectInfo> =>
  parseFields(key, fieldsOf(response.headers), checksums);

function parseFields(key: string, fields: Fields, checksums: boolean): Result<ObjectInfo> {
  const etag = parseEtag(fields);
  const length = parseLength(fields.get("content-length"));
  if (etag === "" || length === null) {
    const type = fields.get("content-type") ?? "none";
    return fail(failure("source-bad-answer", `The answer has no ETag or no Content-Length (Content-Type: ${type}).`));
  }
  const total = parseContentRange(fields.get("content-range"));
  const lastModified = Date.parse(fields.get("last-modified") ?? "");
  const isOpaque = isEncrypted(fields);
  const vouched = checksums ? parseChecksums(fields, etag) : null;
  const storageClass = rareStorageClass(fields.get("x-amz-storage-class"));
  // Told to who may read tags, and only where there are any.
  const tagCount = parseLength(fields.get("x-amz-tagging-count")) ?? 0;
  return ok({
    key,
    size: total?.size ?? length,
    etag,
    lastModified: Number.isNaN(lastModified) ? 0 : lastModified,
    md5: !isOpaque && /^[0-9a-f]{32}$/.test(etag) ? etag : null,
    http: httpMetadata(fields),
    custom: userMetadata(fields),
    ...(vouched === null ? {} : { checksums: vouched }),
    ...(storageClass === null ? {} : { storageClass }),
    ...(tagCount === 0 ? {} : { tagCount }),
    ...(isOpaque ? { encrypted: true as const } : {}),
  });
}

const userMetadata = (fields: Fields): Record<string, string> =>
  Object.fromEntries(
    [...fields].flatMap(([name, value]) => (name.startsWith("x-amz-meta-") ? [[name.slice(11), value]] : [])),
  );

/**
 * The checksums of the whole object; null where there are none. A composite one, of the parts' checksums, says nothing of
 * bytes that are cut otherwise (Amazon S3 User Guide, "Checking object integrity for data uploads", "Full object and composite
 * checksum types"): it ends in "-" and the number of parts. Servers that do not tell the type are believed where there was one put.
 */
function parseChecksums(fields: Fields, etag: string): Checksums | null {
  const type = fields.get("x-amz-checksum-type");
  if (type === undefined ? etag.includes("-") : type.toUpperCase() !== "FULL_OBJECT") return null;
  const sha256 = fields.get("x-amz-checksum-sha256") ?? "";
  const crc64nvme = fields.get("x-amz-checksum-crc64nvme") ?? "";
  const checksums: Checksums = {};
  if (/^[A-Za-z0-9+/]{43}=$/.test(sha256)) checksums.sha256 = Uint8Array.fromBase64(sha256).toHex();
  if (parseCrc64(crc64nvme) !== null) checksums.crc64nvme = crc64nvme;
  return checksums.sha256 === undefined && checksums.crc64nvme === undefined ? null : checksums;
}

/** Insists on 206 and the exact Content-Range for a range, on 200 without one. */
export function parseBody(
  key: string,
  response: Response,
  range: ByteRange | undefined,
  checksums = false,
): Result<ObjectBody> {
  const fields = fieldsOf(response.headers);
  const info = parseFields(key, fields, checksums && range === undefined);
  if (!info.ok) return info;
  const length = parseLength(fields.get("content-length")) ?? 0;
  const body = response.body ?? new Blob([]).stream();
  if (range === undefined) {
    return response.status === 200
      ? ok({ ...info.value, offset: 0, length, body })
      : fail(failure("source-bad-answer", "The source answered 206 to a request without a range."));
  }
  const served = parseContentRange(fields.get("content-range"));
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

function httpMetadata(fields: Fields): HttpMetadata {
  const http: HttpMetadata = {};
  const take = (name: string, set: (value: string) => void) => {
    const value = fields.get(name);
    if (value !== undefined && value !== "") set(value);
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

/** What was asked for: the answer to a HEAD has no body, so a refusal of it names no code. */
export type Asked = "object" | "headers" | "listing" | "write";

/**
 * What an S3 refusal means. Codes: Amazon S3 API Reference, "Error responses".
 *
 * A 404 to a GET of an object is believed only where it is S3 that says so: that of a proxy, or of a load balancer
 * without a server behind it, is an outage, which a Zarr reader would take for a chunk of fill values.
 */
export function classify(response: Response, body: string, asked: Asked): Failure {
  const { code, message } = parseError(body);
  const said = code === "" ? `status ${response.status}` : `${code}: ${message}`;
  const retryAfter = parseRetryAfter(response.headers);
  const wait = retryAfter === null ? {} : { retryAfterSeconds: Math.min(retryAfter, RETRY_AFTER_MAX_SECONDS) };
  const overload = OVERLOADED.has(response.status) || code === "SlowDown" ? { overloaded: true as const } : {};
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
  const known = CODES.get(code);
  if (known !== undefined) return failure(known, said);
  if (response.status === 404) {
    if (asked === "headers" || code === "NoSuchKey") return failure("object-not-found", said);
    return failure("source-bad-answer", `The source answered ${said}, where S3 answers NoSuchKey.`);
  }
  if (response.status === 403) return failure("source-forbidden", said);
  if (response.status === 412) return failure("precondition-failed", said);
  if (response.status === 416) return failure("range-not-satisfiable", said);
  if (response.status === 429 || code === "SlowDown") {
    return failure("source-throttled", said, { ...wait, ...overload });
  }
  if (UNAVAILABLE.has(response.status)) return failure("source-unavailable", said, { ...wait, ...overload });
  // S3's word for a header that it does not know yet (NotImplemented). Nothing was written.
  if (response.status === 501 && asked === "write") return failure("source-unsupported", said);
  return failure("source-bad-answer", `The source answered ${said}.`);
}

const CODES: ReadonlyMap<string, FailureCode> = new Map<string, FailureCode>([
  ["InvalidObjectState", "source-archived"],
  // Only a new upload mends these.
  ["NoSuchUpload", "upload-lost"],
  ["InvalidPart", "upload-lost"],
  ["InvalidPartOrder", "upload-lost"],
  ["EntityTooSmall", "upload-lost"],
  ["BadDigest", "checksum-mismatch"],
  ["XAmzContentChecksumMismatch", "checksum-mismatch"],
  // Also in the body of a 200, where an upload is completed on a condition.
  ["PreconditionFailed", "precondition-failed"],
  ["MetadataTooLarge", "metadata-too-large"],
  ["KeyTooLongError", "key-too-long"],
  ["EntityTooLarge", "object-too-large"],
  // 409: another write of the key is under way.
  ["ConditionalRequestConflict", "source-unavailable"],
  ["OperationAborted", "source-unavailable"],
  ["RequestTimeout", "source-unavailable"],
]);

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
const OVERLOADED = new Set([429, 503, 504]);

function parseContentRange(value: string | undefined): { start: number; end: number; size: number } | null {
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(value ?? "");
  return match === null ? null : { start: Number(match[1]), end: Number(match[2]), size: Number(match[3]) };
}

/** Seconds, or until a date (RFC 9110, section 10.2.3), which is by the server's own clock where it tells it. */
function parseRetryAfter(headers: Headers): number | null {
  const value = headers.get("retry-after") ?? "";
  const now = Date.now();
  const until = parseHttpDate(value, now);
  if (until === null) return parseLength(value);
  const from = parseHttpDate(headers.get("date") ?? "", now) ?? now;
  return Math.max(0, Math.ceil((until - from) / 1000));
}

export function parseLength(value: string | undefined): number | null {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : null;
}
