import { expect } from "vitest";
import { claimsIn, type Masters, referenceVerify } from "../reference/capability.ts";
import { type Conditions, referenceRangeApplies, referenceVerdict } from "../reference/conditional.ts";
import { referenceKeyRefusal, referenceTarget } from "../reference/data-url.ts";
import { referenceRange, referenceSpan } from "../reference/range.ts";
import type { RawAnswer } from "./raw-http.ts";

/** An object as it was stored. */
export interface ModelObject {
  bytes: Buffer;
  /** Without its quotes. */
  etag: string;
  /** Milliseconds since 1970, in whole seconds. */
  lastModified: number;
}

export interface ModelDataset {
  id: string;
  prefix: string;
  /** By key, in NFC as R2 keeps it. */
  objects: ReadonlyMap<string, ModelObject>;
}

/** A request for data; header values as they are put on the wire. */
export interface DataRequest {
  method: string;
  /** Path and query, as they are put on the wire. */
  path: string;
  headers: Readonly<Record<string, string>>;
}

/** What must be answered: the code of a refusal, or the object and the bytes of it. */
export type Predicted =
  | { status: number; code: string }
  | { status: 204 }
  | { status: 200 | 206 | 304; object: ModelObject; first: number; bytes: Buffer }
  /** The path leaves the data plane once a URL parser on the way has resolved its dot segments. */
  | { status: "elsewhere" };

const STATUS: Record<string, number> = {
  "invalid-key": 400,
  "key-too-long": 400,
  "invalid-name": 400,
  "missing-token": 401,
  "invalid-token": 401,
  "expired-token": 403,
  "token-not-yet-valid": 403,
  "wrong-token-kind": 403,
  "wrong-dataset": 403,
  "wrong-operation": 403,
  "out-of-scope": 403,
  "object-not-found": 404,
  "method-not-allowed": 405,
  "precondition-failed": 412,
  "range-not-satisfiable": 416,
};
const refused = (code: string): Predicted => ({ status: STATUS[code] ?? 0, code });
/** Only an object may be missing on the data plane. */
const NOT_MISSING: Record<string, string> = { "unknown-route": "invalid-key", "unknown-version": "invalid-name" };

