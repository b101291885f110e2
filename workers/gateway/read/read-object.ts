import { Memo } from "../../adapters/memo.ts";
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

/** `hit`: no R2 operation for the bytes; `miss`: read, and put into the cache; `bypass`: not cacheable as it was asked. */
export type CacheOutcome = "hit" | "miss" | "bypass";

export interface ReadDeps {
  store: ObjectReader;
  bucket: string;
  cache: ObjectCache;
  memo: Memo<KnownObject>;
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
  if (remembered !== null) {
    const reading = await readKnown(deps, key, request, remembered);
    if (reading.ok || reading.failure.code !== "object-changed") return reading;
    deps.memo.delete(memoKey(deps, key));
  }
  return readUnknown(deps, key, request);
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
  if (request.method === "HEAD") return answer(null, "hit");
  const cacheable = object.size <= CACHE_OBJECT_MAX_BYTES;
  const cached = cacheable ? await deps.cache.match(deps.bucket, key, object.etag) : null;
  if (cached !== null) return answer(cached.subarray(offset, offset + length), "hit");
  if (object.size > (status === 206 ? CACHE_RANGED_OBJECT_MAX_BYTES : CACHE_OBJECT_MAX_BYTES)) {
    const range: ByteRange = { kind: "bounded", start: offset, end: offset + length - 1 };
    const part = await deps.store.get(key, { ifMatch: object.etag, ...(status === 206 ? { range } : {}) });
    return part.ok ? answer(part.value.body, "bypass") : fail(changed(part.failure));
  }
  const whole = await deps.store.get(key, { ifMatch: object.etag });
  if (!whole.ok) return fail(changed(whole.failure));
  const bytes = await keep(deps, key, object, whole.value.body);
  return bytes.ok ? answer(bytes.value.subarray(offset, offset + length), "miss") : bytes;
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
  if (status === 206 || object.size > CACHE_OBJECT_MAX_BYTES) {
    return ok({ status, object, offset, length, body, cache: "bypass" });
  }
  const bytes = await keep(deps, key, object, body);
  return bytes.ok ? ok({ status, object, offset, length, body: bytes.value, cache: "miss" }) : bytes;
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

/** Holds a small whole object, to put it into the cache after the answer. */
async function keep(
  deps: ReadDeps,
  key: string,
  object: KnownObject,
  body: ReadableStream<Uint8Array>,
): Promise<Result<Uint8Array>> {
  try {
    const bytes = new Uint8Array(await new Response(body).arrayBuffer());
    deps.waitUntil(deps.cache.put(deps.bucket, key, object.etag, bytes));
    return ok(bytes);
  } catch (error) {
    return fail(failure("store-unavailable", `The read from R2 broke off: ${String(error)}`));
  }
}

async function learn(deps: ReadDeps, key: string): Promise<Result<KnownObject>> {
  const head = await deps.store.head(key);
  return head.ok ? ok(know(deps, key, head.value)) : head;
}

function know(deps: ReadDeps, key: string, info: ObjectInfo): KnownObject {
  const { size, etag, lastModified, http } = info;
  const object = { size, etag, lastModified, http, logicalEtag: info.custom[ORIGIN.etag] ?? etag };
  deps.memo.set(memoKey(deps, key), object, deps.now);
  return object;
}

/** What was remembered is no longer what is there: look again. */
const changed = (failed: Failure): Failure =>
  failed.code === "precondition-failed" || failed.code === "range-not-satisfiable" ? failure("object-changed") : failed;

const memoKey = (deps: ReadDeps, key: string): string => `${deps.bucket}/${key}`;
