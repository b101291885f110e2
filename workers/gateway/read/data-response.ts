import type { Failure } from "../../core/failure.ts";
import { formatHttpDate } from "../../core/http/date.ts";
import { formatContentRange } from "../../core/http/range.ts";
import { dataHeaders } from "../../core/http/stored-headers.ts";
import type { KnownObject } from "../../core/read/known-object.ts";
import { NOTHING_WAITED_FOR, type ServerTiming } from "../../core/read/server-timing.ts";
import { describeProblem, PROBLEM } from "../respond.ts";
import { ANY_ORIGIN, type Header } from "./cors.ts";
import type { Reading } from "./read-object.ts";

/** What is at `live` may change: who keeps it must ask again. This isolate's memory is `liveTtlSeconds` old at most. */
const LIVE = "private, no-cache";
/** What is sealed never changes. */
const SEALED = "private, max-age=31536000, immutable";

/**
 * The headers of the commonest answer, the whole object from a cache, made once an object: reading the same again is what
 * readers do, and each header that is set costs them.
 */
const made = { live: new WeakMap<KnownObject, Headers>(), sealed: new WeakMap<KnownObject, Headers>() };

function hitHeaders(object: KnownObject, isSealed: boolean, cors: readonly Header[]): Headers {
  const kept = isSealed ? made.sealed : made.live;
  const known = kept.get(object);
  // What depends on the client's origin is no object's.
  const isShared = cors === ANY_ORIGIN;
  if (known !== undefined && isShared) return known;
  const headers = new Headers([
    ...cors,
    ...dataHeaders(object.http, { cacheControl: isSealed ? SEALED : LIVE }),
    ["etag", `"${object.logicalEtag}"`],
    ["last-modified", formatHttpDate(object.lastModified)],
    ["content-length", String(object.size)],
    ["cache-status", CACHE_STATUS.hit],
    ["server-timing", NOTHING_WAITED_FOR],
  ]);
  if (isShared) kept.set(object, headers);
  return headers;
}

/** An object's answer. */
export function respond(
  reading: Reading,
  method: string,
  isSealed: boolean,
  cors: readonly Header[],
  timing: ServerTiming,
): Response {
  const { status, object } = reading;
  const body = status === 304 || method === "HEAD" ? null : reading.body;
  // Stored bytes go out as they are stored: "manual" keeps the runtime from compressing them a second time.
  const response = new Response(body, { status, headers: hitHeaders(object, isSealed, cors), encodeBody: "manual" });
  const { headers } = response;
  if (timing.hasWaited) headers.set("server-timing", timing.format());
  if (status === 304) {
    for (const name of ["content-type", "content-encoding", "content-length", "cache-status"]) headers.delete(name);
    return response;
  }
  const { offset, length, cache } = reading;
  if (cache === null) headers.delete("cache-status");
  else if (cache !== "hit") headers.set("cache-status", CACHE_STATUS[cache]);
  if (status === 206) {
    headers.set("content-length", String(length));
    headers.set("content-range", formatContentRange(offset, length, object.size));
  }
  return response;
}

/** RFC 9211. */
const CACHE_STATUS = {
  hit: "penstock; hit",
  collapsed: "penstock; fwd=miss; collapsed",
  miss: "penstock; fwd=miss; stored",
  bypass: "penstock; fwd=bypass",
} as const;

/** The headers that refusals share, made once: a sparse array's missing chunks are answers like others. */
const refusals = new Map<string, Headers>();

function refusalHeaders(cacheControl: string, cors: readonly Header[]): Headers {
  const known = refusals.get(cacheControl);
  if (known !== undefined && cors === ANY_ORIGIN) return known;
  const headers = new Headers([
    ...cors,
    ...dataHeaders({ contentType: PROBLEM }, { cacheControl }),
    ["server-timing", NOTHING_WAITED_FOR],
  ]);
  if (cors === ANY_ORIGIN) refusals.set(cacheControl, headers);
  return headers;
}

/** A refusal, as every answer of the data plane: readable across origins, and inert. */
export function refuse(failed: Failure, isSealed: boolean, cors: readonly Header[], timing: ServerTiming): Response {
  const { status, headers, body } = describeProblem(failed, crypto.randomUUID());
  // A key that a version does not have, it never has; anything else may be otherwise in a moment.
  const cacheControl = isSealed && failed.code === "object-not-found" ? SEALED : "no-store";
  const response = new Response(body, { status, headers: refusalHeaders(cacheControl, cors) });
  for (const name in headers) response.headers.set(name, headers[name] ?? "");
  if (failed.code === "method-not-allowed") response.headers.set("allow", "GET, HEAD, OPTIONS");
  if (timing.hasWaited) response.headers.set("server-timing", timing.format());
  return response;
}
