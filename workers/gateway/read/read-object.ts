import { failure } from "../../core/failure.ts";
import { evaluateConditions, type Preconditions, rangeApplies } from "../../core/http/conditional.ts";
import { type ByteSpan, parseRange, resolveRange } from "../../core/http/range.ts";
import { cut, holds } from "../../core/read/blocks.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { KnownObject } from "../../core/read/known-object.ts";
import type { SealedObject } from "../../ports/version-resolver.ts";
import { readSpan } from "./blocks.ts";
import { bodyOf } from "./body.ts";
import { learn, type Learned } from "./learn.ts";
import type { CacheOutcome, Reader } from "./reader.ts";

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
 * Reads an object: conditions first, then the range (RFC 9110, section 13.2.2), then the bytes. What the isolate
 * remembers of the key saves the look at the store; if it proves out of date, it is forgotten and the read starts again.
 *
 * @param pin what must be there, in a sealed version; null on `live`
 */
export async function readObject(
  reader: Reader,
  key: string,
  request: ReadRequest,
  pin: SealedObject | null,
): Promise<Result<Reading>> {
  const known = reader.recall(key, pin);
  const reading =
    known === null ? await readUnknown(reader, key, request, pin) : await readKnown(reader, key, request, known);
  // What a version sealed is there, or it is not.
  return pin !== null || !isChanged(reading) ? reading : readAgain(reader, key, request);
}

async function readAgain(reader: Reader, key: string, request: ReadRequest): Promise<Result<Reading>> {
  for (let attempt = 1; attempt <= 2; attempt++) {
    reader.forget(key);
    const reading = await readUnknown(reader, key, request, null);
    if (!isChanged(reading)) return reading;
  }
  return fail(failure("store-unavailable", "The object changes faster than it can be read.", { retryAfterSeconds: 1 }));
}

async function readUnknown(
  reader: Reader,
  key: string,
  request: ReadRequest,
  pin: SealedObject | null,
): Promise<Result<Reading>> {
  const learned = await learn(reader, key, request, pin);
  return learned.ok ? readKnown(reader, key, request, learned.value.object, learned.value) : learned;
}

async function readKnown(
  reader: Reader,
  key: string,
  request: ReadRequest,
  object: KnownObject,
  learned: Learned | null = null,
): Promise<Result<Reading>> {
  const planned = plan(request, object);
  const span = planned.ok && planned.value.status !== 304 && request.method === "GET" ? planned.value : null;
  const brought = learned?.stream ?? null;
  if (brought !== null && (span === null || brought.offset !== span.offset || brought.length !== span.length)) {
    // 304, 412, 416, or an If-Range that asks for the whole: not these bytes.
    await brought.body.cancel();
  } else if (brought !== null && span !== null) {
    return ok({ ...span, object, body: brought.body, cache: "bypass" });
  }
  if (!planned.ok || planned.value.status === 304) return planned as Result<Reading>;
  if (span === null) return ok({ ...planned.value, object, body: null, cache: null });
  if (learned !== null && learned.bytes !== null && holds(learned.bytes.bytes, learned.bytes.offset, span)) {
    const bytes = cut(learned.bytes.bytes, learned.bytes.offset, span);
    return ok({ ...span, object, body: bodyOf(reader, [bytes]), cache: learned.outcome });
  }
  const read = await readSpan(reader, key, object, span);
  return read.ok ? ok({ ...span, object, ...read.value }) : read;
}

/** Decides the status and the bytes. An absent Range is 200; a Range that applies is 206, also of the whole. */
function plan(
  request: ReadRequest,
  object: KnownObject,
): Result<{ status: 304; object: KnownObject } | ({ status: 200 | 206 } & ByteSpan)> {
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

const isChanged = (reading: Result<Reading>): boolean => !reading.ok && reading.failure.code === "object-changed";
