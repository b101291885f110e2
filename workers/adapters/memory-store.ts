import { failure } from "../core/failure.ts";
import { resolveRange } from "../core/http/range.ts";
import { KEY_MAX_BYTES, LIST_MAX_KEYS, METADATA_MAX_BYTES, PART_MIN_BYTES, PARTS_MAX } from "../core/limits.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Clock } from "../ports/clock.ts";
import type { Metadata, ObjectInfo, ObjectStore } from "../ports/object-store.ts";
import { md5Of, sha256Of } from "./digest.ts";

export interface MemoryStoreOptions {
  clock?: Clock;
  /** Keys in one page of a listing; 1,000 as in S3 and R2 unless a test wants to see several pages of few keys. */
  pageSize?: number;
}

interface Stored {
  info: ObjectInfo;
  bytes: Uint8Array<ArrayBuffer>;
}

interface Part {
  etag: string;
  bytes: Uint8Array<ArrayBuffer>;
}

interface Upload {
  key: string;
  metadata: Metadata;
  parts: Map<number, Part>;
}

/**
 * The object-store port in memory, for tests: what the port promises, in the fewest words. It runs in workerd, which
 * has MD5 in WebCrypto. The contract suite (`test/contract/object-store.ts`) holds it to the same sentences as R2.
 *
 * - Keys are compared byte by byte and kept as given: nothing is decoded, and no dot segment or slash means anything.
 *   R2 normalises keys to NFC; this store does not.
 * - A listing ascends by the keys' UTF-8 bytes. `after` need not be a key, and nothing outside `prefix` is listed.
 * - A write is seen whole or not at all. It takes effect in one step, after the body was read to its end and was found
 *   to have the announced size and hash; its condition is looked at in that step. What was at the key stays until then.
 * - A condition on reading comes before the range: a wrong `ifMatch` is `precondition-failed` whatever the range.
 * - An object put whole has its MD5 as ETag. One uploaded in parts has S3's multipart ETag, the MD5 of the parts' MD5s
 *   and "-N", and vouches for no MD5. A part's ETag is opaque, as R2's is, and new each time the part is sent.
 * - `upload-lost` stands for everything that only a new upload mends: it was aborted or completed, a part is not the
 *   one named, a part other than the last is under 5 MiB, parts differ in size, or the last is the largest. What is
 *   merely refused leaves the upload as it was.
 * - A body that breaks off, or is not of the announced size, is `store-unavailable`, as it is in R2's own answer.
 */
