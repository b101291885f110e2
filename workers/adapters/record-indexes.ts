import { failure } from "../core/failure.ts";
import { formatIndex, parseIndex } from "../core/records/index-file.ts";
import type { Kind } from "../core/records/record.ts";
import type { RecordIndex } from "../core/records/record-index.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectStore } from "../ports/object-store.ts";
import { sha256Of } from "./digest.ts";

/** Bytes of the checksum at an index's end. */
const CHECKSUM_BYTES = 32;

/** Of which index it is: `as` is what the caller said of the object's kind. */
export interface IndexName {
  datasetId: string;
  /** The whole key in the bucket, and R2's ETag. */
  key: string;
  etag: string;
  as: Kind | null;
}

/** The indexes of records, in the SYSTEM bucket: finished ones, and such as are being made. */
export interface RecordIndexes {
  /** A finished index; null where there is none, or one that is damaged or of something else. */
  find(name: IndexName): Promise<Result<RecordIndex | null>>;
  keep(name: IndexName, index: RecordIndex): Promise<Result<null>>;
  /** An index that is being made, as far as it came; `at` is when that was, in milliseconds since 1970. */
  findBegun(name: IndexName): Promise<Result<{ index: RecordIndex; version: string; at: number } | null>>;
  /** Keeps it, if what was there is still of this version (null: nothing); false where somebody else came before. */
  keepBegun(name: IndexName, index: RecordIndex, was: string | null): Promise<Result<boolean>>;
  forgetBegun(name: IndexName): Promise<Result<null>>;
}

export function recordIndexesIn(system: ObjectStore): RecordIndexes {
  const read = async (key: string, { key: objectKey, etag }: IndexName) => {
    const got = await system.get(key);
    if (!got.ok) return got.failure.code === "object-not-found" ? ok(null) : got;
    const file = await bytesOf(got.value.body);
    if (!file.ok) return file;
    const index = await verified(file.value);
    const isRight = index !== null && index.key === objectKey && index.etag === etag;
    return ok(
      isRight
        ? { index, version: got.value.etag, at: got.value.lastModified }
        : { index: null, version: got.value.etag, at: 0 },
    );
  };
  const write = async (key: string, index: RecordIndex, onlyIf?: "absent" | { etag: string }) => {
    const file = await sealed(formatIndex(index));
    const metadata = { http: { contentType: "application/octet-stream" }, custom: {} };
    return system.put(key, file, { ...metadata, size: file.length, ...(onlyIf === undefined ? {} : { onlyIf }) });
  };
  return {
    async find(name) {
      const found = await read(await pathOf(name, "idx"), name);
      if (!found.ok) return found;
      return ok(found.value?.index?.resume === null ? found.value.index : null);
    },
    async keep(name, index) {
      const put = await write(await pathOf(name, "idx"), index);
      return put.ok ? ok(null) : put;
    },
    async findBegun(name) {
      const found = await read(await pathOf(name, "part"), name);
      if (!found.ok || found.value === null) return found.ok ? ok(null) : found;
      const { index, version, at } = found.value;
      if (index !== null) return ok({ index, version, at });
      // Damaged: it is begun anew.
      const gone = await system.delete(await pathOf(name, "part"));
      return gone.ok ? ok(null) : gone;
    },
    async keepBegun(name, index, was) {
      const put = await write(await pathOf(name, "part"), index, was === null ? "absent" : { etag: was });
      if (put.ok) return ok(true);
      return put.failure.code === "precondition-failed" ? ok(false) : put;
    },
    async forgetBegun(name) {
      return system.delete(await pathOf(name, "part"));
    },
  };
}

/** `datasets/<id>/records/<hash>.idx`; the hash is of the key, the ETag and what the caller said. */
async function pathOf({ datasetId, key, etag, as }: IndexName, suffix: "idx" | "part"): Promise<string> {
  const hash = await sha256Of(new TextEncoder().encode(`${key}\0${etag}\0${as ?? ""}`));
  return `datasets/${datasetId}/records/${hash.slice(0, 32)}.${suffix}`;
}

async function bytesOf(body: ReadableStream<Uint8Array>): Promise<Result<Uint8Array>> {
  try {
    return ok(new Uint8Array(await new Response(body).arrayBuffer()));
  } catch (error) {
    return fail(failure("store-unavailable", `R2 broke off: ${String(error)}`));
  }
}

async function sealed(file: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const whole = new Uint8Array(file.length + CHECKSUM_BYTES);
  whole.set(file);
  whole.set(Uint8Array.fromHex(await sha256Of(file)), file.length);
  return whole;
}

async function verified(whole: Uint8Array): Promise<RecordIndex | null> {
  if (whole.length < CHECKSUM_BYTES) return null;
  const file = whole.subarray(0, -CHECKSUM_BYTES);
  return (await sha256Of(file)) === whole.subarray(-CHECKSUM_BYTES).toHex() ? parseIndex(file) : null;
}
