import { type Failure, failure, isTransient } from "../core/failure.ts";
import {
  RECORDS_INFLATED_MAX_BYTES,
  RECORDS_INLINE_GZIP_MAX_BYTES,
  RECORDS_INLINE_INFLATED_MAX_BYTES,
  RECORDS_INLINE_MAX_BYTES,
  RECORDS_STEP_BYTES,
} from "../core/limits.ts";
import { IndexBuilder } from "../core/records/index-builder.ts";
import { isGzip, kindByName } from "../core/records/kind.ts";
import type { RecordIndex, Said } from "../core/records/record-index.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ObjectInfo, ObjectReader } from "../ports/object-store.ts";
import { changedObject, openBytes, troubleOf } from "./record-bytes.ts";
import type { Begun, IndexName, RecordIndexes } from "./record-indexes.ts";

/** Bytes by which the indexing of an object is divided. */
export interface IndexingLimits {
  /** What one request indexes at most: of an object as it is, of a compressed one as stored, and as inflated. */
  inlineBytes: number;
  inlineGzipBytes: number;
  inlineInflatedBytes: number;
  /** What one message indexes: of an object as it is, and the most of a compressed one. */
  stepBytes: number;
  inflatedBytes: number;
}

export const INDEXING: IndexingLimits = {
  inlineBytes: RECORDS_INLINE_MAX_BYTES,
  inlineGzipBytes: RECORDS_INLINE_GZIP_MAX_BYTES,
  inlineInflatedBytes: RECORDS_INLINE_INFLATED_MAX_BYTES,
  stepBytes: RECORDS_STEP_BYTES,
  inflatedBytes: RECORDS_INFLATED_MAX_BYTES,
};

/** Milliseconds without progress after which the indexing of an object is believed lost; a message takes far less. */
const STALE_MS = 600_000;
/** Bytes a second that are indexed, near enough to tell when to come back. */
const BYTES_PER_SECOND = 100_000_000;
const RETRY_MIN_SECONDS = 2;
const RETRY_MAX_SECONDS = 60;

/** What is known of an object before its records are. */
export interface Looked {
  info: ObjectInfo;
  gzip: boolean;
}

/** What is there, by its first two bytes: with them, and in one operation, comes what is known of the whole. */
export async function lookAt(
  store: ObjectReader,
  { key, etag }: { key: string; etag?: string },
): Promise<Result<Looked>> {
  const pin = etag === undefined ? {} : { ifMatch: etag };
  const got = await store.get(key, { range: { kind: "bounded", start: 0, end: 1 }, ...pin });
  if (got.ok) {
    try {
      const { body, offset: _, length: __, ...info } = got.value;
      return ok({ info, gzip: isGzip(new Uint8Array(await new Response(body).arrayBuffer())) });
    } catch (error) {
      return fail(troubleOf(error));
    }
  }
  if (got.failure.code === "precondition-failed") return fail(changedObject(etag ?? ""));
  if (got.failure.code !== "range-not-satisfiable") return got;
  const head = await store.head(key);
  if (!head.ok) return head;
  if (etag !== undefined && head.value.etag !== etag) return fail(changedObject(etag));
  return ok({ info: head.value, gzip: false });
}

export interface Indexing {
  name: IndexName;
  store: ObjectReader;
  indexes: RecordIndexes;
  /** Milliseconds since 1970. */
  now: number;
  limits: IndexingLimits;
  /** Has the queue index what begins at this byte. */
  send(from: number): Promise<void>;
}

/**
 * The index of an object that has none yet: made here and now, where it is not too large; else by messages, and
 * `records-not-indexed` says when to come back. Who asks meanwhile sends no more of them, unless nothing has happened for long.
 */
export async function makeIndex(work: Indexing, { info, gzip }: Looked): Promise<Result<RecordIndex>> {
  const { name, indexes, limits } = work;
  const begun = await indexes.findBegun(name);
  if (!begun.ok) return begun;
  const builder = builderFor(name, { info, gzip });
  const isSmall = info.size <= (gzip ? limits.inlineGzipBytes : limits.inlineBytes);
  // One that was begun and is small is more than was thought, inflated.
  if (begun.value === null && (isSmall || builder.isOver)) {
    const scanned = await scan(work, builder, {
      gzip,
      from: 0,
      maxBytes: gzip ? limits.inlineInflatedBytes : info.size,
    });
    if (!scanned.ok) return scanned;
    if (scanned.value === "end") {
      const index = builder.finish();
      const kept = await indexes.keep(name, index);
      return kept.ok ? ok(index) : kept;
    }
  }
  const told =
    begun.value === null
      ? await keepAndTell(work, builderFor(name, { info, gzip }).pause(), null)
      : await tellAgain(work, begun.value);
  if (!told.ok) return told;
  const from = begun.value?.index.resume?.offset ?? 0;
  return fail(notIndexed(info.size - from, from, info.size));
}

/** Tells the queue of what it was not told of, or has seemingly lost. */
const tellAgain = async (work: Indexing, { index, version, at, isTold }: Begun): Promise<Result<null>> =>
  isTold && work.now - at <= STALE_MS ? ok(null) : tell(work, index, version);