export function createMemoryStore(options: MemoryStoreOptions = {}): ObjectStore {
  const { clock = Date.now, pageSize = LIST_MAX_KEYS } = options;
  const objects = new Map<string, Stored>();
  const uploads = new Map<string, Upload>();
  let serial = 0;

  function write(key: string, bytes: Uint8Array<ArrayBuffer>, etag: string, md5: string | null, metadata: Metadata) {
    const { http, custom } = metadata;
    const info = {
      key,
      size: bytes.length,
      etag,
      lastModified: clock(),
      md5,
      http: { ...http },
      custom: { ...custom },
    };
    objects.set(key, { info, bytes });
    return structuredClone(info);
  }

  return {
    async list({ prefix, after, limit = pageSize }) {
      const keys = [...objects.keys()]
        .filter((key) => key.startsWith(prefix) && (after === null || compareUtf8(key, after) > 0))
        .toSorted(compareUtf8);
      const most = Math.min(limit, pageSize);
      const page = keys.slice(0, most).flatMap((key) => objects.get(key) ?? []);
      const listed = page.map(({ info: { key, size, etag, lastModified } }) => ({ key, size, etag, lastModified }));
      return ok({ objects: listed, next: keys.length > most ? (listed.at(-1)?.key ?? null) : null });
    },

    async head(key) {
      const stored = objects.get(key);
      return stored === undefined ? fail(failure("object-not-found")) : ok(structuredClone(stored.info));
    },

    async get(key, { range, ifMatch } = {}) {
      const stored = objects.get(key);
      if (stored === undefined) return fail(failure("object-not-found"));
      const { info, bytes } = stored;
      if (ifMatch !== undefined && ifMatch !== info.etag) return fail(failure("precondition-failed"));
      const span = range === undefined ? { offset: 0, length: info.size } : resolveRange(range, info.size);
      if (span === "unsatisfiable") {
        return fail(failure("range-not-satisfiable", undefined, { size: info.size }));
      }
      const body = new Blob([bytes.subarray(span.offset, span.offset + span.length)]).stream();
      return ok({ ...structuredClone(info), ...span, body });
    },

    async put(key, body, { size, md5, sha256, onlyIf, ...metadata }) {
      const refused = check(key, metadata);
      if (refused !== null) return refused;
      const bytes = await read(body, size);
      if (!bytes.ok) return bytes;
      const computed = await md5Of(bytes.value);
      if (md5 !== undefined && md5 !== computed) return fail(failure("checksum-mismatch"));
      if (sha256 !== undefined && sha256 !== (await sha256Of(bytes.value))) return fail(failure("checksum-mismatch"));
      // From here to the write nothing is awaited, so that no other write comes between.
      const there = objects.get(key)?.info.etag;
      const holds = onlyIf === undefined || there === (onlyIf === "absent" ? undefined : onlyIf.etag);
      return holds ? ok(write(key, bytes.value, computed, computed, metadata)) : fail(failure("precondition-failed"));
    },

    async delete(key) {
      objects.delete(key);
      return ok(null);
    },

    async createUpload(key, metadata) {
      const refused = check(key, metadata);
      if (refused !== null) return refused;
      const uploadId = `upload-${++serial}`;
      uploads.set(uploadId, { key, metadata: structuredClone(metadata), parts: new Map() });
      return ok(uploadId);
    },

    async uploadPart(key, uploadId, partNumber, body, size) {
      if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > PARTS_MAX) {
        return fail(failure("store-unavailable", `Part numbers are 1 to ${PARTS_MAX}, not ${partNumber}.`));
      }
      const bytes = await read(body, size);
      if (!bytes.ok) return bytes;
      const upload = uploads.get(uploadId);
      if (upload?.key !== key) return fail(failure("upload-lost"));
      const etag = `part-${++serial}`;
      upload.parts.set(partNumber, { etag, bytes: bytes.value });
      return ok(etag);
    },

    async completeUpload(key, uploadId, named) {
      const upload = uploads.get(uploadId);
      if (upload?.key !== key) return fail(failure("upload-lost"));
      const parts: Uint8Array<ArrayBuffer>[] = [];
      for (const { partNumber, etag } of named.toSorted((a, b) => a.partNumber - b.partNumber)) {
        const part = upload.parts.get(partNumber);
        if (part?.etag !== etag) return fail(failure("upload-lost", `Part ${partNumber} is not the one named.`));
        parts.push(part.bytes);
      }
      const unfit = checkSizes(parts.map(({ length }) => length));
      if (unfit !== null) return fail(failure("upload-lost", unfit));
      uploads.delete(uploadId); // Before anything is awaited: only one complete comes this far.
      const digests = await Promise.all(parts.map(md5Of));
      const etag = `${await md5Of(Uint8Array.fromHex(digests.join("")))}-${parts.length}`;
      return ok(write(key, concat(parts), etag, null, upload.metadata));
    },

    async abortUpload(key, uploadId) {
      if (uploads.get(uploadId)?.key === key) uploads.delete(uploadId);
      return ok(null);
    },
  };
}

function check(key: string, { http, custom }: Metadata): Extract<Result<never>, { ok: false }> | null {
  if (utf8(key) > KEY_MAX_BYTES) return fail(failure("key-too-long"));
  const texts = [...Object.keys(custom), ...Object.values(custom), ...Object.values(http).map(String)];
  const bytes = texts.reduce((sum, text) => sum + utf8(text), 0);
  return bytes > METADATA_MAX_BYTES ? fail(failure("metadata-too-large")) : null;
}

/** The rules of R2 for the sizes of the parts, in bytes and in their order; null where they hold. */
function checkSizes(sizes: readonly number[]): string | null {
  const last = sizes.at(-1);
  if (last === undefined) return "No part is named.";
  const [first, ...others] = sizes.slice(0, -1);
  if (first === undefined) return null;
  if (first < PART_MIN_BYTES) return "A part other than the last is under 5 MiB.";
  return last > first || others.some((size) => size !== first) ? "The parts are not of one size." : null;
}

/** Reads a body to its end; what it is made of may be changed by its owner afterwards. */
async function read(
  body: ReadableStream<Uint8Array> | Uint8Array,
  size: number,
): Promise<Result<Uint8Array<ArrayBuffer>>> {
  try {
    const chunks: Uint8Array[] = [];
    if (body instanceof Uint8Array) chunks.push(body);
    else for await (const chunk of body) chunks.push(chunk);
    const bytes = concat(chunks);
    if (bytes.length === size) return ok(bytes);
    return fail(failure("store-unavailable", `${size} bytes were announced and ${bytes.length} came.`));
  } catch (error) {
    return fail(failure("store-unavailable", `The body broke off: ${String(error)}`));
  }
}

function concat(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

const utf8 = (text: string): number => new TextEncoder().encode(text).length;
