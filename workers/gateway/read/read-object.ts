import { Memo } from "../../adapters/memo.ts";
import type { MemoryBudget } from "../../adapters/memory-budget.ts";
import type { ObjectCache } from "../../adapters/object-cache.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { evaluateConditions, type Preconditions, rangeApplies } from "../../core/http/conditional.ts";
import { type ByteRange, parseRange, resolveRange } from "../../core/http/range.ts";
import { CACHE_OBJECT_MAX_BYTES, CACHE_RANGED_OBJECT_MAX_BYTES } from "../../core/limits.ts";
import { ORIGIN } from "../../core/migration/origin.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { HttpMetadata, ObjectInfo, ObjectReader } from "../../ports/object-store.ts";

/** What a reader needs to know of an object before its bytes. */
export interface KnownObject {
  size: number;
  /** R2's ETag: pins the bytes. */
  etag: string;
  /** What the client sees: the source's ETag where one was recorded with the copy. */
  logicalEtag: string;
  lastModified: number;
  http: HttpMetadata;
}

export interface ReadRequest extends Preconditions {
  range: string | null;
}

export type Reading =
  | {
      status: 200 | 206;
      object: KnownObject;
      offset: number;
      length: number;
      body: BodyInit | null;
      cache: CacheOutcome;
    }
  | { status: 304; object: KnownObject };

/**
 * `hit`: no R2 operation for the bytes; `miss`: read, and put into the cache; `bypass`: not cacheable as it was asked,
 * or too much is held already; null: there are no bytes.
 */
export type CacheOutcome = "hit" | "miss" | "bypass" | null;

export interface ReadDeps {
  store: ObjectReader;
  bucket: string;
  cache: ObjectCache;
  memo: Memo<KnownObject>;
  budget: MemoryBudget;
  /** How long an ETag may be remembered. */
  liveTtlMs: number;
  now: number;
  /** Lets work go on after the answer. */
  waitUntil(work: Promise<void>): void;
}

/** Objects whose ETag an isolate remembers: near 300 bytes each. */
export const createLiveMemo = (): Memo<KnownObject> => new Memo<KnownObject>(20_000);

/**
 * Reads an object of a live dataset: conditions first, then the range (RFC 9110, section 13.2.2), then the bytes from
 * the cache or from R2. What the isolate remembers of the key saves the look at R2; if it proves out of date, it is
 * forgotten and the read starts again.
 */
export async function readObject(deps: ReadDeps, key: string, request: ReadRequest): Promise<Result<Reading>> {
  const remembered = deps.memo.get(memoKey(deps, key), deps.now, deps.liveTtlMs);
  let reading = await (remembered === null
    ? readUnknown(deps, key, request)
    : readKnown(deps, key, request, remembered));
  for (let again = 1; again <= 2 && !reading.ok && reading.failure.code === "object-changed"; again++) {
    deps.memo.delete(memoKey(deps, key));
    reading = await readUnknown(deps, key, request);
  }
  if (reading.ok || reading.failure.code !== "object-changed") return reading;
  return fail(failure("store-unavailable", "The object changes faster than it can be read.", { retryAfterSeconds: 1 }));
}

async function readKnown(
  deps: ReadDeps,
  key: string,
  request: ReadRequest,
  object: KnownObject,
): Promise<Result<Reading>> {
  const planned = plan(request, object);
  if (!planned.ok || planned.value.status === 304) return planned as Result<Reading>;
  const { status, offset, length } = planned.value;
  const answer = (body: BodyInit | null, cache: CacheOutcome): Result<Reading> =>
    ok({ status, object, offset, length, body, cache });
  if (request.method === "HEAD") return answer(null, null);
  const cacheable = object.size <= CACHE_OBJECT_MAX_BYTES;
  const part = status === 206 ? { offset, length } : null;
  const cached = cacheable ? await deps.cache.match(deps.bucket, key, object.etag, part) : null;
  if (cached !== null) return answer(cached, "hit");
  const max = part === null ? CACHE_OBJECT_MAX_BYTES : CACHE_RANGED_OBJECT_MAX_BYTES;
  const release = object.size <= max ? deps.budget.reserve(object.size, deps.now) : null;
  if (release === null) {
    const range: ByteRange = { kind: "bounded", start: offset, end: offset + length - 1 };
    const got = await deps.store.get(key, { ifMatch: object.etag, ...(part === null ? {} : { range }) });
    return got.ok ? answer(got.value.body, "bypass") : fail(changed(got.failure));
  }
  const whole = await deps.store.get(key, { ifMatch: object.etag });
  if (!whole.ok) {
    release();
    return fail(changed(whole.failure));
  }
  const kept = await keep(deps, key, object, whole.value.body, { offset, length }, release);
  return kept.ok ? answer(kept.value, "miss") : kept;
}

