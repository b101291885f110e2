import { failure, type Failure } from "../core/failure.ts";
import type { ByteRange } from "../core/http/range.ts";
import { LIST_MAX_KEYS, METADATA_MAX_BYTES } from "../core/limits.ts";
import { metadataBytes } from "../core/migration/metadata.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type {
  HttpMetadata,
  Metadata,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutOptions,
  Refresher,
} from "../ports/object-store.ts";

/** An R2 bucket binding as an object store. */
export function createR2Store(bucket: R2Bucket): ObjectStore & Refresher {
  /** Null for the body where the condition does not hold. */
  async function read(
    key: string,
    { range, checksums }: { range?: ByteRange | undefined; checksums?: boolean },
    onlyIf?: R2Conditional,
  ): Promise<Result<(ObjectInfo & { body: null }) | ObjectBody>> {
    const got = await attempt<(ObjectInfo & { body: null }) | ObjectBody>(async () => {
      const options = {
        ...(range === undefined ? {} : { range: r2Range(range) }),
        ...(onlyIf === undefined ? {} : { onlyIf }),
      };
      const object: R2ObjectBody | R2Object | null = await bucket.get(key, options);
      if (object === null) return fail(failure("object-not-found"));
      if (!("body" in object) || object.body === undefined) return ok({ ...infoOf(object, checksums), body: null });
      const { offset, length } = servedRange(object, range);
      return ok({ ...infoOf(object, checksums), offset, length, body: object.body });
    });
    if (got.ok || got.failure.code !== "store-unavailable" || range === undefined) return got;
    // The simulator breaks on a bounded range that starts at the object's end (miniflare 5.20261102), where R2 answers
    // 10039: also on the first bytes of an empty object.
    const start = range.kind === "bounded" ? range.start : 0;
    const head = await attempt(async () => ok(await bucket.head(key)));
    return head.ok && head.value?.size === start ? fail(failure("range-not-satisfiable")) : got;
  }

  return {
    async list({ prefix, after, limit = LIST_MAX_KEYS }) {
      return attempt(async () => {
        const page = await bucket.list({
          prefix,
          limit,
          ...(after === null ? {} : { startAfter: after }),
        });
        const objects = page.objects.map((object) => ({
          key: object.key,
          size: object.size,
          etag: object.etag,
          lastModified: object.uploaded.getTime(),
          storageClass: object.storageClass,
        }));
        // `startAfter` rather than the cursor: it can be resumed by any invocation, days later.
        return ok({ objects, next: page.truncated ? (objects.at(-1)?.key ?? null) : null });
      });
    },

    async head(key, { checksums } = {}) {
      return attempt(async () => {
        const object = await bucket.head(key);
        return object === null ? fail(failure("object-not-found")) : ok(infoOf(object, checksums));
      });
    },

    async get(key, { ifMatch, ...options } = {}) {
      const got = await read(key, options, ifMatch === undefined ? undefined : { etagMatches: ifMatch });
      if (!got.ok) return got;
      return got.value.body === null ? fail(failure("precondition-failed")) : ok(got.value);
    },

    refresh: (key, etag, range) => read(key, { range }, { etagDoesNotMatch: etag }),

    async put(key, body, options) {
      const tooLarge = checkMetadata(options);
      if (tooLarge !== null) return fail(tooLarge);
      return attempt(async () => {
        const object = await bucket.put(key, body, putOptions(options));
        return object === null ? fail(failure("precondition-failed")) : ok(putInfo(object, options));
      });
    },

    async delete(key) {
      return attempt(async () => {
        await bucket.delete(key);
        return ok(null);
      });
    },

    async createUpload(key, metadata) {
      const tooLarge = checkMetadata(metadata);
      if (tooLarge !== null) return fail(tooLarge);
      return attempt(async () => {
        const upload = await bucket.createMultipartUpload(key, {
          httpMetadata: r2HttpMetadata(metadata.http),
          customMetadata: metadata.custom,
        });
        return ok(upload.uploadId);
      });
    },

    async uploadPart(key, uploadId, partNumber, body) {
      return attempt(async () => {
        const part = await bucket.resumeMultipartUpload(key, uploadId).uploadPart(partNumber, body);
        return ok(part.etag);
      });
    },

    async completeUpload(key, uploadId, parts) {
      return attempt(async () => {
        const object = await bucket.resumeMultipartUpload(key, uploadId).complete([...parts]);
        return ok(infoOf(object));
      });
    },

    async abortUpload(key, uploadId) {
      const result = await attempt<null>(async () => {
        await bucket.resumeMultipartUpload(key, uploadId).abort();
        return ok(null);
      });
      return !result.ok && result.failure.code === "upload-lost" ? ok(null) : result;
    },
  };
}

function r2Range(range: ByteRange): R2Range {
  switch (range.kind) {
    case "bounded":
      return { offset: range.start, length: range.end - range.start + 1 };
    case "from":
      return { offset: range.start };
    case "suffix":
      return { suffix: range.length };
  }
}