/** Keeps what was begun, and has the queue go on with it, unless somebody else came before. */
async function keepAndTell(work: Indexing, index: RecordIndex, was: string | null): Promise<Result<null>> {
  const kept = await work.indexes.keepBegun(work.name, index, was);
  if (!kept.ok) return kept;
  return kept.value === null ? ok(null) : tell(work, index, kept.value);
}

/**
 * Has the queue go on with what was begun, and notes that it was told. Who is killed before that, or finds the queue down,
 * leaves it untold: then the message that is delivered again tells it, or who next asks. Told twice, it has two messages of
 * one stretch, of which the first to be done is the one that goes on.
 */
async function tell({ name, indexes, send }: Indexing, index: RecordIndex, version: string): Promise<Result<null>> {
  try {
    await send(index.resume?.offset ?? 0);
  } catch (error) {
    return fail(failure("store-unavailable", `The queue that has its records indexed is failing: ${String(error)}`));
  }
  return indexes.noteTold(name, version);
}

/**
 * The next stretch of an index that is being made, by a message. Where another message has done it, it is only seen to that
 * the next one was sent.
 *
 * @param from the byte at which the stretch begins
 */
export async function stepIndex(work: Indexing, from: number): Promise<Result<null>> {
  const { name, store, indexes, limits } = work;
  const begun = await indexes.findBegun(name);
  if (!begun.ok) return begun;
  if (begun.value === null) return ok(null);
  const { index: before, version, isTold } = begun.value;
  if (before.resume?.offset !== from) return isTold ? ok(null) : tell(work, before, version);
  const looked = await lookAt(store, name);
  if (!looked.ok) return isTransient(looked.failure.code) ? looked : indexes.forgetBegun(name);
  const { info, gzip } = looked.value;
  const builder = from === 0 ? builderFor(name, { info, gzip }) : new IndexBuilder(before, before);
  const maxBytes = gzip ? limits.inflatedBytes : limits.stepBytes;
  const scanned = await scan(work, builder, { gzip, from, maxBytes });
  if (!scanned.ok) {
    // The object is another one by now: what is asked of that is another index.
    return scanned.failure.code === "object-changed" ? indexes.forgetBegun(name) : scanned;
  }
  if (scanned.value === "more" && gzip) {
    builder.refuse(
      `it has more than ${limits.inflatedBytes} bytes inflated, and gzip can be read from its start only. ${SPLIT}`,
    );
  } else if (scanned.value === "more" && builder.offset === from) {
    builder.refuse(`it has a record of more than ${limits.stepBytes} bytes, at byte ${from}. ${SPLIT}`);
  } else if (scanned.value === "more") {
    return keepAndTell(work, builder.pause(), version);
  }
  const kept = await indexes.keep(name, builder.finish());
  return kept.ok ? indexes.forgetBegun(name) : kept;
}

const SPLIT = "Store it as several objects, or uncompressed.";

function builderFor(name: IndexName, looked: Looked): IndexBuilder {
  const { key, etag } = name;
  const { info, gzip } = looked;
  return new IndexBuilder({ key, etag, size: info.size, gzip, said: saidOf(name, looked) });
}

function saidOf({ key, as }: IndexName, { info: { http }, gzip }: Looked): Said {
  const { contentType, contentEncoding = "" } = http;
  const isRead = gzip || contentEncoding === "" || /^(?:identity|gzip|aws-chunked)$/i.test(contentEncoding);
  return { kind: as ?? kindByName(key, contentType), encoding: isRead ? null : contentEncoding.slice(0, 64) };
}

/** Whether what is said of the object is what was when it was indexed: bytes that are put again have the ETag they had. */
export function isStillSaid({ said }: RecordIndex, name: IndexName, looked: Looked): boolean {
  const { kind, encoding } = saidOf(name, looked);
  return said.kind === kind && said.encoding === encoding;
}

/** Feeds a builder; "more" when there are bytes beyond `maxBytes`, and some record was found whole. */
async function scan(
  { name, store }: Indexing,
  builder: IndexBuilder,
  { gzip, from, maxBytes }: { gzip: boolean; from: number; maxBytes: number },
): Promise<Result<"end" | "more">> {
  if (builder.isOver) return ok("end");
  const opened = await openBytes({ store, key: name.key, etag: name.etag, gzip }, from, null);
  if (!opened.ok) return opened.failure.code === "range-not-satisfiable" ? ok("end") : opened;
  let bytes = 0;
  try {
    for await (const chunk of opened.value.chunks) {
      if (bytes >= maxBytes) return ok("more");
      bytes += chunk.length;
      builder.push(chunk);
      if (builder.isOver) break;
    }
  } catch (error) {
    const failed = troubleOf(error);
    if (failed.code !== "record-broken" && failed.code !== "not-records") return fail(failed);
    builder.refuse(failed.detail, failed.code);
  }
  return ok("end");
}

function notIndexed(left: number, from: number, size: number): Failure {
  const seconds = Math.ceil(left / BYTES_PER_SECOND);
  const percent = size === 0 ? 0 : Math.floor((from / size) * 100);
  return failure(
    "records-not-indexed",
    `Where its records begin is being found out (${percent} % of ${size} bytes): try again.`,
    {
      retryAfterSeconds: Math.min(RETRY_MAX_SECONDS, Math.max(RETRY_MIN_SECONDS, seconds)),
    },
  );
}
