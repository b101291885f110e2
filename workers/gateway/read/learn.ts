import { failure } from "../../core/failure.ts";
import { type ByteRange, type ByteSpan, parseRange, resolveRange } from "../../core/http/range.ts";
import { HELD_MAX_BYTES } from "../../core/limits.ts";
import { aimOf, blocksOf } from "../../core/read/blocks.ts";
import { type KnownObject, parseKnownObject } from "../../core/read/known-object.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectBody, ObjectInfo } from "../../ports/object-store.ts";
import type { SealedObject } from "../../ports/version-resolver.ts";
import { offerBlocks, readAll } from "./keep-blocks.ts";
import type { ReadRequest } from "./read-object.ts";
import type { Reader } from "./reader.ts";

/** What the first look at an object brought. */
export interface Learned {
  object: KnownObject;
  /** Bytes that came with it, and where in the object they begin. */
  bytes: { offset: number; bytes: Uint8Array } | null;
  outcome: "miss" | "collapsed";
  /** A body too long to be held: it belongs to the request that asked for it, and to no other. */
  stream: (ByteSpan & { body: ReadableStream<Uint8Array> }) | null;
}

/**
 * Finds out what is at a key with one operation: a read of the bytes that are wanted, as whole blocks, or a HEAD where
 * none are wanted. Requests that want the same at once share it.
 */
export async function learn(
  reader: Reader,
  key: string,
  request: ReadRequest,
  pin: SealedObject | null,
): Promise<Result<Learned>> {
  const noted = pin === null ? null : await recallNote(reader, key, request, pin);
  if (noted !== null) return ok(noted);
  const asked = parseRange(request.range);
  // Of a sealed object the size is known: a range that it does not have is not asked for.
  const isBeyond = pin !== null && asked !== null && resolveRange(asked, pin.size) === "unsatisfiable";
  const aim = request.method === "HEAD" || isBeyond ? "head" : aimOf(asked);
  const name = `${reader.nameOf(key)}?${pin?.etag ?? "live"}&${JSON.stringify(aim)}`;
  const { learning } = reader.isolate;
  const pending = learning.find(name);
  if (pending !== undefined && reader.isFreshSince(pending.beganAt, pin)) {
    const followed = await learning.follow(pending);
    if (followed !== null) return followed.ok ? ok({ ...followed.value, outcome: "collapsed" }) : followed;
    // It did not come in time: this request reads for itself, and waits for nobody again.
  }
  const beganAt = reader.now;

  let own: Learned["stream"] = null;
  const flight = (async (): Promise<Result<Learned>> => {
    if (aim === "head") return headOf(reader, key, pin, beganAt);
    const got = await look(reader, key, aim ?? undefined, pin);
    if (!got.ok) return got.failure.code === "range-not-satisfiable" ? headOf(reader, key, pin, beganAt) : got;
    const object = know(reader, key, got.value, pin, beganAt);
    if (got.value.body === null) return ok(learnt(object, null));
    const { offset, length, body } = got.value;
    const release = length <= HELD_MAX_BYTES ? reader.isolate.budget.reserve(length, reader.now) : null;
    if (release === null) {
      own = { offset, length, body };
      return ok(learnt(object, null));
    }
    const bytes = await readAll(reader, body, length, reader.expectedMd5(got.value));
    if (!bytes.ok) {
      release();
      return bytes;
    }
    const brought = { offset, bytes: bytes.value };
    reader.waitUntil(offerBlocks(reader, key, object, brought).finally(release));
    return ok(learnt(object, brought));
  })();
  learning.begin(name, flight, flight, beganAt, reader.waitUntil);
  const learned = await flight;
  return learned.ok ? ok({ ...learned.value, stream: own }) : learned;
}

/** What the isolate now knows of the key. */
function know(reader: Reader, key: string, info: ObjectInfo, pin: SealedObject | null, askedAt: number): KnownObject {
  const object = reader.describe(info);
  reader.remember(key, pin, object, askedAt);
  return object;
}

/** Reads, pinned where it is sealed; where the isolate once knew what is there, no byte is sent again that it has. */
async function look(
  reader: Reader,
  key: string,
  range: ByteRange | undefined,
  pin: SealedObject | null,
): Promise<Result<ObjectBody | (ObjectInfo & { body: null })>> {
  if (pin !== null) return reader.getPinned(key, pin, range);
  const stale = reader.recallStale(key);
  if (stale !== null) return reader.refresh(key, stale.etag, range);
  return reader.get(key, range === undefined ? {} : { range });
}

async function headOf(
  reader: Reader,
  key: string,
  pin: SealedObject | null,
  askedAt: number,
): Promise<Result<Learned>> {
  const head = await reader.head(key);
  if (pin !== null && head.ok && head.value.etag !== pin.etag) return fail(failure("object-changed"));
  // A version says that it is there.
  if (!head.ok)
    return pin !== null && head.failure.code === "object-not-found" ? fail(failure("object-changed")) : head;
  return ok(learnt(know(reader, key, head.value, pin, askedAt), null));
}

/** A sealed object's ETag names its cached blocks, and with each of them what there is to know of it was noted. */
async function recallNote(
  reader: Reader,
  key: string,
  request: ReadRequest,
  pin: SealedObject,
): Promise<Learned | null> {
  const asked = parseRange(request.range);
  const span = asked === null ? null : resolveRange(asked, pin.size);
  const wanted = span === null || span === "unsatisfiable" ? { offset: 0, length: pin.size } : span;
  const [block] = blocksOf(wanted, pin.size) ?? [];
  if (block === undefined) return null;
  const note = await reader.timing.time("cache", reader.isolate.edge.note(reader.blockName(key, pin, block)));
  const object = note === null ? null : parseKnownObject(note);
  if (object?.etag !== pin.etag) return null;
  reader.remember(key, pin, object, reader.now);
  return learnt(object, null);
}

const learnt = (object: KnownObject, bytes: Learned["bytes"]): Learned => ({
  object,
  bytes,
  outcome: "miss",
  stream: null,
});