async function readUnknown(deps: ReadDeps, key: string, request: ReadRequest): Promise<Result<Reading>> {
  if (request.method === "HEAD") {
    const object = await learn(deps, key);
    return object.ok ? readKnown(deps, key, request, object.value) : object;
  }
  const range = parseRange(request.range);
  // Asked with the range at once: the get itself teaches the ETag and the size.
  const got = await deps.store.get(key, range === null ? {} : { range });
  if (!got.ok) {
    if (got.failure.code !== "range-not-satisfiable") return got;
    const object = await learn(deps, key);
    return object.ok ? readKnown(deps, key, request, object.value) : object;
  }
  const object = know(deps, key, got.value);
  const planned = plan(request, object);
  const { body } = got.value;
  const served = planned.ok && planned.value.status !== 304 ? planned.value : null;
  if (served === null || served.offset !== got.value.offset || served.length !== got.value.length) {
    // 304, 412, 416, or an If-Range that asks for the whole: not these bytes.
    await body.cancel();
    return readKnown(deps, key, request, object);
  }
  const { status, offset, length } = served;
  const fits = status === 200 && object.size <= CACHE_OBJECT_MAX_BYTES;
  const release = fits ? deps.budget.reserve(object.size, deps.now) : null;
  if (release === null) return ok({ status, object, offset, length, body, cache: "bypass" });
  const kept = await keep(deps, key, object, body, { offset, length }, release);
  return kept.ok ? ok({ status, object, offset, length, body: kept.value, cache: "miss" }) : kept;
}

/** Decides the status and the bytes. An absent Range is 200; a Range that applies is 206, also of the whole. */
function plan(
  request: ReadRequest,
  object: KnownObject,
): Result<{ status: 304; object: KnownObject } | { status: 200 | 206; offset: number; length: number }> {
  const validators = { etag: object.logicalEtag, lastModified: object.lastModified };
  const verdict = evaluateConditions(request, validators);
  if (verdict === "not-modified") return ok({ status: 304, object });
  if (verdict === "precondition-failed") return fail(failure("precondition-failed"));
  // A Range means something on GET only (RFC 9110, section 14.2).
  const asked =
    request.method === "GET" && rangeApplies(request.ifRange, validators) ? parseRange(request.range) : null;
  if (asked === null) return ok({ status: 200, offset: 0, length: object.size });
  const span = resolveRange(asked, object.size);
  if (span === "unsatisfiable") {
    const detail = `The requested range is not satisfiable: the object has ${object.size} bytes.`;
    return fail(failure("range-not-satisfiable", detail, { field: "range", size: object.size }));
  }
  return ok({ status: 206, ...span });
}

/**
 * Holds a whole object, to answer from it and to put it into the cache afterwards. `release` is called when both are
 * done: the client may be slow.
 */
async function keep(
  deps: ReadDeps,
  key: string,
  object: KnownObject,
  body: ReadableStream<Uint8Array>,
  { offset, length }: { offset: number; length: number },
  release: () => void,
): Promise<Result<ReadableStream<Uint8Array>>> {
  try {
    const bytes = new Uint8Array(await new Response(body).arrayBuffer());
    const { readable, writable } = new FixedLengthStream(length);
    const put = deps.cache.put(deps.bucket, key, object.etag, bytes);
    const sent = send(writable, bytes.subarray(offset, offset + length));
    deps.waitUntil(Promise.all([put, sent]).then(release));
    return ok(readable);
  } catch (error) {
    release();
    return fail(failure("store-unavailable", `The read from R2 broke off: ${String(error)}`));
  }
}

/** Ends when the client has taken all, or has gone. */
async function send(writable: WritableStream, bytes: Uint8Array): Promise<void> {
  const writer = writable.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch {
    // It has gone.
  }
}

async function learn(deps: ReadDeps, key: string): Promise<Result<KnownObject>> {
  const head = await deps.store.head(key);
  return head.ok ? ok(know(deps, key, head.value)) : head;
}

function know(deps: ReadDeps, key: string, info: ObjectInfo): KnownObject {
  const { size, etag, lastModified, http } = info;
  const origin = info.custom[ORIGIN.etag] ?? "";
  const object = { size, etag, lastModified, http, logicalEtag: ETAG.test(origin) ? origin : etag };
  deps.memo.set(memoKey(deps, key), object, deps.now);
  return object;
}

/** What an entity tag may consist of (RFC 9110, section 8.8.3), in ASCII. */
const ETAG = /^[\x21\x23-\x7e]{1,256}$/;

/** What was remembered is no longer what is there: look again. */
const changed = (failed: Failure): Failure =>
  failed.code === "precondition-failed" || failed.code === "range-not-satisfiable" ? failure("object-changed") : failed;

const memoKey = (deps: ReadDeps, key: string): string => `${deps.bucket}/${key}`;
