import { type Failure, failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectReader } from "../ports/object-store.ts";
import { GzipDamaged, GzipInPieces, gunzip } from "./record-gunzip.ts";

/** An object whose bytes are records, at one ETag. */
export interface RecordObject {
  store: ObjectReader;
  /** The whole key in the bucket, and R2's ETag. */
  key: string;
  etag: string;
  gzip: boolean;
}

/** What broke the bytes off. */
class RecordsTrouble extends Error {
  readonly failure: Failure;

  constructor(failed: Failure) {
    super(failed.detail);
    this.failure = failed;
  }
}

/** The failure behind what was thrown while bytes were read. */
export function troubleOf(error: unknown): Failure {
  if (error instanceof RecordsTrouble) return error.failure;
  if (error instanceof GzipInPieces) return failure("not-records", error.message);
  if (error instanceof GzipDamaged) return failure("record-broken", `Its gzip data is damaged: ${error.message}.`);
  return failure("store-unavailable", `Reading broke off: ${error instanceof Error ? error.message : String(error)}`);
}

/** Bytes as they come. They are given up by `cancel`, or by whoever takes them and stops. */
export interface RecordBytes {
  chunks: AsyncGenerator<Uint8Array, void, void>;
  /** Also where none was taken as yet. */
  cancel(): Promise<void>;
}

/**
 * The object's bytes, decompressed, from byte `from` on, up to before `until`. R2 is asked before this answers; the bytes
 * then come as they are taken. A stretch of compressed bytes cannot be found: those are read from their start, whatever
 * `from` is.
 *
 * What breaks them off is thrown, see {@link troubleOf}.
 */
export async function openBytes(
  object: RecordObject,
  from: number,
  until: number | null,
): Promise<Result<RecordBytes>> {
  if (!object.gzip) return openStored(object, from, until);
  const first = await openStored(object, 0, null);
  if (!first.ok) return first;
  let current = first.value;
  let isFresh = true;
  const open = async () => {
    if (!isFresh) {
      const again = await openStored(object, 0, null);
      if (!again.ok) throw new RecordsTrouble(again.failure);
      current = again.value;
    }
    isFresh = false;
    return current.chunks;
  };
  return ok({ chunks: behind(gunzip(open), from), cancel: () => current.cancel() });
}

async function openStored(
  { store, key, etag }: RecordObject,
  from: number,
  until: number | null,
): Promise<Result<RecordBytes>> {
  const range = until === null ? { kind: "from" as const, start: from } : bounded(from, until);
  const got = await store.get(key, { ifMatch: etag, ...(from === 0 && until === null ? {} : { range }) });
  if (!got.ok) return got.failure.code === "precondition-failed" ? fail(changedObject(etag)) : got;
  const reader = takerOf(got.value.body);
  return ok({ chunks: chunksOf(reader), cancel: () => reader.cancel().catch(() => undefined) });
}

const bounded = (from: number, until: number) => ({ kind: "bounded" as const, start: from, end: until - 1 });

export const changedObject = (etag: string): Failure =>
  failure(
    "object-changed",
    `The object is not at the ETag "${etag}" any more. Read it again from its start, without etag.`,
    {
      field: "etag",
    },
  );

/** Takes a body's chunks: large ones where it lets them be chosen, as R2's does; by themselves they come in 4 KiB. */
function takerOf(body: ReadableStream<Uint8Array>): Taker {
  try {
    const reader = body.getReader({ mode: "byob" });
    return { read: () => reader.read(new Uint8Array(CHUNK_BYTES)), cancel: () => reader.cancel() };
  } catch {
    return body.getReader();
  }
}

interface Taker {
  read(): Promise<ReadableStreamReadResult<Uint8Array>>;
  cancel(): Promise<void>;
}

const CHUNK_BYTES = 64 * 1024;

/** A body's chunks; it is cancelled when they are no longer taken. */
async function* chunksOf(reader: Taker): AsyncGenerator<Uint8Array, void, void> {
  let isEnd = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      isEnd = done;
      if (done) return;
      yield value;
    }
  } catch (error) {
    isEnd = true;
    throw new RecordsTrouble(troubleOf(error));
  } finally {
    if (!isEnd) await reader.cancel().catch(() => undefined);
  }
}

async function* behind(
  bytes: AsyncGenerator<Uint8Array, void, void>,
  from: number,
): AsyncGenerator<Uint8Array, void, void> {
  let offset = 0;
  for await (const chunk of bytes) {
    const skipped = Math.min(chunk.length, Math.max(0, from - offset));
    offset += chunk.length;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}
