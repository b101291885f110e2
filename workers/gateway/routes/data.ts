import { bucketOf } from "../../adapters/config.ts";
import { knownDataset } from "../../adapters/known-datasets.ts";
import { MemoryBudget } from "../../adapters/memory-budget.ts";
import { objectCache } from "../../adapters/object-cache.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { revokedByJob } from "../../adapters/revocation.ts";
import { covers } from "../../core/capability/scope.ts";
import type { CapabilityClaims } from "../../core/capability/token.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { formatHttpDate } from "../../core/http/date.ts";
import { checkKey, type DataTarget, parseDataTarget } from "../../core/http/key-path.ts";
import { formatContentRange } from "../../core/http/range.ts";
import { dataHeaders } from "../../core/http/stored-headers.ts";
import { CACHE_HELD_MAX_BYTES } from "../../core/limits.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { bearer } from "../auth.ts";
import type { Ctx } from "../context.ts";
import { createLiveMemo, readObject, type Reading } from "../read/read-object.ts";
import { problem } from "../respond.ts";

const memo = createLiveMemo();
const budget = new MemoryBudget(CACHE_HELD_MAX_BYTES);

/** The data plane: GET, HEAD and OPTIONS on `/d/:dataset[@version]/*key` and `/t/:capability/...`. */
export async function serve(c: Ctx): Promise<Response> {
  const { method } = c.req.raw;
  const cors = corsHeaders(c);
  if (method === "OPTIONS") return new Response(null, { status: 204, headers: [...cors, ...PREFLIGHT] });
  if (method !== "GET" && method !== "HEAD") {
    const response = refuse(c, failure("method-not-allowed", "Data is read by GET, HEAD and OPTIONS."), cors);
    response.headers.set("allow", "GET, HEAD, OPTIONS");
    return response;
  }
  const read = await readTarget(c, method).catch((error: unknown) => {
    console.error(JSON.stringify({ message: "read failed", requestId: c.get("requestId"), error: String(error) }));
    return fail(failure("store-unavailable", "The read failed here; try again."));
  });
  return read.ok ? respond(read.value, method, cors) : refuse(c, read.failure, cors);
}

async function readTarget(c: Ctx, method: "GET" | "HEAD"): Promise<Result<Reading>> {
  const target = parseDataTarget(c.req.raw.url);
  if (!target.ok) return fail(notMissing(target.failure));
  const claims = await authorise(c, target.value);
  if (!claims.ok) return claims;
  const { version, key } = target.value;
  const dataset = await knownDataset(c.env, target.value.dataset);
  if (!dataset.ok) return fail(notMissing(dataset.failure));
  // A name used again is not the old dataset: the capability holds its id.
  if (claims.value.ds !== dataset.value.config.id) return fail(OTHER_DATASET);
  if (version !== "live") return fail(OTHER_DATASET);
  const { bucket, prefix, liveTtlSeconds } = dataset.value.config;
  const binding = bucketOf(c.env, bucket);
  if (binding === null) return fail(failure("misconfigured", `The R2 binding "${bucket}" is not there any more.`));
  const stored = checkKey(prefix + storeKey(key)); // The dataset's prefix counts towards R2's 1,024 bytes.
  if (!stored.ok) return stored;
  const header = (name: string) => c.req.header(name) ?? null;
  return readObject(
    {
      store: createR2Store(binding),
      bucket,
      cache: objectCache,
      memo,
      budget,
      liveTtlMs: liveTtlSeconds * 1000,
      now: Date.now(),
      waitUntil: (work) => c.executionCtx.waitUntil(work),
    },
    stored.value,
    {
      method,
      range: header("range"),
      ifRange: header("if-range"),
      ifMatch: header("if-match"),
      ifNoneMatch: header("if-none-match"),
      ifModifiedSince: header("if-modified-since"),
      ifUnmodifiedSince: header("if-unmodified-since"),
    },
  );
}

/**
 * Only an object may be missing here: a Zarr reader takes a 404 for a chunk of fill values, and trains on zeros.
 */