/** What the data plane has to answer, by the plain references alone. Datasets by name. */
export function predict(
  request: DataRequest,
  datasets: ReadonlyMap<string, ModelDataset>,
  masters: Masters,
  nowMs: number,
): Predicted {
  const { method } = request;
  // The simulator's entry rewrites a URL as every URL parser does, before the Worker sees it.
  const { href, pathname } = new URL(`http://penstock.invalid${request.path}`);
  if (!/^\/[dt]\//.test(pathname)) return { status: "elsewhere" };
  if (method === "OPTIONS") return { status: 204 };
  if (method !== "GET" && method !== "HEAD") return refused("method-not-allowed");
  const target = referenceTarget(href);
  if (typeof target === "string") return refused(NOT_MISSING[target] ?? target);

  const header = onTheWire(request, "authorization");
  const token = target.door === "t" ? target.capability : header === null ? target.token : bearerOf(header);
  if (token === null) return refused("missing-token");
  const verified = referenceVerify(token, masters, nowMs);
  if (verified !== "ok") return refused(verified);
  const claims = claimsIn(token) as {
    ds: string;
    name: string;
    ver: string;
    pfx: string[];
    keys: string[];
    ops: string[];
  };
  const { key, version } = target;
  const dataset = datasets.get(target.dataset);
  if (claims.name !== target.dataset || claims.ver !== version) return refused("wrong-dataset");
  if (!claims.keys.includes(key) && !claims.pfx.some((prefix) => key.startsWith(prefix)))
    return refused("out-of-scope");
  if (method === "GET" && !claims.ops.includes("read")) return refused("wrong-operation");
  if (dataset?.id !== claims.ds) return refused("wrong-dataset");
  if (version !== "live") return refused("invalid-name"); // Nothing is sealed here.

  const tooLong = referenceKeyRefusal(dataset.prefix + key.normalize("NFC"));
  if (tooLong !== null) return refused(tooLong);
  const object = dataset.objects.get(key.normalize("NFC"));
  return object === undefined ? refused("object-not-found") : answerOf(request, object);
}

/** What is answered of an object that may be read. */
function answerOf(request: DataRequest, object: ModelObject): Predicted {
  const conditions: Conditions = {
    method: request.method,
    ifMatch: onTheWire(request, "if-match"),
    ifNoneMatch: onTheWire(request, "if-none-match"),
    ifModifiedSince: onTheWire(request, "if-modified-since"),
    ifUnmodifiedSince: onTheWire(request, "if-unmodified-since"),
    ifRange: onTheWire(request, "if-range"),
  };
  const verdict = referenceVerdict(conditions, object);
  if (verdict === "precondition-failed") return refused(verdict);
  if (verdict === "not-modified") return { status: 304, object, first: 0, bytes: Buffer.alloc(0) };
  const isRanged = request.method === "GET" && referenceRangeApplies(conditions.ifRange, object);
  const asked = isRanged ? referenceRange(onTheWire(request, "range")) : null;
  if (asked === null) return { status: 200, object, first: 0, bytes: object.bytes };
  const span = referenceSpan(asked, BigInt(object.bytes.length));
  if (span === null) return refused("range-not-satisfiable");
  const first = Number(span.first);
  return { status: 206, object, first, bytes: object.bytes.subarray(first, Number(span.last) + 1) };
}

/** A header's value without the blanks around it, which are not part of it (RFC 9112, section 5.1). */
function onTheWire({ headers }: DataRequest, name: string): string | null {
  const value = headers[name];
  return value === undefined ? null : value.replace(/^[ \t]+|[ \t]+$/g, "");
}

/** The token of `Bearer <token>`; what is neither is no token of ours, and an empty field is none at all. */
function bearerOf(header: string): string | null {
  if (header === "") return null;
  const [scheme = "", ...words] = header.split(" ").filter((word) => word !== "");
  const [token = "", ...more] = words;
  const isVisible = [...token].every((char) => char > " " && char < "\x7f");
  return scheme.toLowerCase() === "bearer" && more.length === 0 && isVisible ? token : "";
}

/** The answer is the one that was predicted, to the last byte. */
export function expectPredicted(asked: DataRequest, predicted: Predicted, { status, headers, bytes }: RawAnswer): void {
  const seen = { asked, status, body: status >= 400 ? bytes.toString().slice(0, 300) : bytes.length };
  // No URI, so the simulator's server refuses it before any Worker is asked (RFC 3986, section 2).
  if (status === 400 && headers["content-type"] === "text/plain")
    return expect(asked.path).toMatch(/["<>\\^`{|}]|%(?![\da-f]{2})/i);
  if (predicted.status === "elsewhere") return expect([401, 404], JSON.stringify(seen)).toContain(status);
  expect(status, JSON.stringify(seen)).toBe(predicted.status);
  if ("code" in predicted) {
    expect(headers["content-type"]).toBe("application/problem+json");
    expect(headers["cache-control"]).toContain("no-store");
    const body = asked.method === "HEAD" ? "" : (JSON.parse(bytes.toString()) as { code: string }).code;
    expect(body, JSON.stringify(seen)).toBe(asked.method === "HEAD" ? "" : predicted.code);
    return;
  }
  if (!("object" in predicted)) return expect(bytes).toHaveLength(0);
  const { object, first, bytes: expected } = predicted;
  const range = `bytes ${first}-${first + expected.length - 1}/${object.bytes.length}`;
  expect(headers.etag).toBe(`"${object.etag}"`);
  expect(headers["content-range"]).toBe(status === 206 ? range : undefined);
  if (status !== 304) expect(headers["content-length"]).toBe(String(expected.length));
  expect(bytes.equals(asked.method === "HEAD" ? Buffer.alloc(0) : expected), JSON.stringify(seen)).toBe(true);
}
