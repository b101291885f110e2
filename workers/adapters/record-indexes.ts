import { failure } from "../core/failure.ts";
import { formatIndex, parseIndex } from "../core/records/index-file.ts";
import type { Kind } from "../core/records/record.ts";
import type { RecordIndex } from "../core/records/record-index.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectStore, PutOptions } from "../ports/object-store.ts";
import { sha256Of } from "./digest.ts";

/** Custom metadata of the note that the queue was told: of which version of what was begun. */
const TOLD_OF = "version";
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

/** An index that is being made, as far as it came. */
export interface Begun {
  index: RecordIndex;
  version: string;
  /** When that was kept, or the queue told, in milliseconds since 1970. */
  at: number;
  /** The queue has a message to go on from here. */
  isTold: boolean;
}

/** The indexes of records, in the SYSTEM bucket: finished ones, and such as are being made. */
export interface RecordIndexes {
  /** A finished index; null where there is none, or one that is damaged or of something else. */
  find(name: IndexName): Promise<Result<RecordIndex | null>>;
  keep(name: IndexName, index: RecordIndex): Promise<Result<null>>;
  findBegun(name: IndexName): Promise<Result<Begun | null>>;
  /**
   * Keeps it, if what was there is still of this version (null: nothing), and answers with the version that it now has: the
   * same index has the same. Null where somebody else came before.
   */
  keepBegun(name: IndexName, index: RecordIndex, was: string | null): Promise<Result<string | null>>;
  /** Notes that the queue was told of this version. In an object of its own: R2 takes one put a second of a key. */
  noteTold(name: IndexName, version: string): Promise<Result<null>>;
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
    return ok({ info: got.value, index: isRight ? index : null });
  };
  const write = async (key: string, index: RecordIndex, more: Pick<PutOptions, "custom" | "onlyIf">) => {
    const file = await sealed(formatIndex(index));
    return system.put(key, file, { http: { contentType: "application/octet-stream" }, size: file.length, ...more });
  };
  return {
    async find(name) {
      const found = await read(await pathOf(name, "idx"), name);
      if (!found.ok) return found;
      return ok(found.value?.index?.resume === null ? found.value.index : null);
    },
    async keep(name, index) {
      const put = await write(await pathOf(name, "idx"), index, { custom: {} });
      return put.ok ? ok(null) : put;
    },
    async findBegun(name) {
      const found = await read(await pathOf(name, "part"), name);
      if (!found.ok || found.value === null) return found.ok ? ok(null) : found;
      const { index, info } = found.value;
      if (index !== null) {
        const note = await system.head(await pathOf(name, "told"));
        if (!note.ok && note.failure.code !== "object-not-found") return note;
        const told = note.ok && note.value.custom[TOLD_OF] === info.etag ? note.value : null;
        return ok({ index, version: info.etag, at: (told ?? info).lastModified, isTold: told !== null });
      }
      // Damaged: it is begun anew.
      const gone = await system.delete(await pathOf(name, "part"));
      return gone.ok ? ok(null) : gone;
    },
    async keepBegun(name, index, was) {
      const onlyIf = was === null ? "absent" : { etag: was };
      const put = await write(await pathOf(name, "part"), index, { custom: {}, onlyIf });
      if (put.ok) return ok(put.value.etag);
      return put.failure.code === "precondition-failed" ? ok(null) : put;
    },
    async noteTold(name, version) {
      const custom = { [TOLD_OF]: version };
      const put = await system.put(await pathOf(name, "told"), new Uint8Array(0), { size: 0, http: {}, custom });
      return put.ok ? ok(null) : put;
    },
    async forgetBegun(name) {
      const gone = await system.delete(await pathOf(name, "told"));
      return gone.ok ? system.delete(await pathOf(name, "part")) : gone;
    },
  };
}

/** `datasets/<id>/records/<hash>.idx`; the hash is of the key, the ETag and what the caller said. */
async function pathOf({ datasetId, key, etag, as }: IndexName, suffix: "idx" | "part" | "told"): Promise<string> {
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