function notMissing(failed: Failure): Failure {
  switch (failed.code) {
    case "unknown-dataset":
      return failure("out-of-scope", failed.detail, { field: "dataset" });
    case "unknown-version":
      return failure("invalid-name", failed.detail, { field: "version" });
    case "unknown-route":
      return failure("invalid-key", failed.detail);
    default:
      return failed;
  }
}

/** The capability of a request, if it covers the key: from the path, the header or the query. */
async function authorise(c: Ctx, target: DataTarget): Promise<Result<CapabilityClaims>> {
  const token = target.door === "t" ? ok(target.capability) : presented(c, target.token);
  if (!token.ok) return token;
  const claims = await c.get("tokens").verifyCapability(token.value, Date.now());
  if (!claims.ok) return claims;
  const { name, ver, pfx, keys, job } = claims.value;
  if (name !== target.dataset || ver !== target.version) return fail(OTHER_DATASET);
  if (!covers({ prefixes: pfx, keys }, target.key)) {
    return fail(failure("out-of-scope", "The capability does not cover this key.", { field: "key" }));
  }
  const revoked = job === null ? null : await revokedByJob(c.env, job);
  return revoked === null ? claims : fail(revoked);
}

function presented(c: Ctx, fromQuery: string | null): Result<string> {
  const header = c.req.header("authorization");
  return header === undefined && fromQuery !== null ? ok(fromQuery) : bearer(header);
}

const OTHER_DATASET = failure("out-of-scope", "The capability is for another dataset or version.", {
  field: "dataset",
});

function respond(reading: Reading, method: string, cors: Header[]): Response {
  const { object } = reading;
  // A client that keeps it must ask again: what this isolate remembers may be `liveTtlSeconds` old already.
  const cacheControl = "private, no-cache";
  const headers = new Headers([
    ...cors,
    ...dataHeaders(object.http, { cacheControl }),
    ["etag", `"${object.logicalEtag}"`],
    ["last-modified", formatHttpDate(object.lastModified)],
  ]);
  if (reading.status === 304) {
    headers.delete("content-type");
    headers.delete("content-encoding");
    return new Response(null, { status: 304, headers });
  }
  const { status, offset, length, body, cache } = reading;
  headers.set("content-length", String(length));
  if (cache !== null) headers.set("cache-status", cache === "hit" ? "penstock; hit" : `penstock; fwd=${cache}`);
  if (status === 206) headers.set("content-range", formatContentRange(offset, length, object.size));
  // Stored bytes go out as they are stored: "manual" keeps the runtime from compressing them a second time.
  return new Response(method === "HEAD" ? null : body, { status, headers, encodeBody: "manual" });
}

export function refuse(c: Ctx, failed: Failure, cors: Header[] = corsHeaders(c)): Response {
  const response = problem(failed, c.get("requestId"));
  const type = response.headers.get("content-type") ?? "";
  for (const [name, value] of [...cors, ...dataHeaders({ contentType: type }, { cacheControl: "no-store" })]) {
    response.headers.set(name, value);
  }
  return response;
}

type Header = [string, string];

const PREFLIGHT: Header[] = [
  ["access-control-allow-methods", "GET, HEAD, OPTIONS"],
  [
    "access-control-allow-headers",
    "authorization, range, if-match, if-none-match, if-modified-since, if-unmodified-since, if-range, cache-control, pragma",
  ],
  ["access-control-max-age", "86400"],
];

function corsHeaders(c: Ctx): Header[] {
  const { corsOrigins } = c.get("config");
  const origin = c.req.header("origin");
  const any = corsOrigins.includes("*");
  if (!any && (origin === undefined || !corsOrigins.includes(origin))) return [["vary", "origin"]];
  return [
    ["access-control-allow-origin", any ? "*" : (origin ?? "")],
    [
      "access-control-expose-headers",
      "accept-ranges, cache-status, content-encoding, content-length, content-range, etag, last-modified, retry-after",
    ],
    ...(any ? [] : [["vary", "origin"] satisfies Header]),
  ];
}