/** What R2 served: `object.range` is set even when no range was asked, and not always complete. */
function servedRange(object: R2Object, asked: ByteRange | undefined): { offset: number; length: number } {
  if (asked === undefined) return { offset: 0, length: object.size };
  switch (asked.kind) {
    case "bounded":
      return { offset: asked.start, length: Math.min(asked.end, object.size - 1) - asked.start + 1 };
    case "from":
      return { offset: asked.start, length: object.size - asked.start };
    case "suffix": {
      const length = Math.min(asked.length, object.size);
      return { offset: object.size - length, length };
    }
  }
}

function infoOf(object: R2Object, checksums = false): ObjectInfo {
  const http: HttpMetadata = {};
  const stored = object.httpMetadata;
  if (stored?.contentType !== undefined) http.contentType = stored.contentType;
  if (stored?.contentEncoding !== undefined) http.contentEncoding = stored.contentEncoding;
  if (stored?.contentLanguage !== undefined) http.contentLanguage = stored.contentLanguage;
  if (stored?.contentDisposition !== undefined) http.contentDisposition = stored.contentDisposition;
  if (stored?.cacheControl !== undefined) http.cacheControl = stored.cacheControl;
  if (stored?.cacheExpiry !== undefined) http.expires = stored.cacheExpiry.getTime();
  return {
    key: object.key,
    size: object.size,
    etag: object.etag,
    lastModified: object.uploaded.getTime(),
    md5: md5In(object),
    http,
    custom: object.customMetadata ?? {},
    // R2 keeps the one that a put came with.
    ...(checksums && object.checksums.sha256 !== undefined
      ? { checksums: { sha256: new Uint8Array(object.checksums.sha256).toHex() } }
      : {}),
  };
}

const md5In = ({ checksums: { md5 } }: R2Object): string | null =>
  md5 === undefined ? null : new Uint8Array(md5).toHex();

/** What was put is what R2 has: reading each of its properties back would cost more than the rest of the answer. */
const putInfo = (object: R2Object, { http, custom, md5, sha256 }: PutOptions): ObjectInfo => ({
  key: object.key,
  size: object.size,
  etag: object.etag,
  lastModified: object.uploaded.getTime(),
  md5: md5 ?? md5In(object),
  http,
  custom,
  ...(sha256 === undefined ? {} : { checksums: { sha256 } }),
});

function putOptions(options: PutOptions): R2PutOptions {
  return {
    httpMetadata: r2HttpMetadata(options.http),
    customMetadata: options.custom,
    ...(options.md5 === undefined ? {} : { md5: options.md5 }),
    ...(options.sha256 === undefined ? {} : { sha256: options.sha256 }),
    ...(options.onlyIf === undefined
      ? {}
      : { onlyIf: options.onlyIf === "absent" ? { etagDoesNotMatch: "*" } : { etagMatches: options.onlyIf.etag } }),
  };
}

function r2HttpMetadata(http: HttpMetadata): R2HTTPMetadata {
  const { expires, ...rest } = http;
  return { ...rest, ...(expires === undefined ? {} : { cacheExpiry: new Date(expires) }) };
}

function checkMetadata(metadata: Metadata): Failure | null {
  const bytes = metadataBytes(metadata);
  return bytes > METADATA_MAX_BYTES
    ? failure("metadata-too-large", `Its metadata is ${bytes} bytes; R2 takes ${METADATA_MAX_BYTES}.`)
    : null;
}

/**
 * R2's errors are plain `Error`s whose message ends in "(NNNNN)"
 * (developers.cloudflare.com/r2/api/error-codes). A stream that breaks on the way in rejects the same call.
 */
async function attempt<T>(run: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await run();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = Number(/\((\d{5,6})\)\s*$/.exec(message)?.[1] ?? Number.NaN);
    return fail(R2_ERRORS.get(code) ?? failure("store-unavailable", `R2 answered: ${message}`));
  }
}

const R2_ERRORS: ReadonlyMap<number, Failure> = new Map([
  [10007, failure("object-not-found")],
  [10011, failure("upload-lost", "A part other than the last is under 5 MiB.")],
  [10012, failure("metadata-too-large")],
  [10020, failure("invalid-key", "R2 does not take this key.")],
  [10024, failure("upload-lost")],
  [10025, failure("upload-lost", "A part was replaced by another upload of it.")],
  [10031, failure("precondition-failed")],
  [
    10037,
    failure(
      "checksum-mismatch",
      "R2 computed another MD5 than the source's ETag says, or another SHA-256 than it told.",
    ),
  ],
  [10039, failure("range-not-satisfiable")],
  [10048, failure("upload-lost", "The parts are not of one size.")],
  [100100, failure("object-too-large")],
  [10058, failure("store-throttled", "R2 takes one write a second on one key.", { retryAfterSeconds: 2 })],
]);
