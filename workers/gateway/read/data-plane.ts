import { type Config, configOf } from "../../adapters/config.ts";
import { meterRead } from "../../adapters/meter.ts";
import { tokensOf } from "../../adapters/tokens.ts";
import type { CapabilityClaims } from "../../core/capability/token.ts";
import { type Failure, failure } from "../../core/failure.ts";
import type { ReadEvent } from "../../core/metering/tally.ts";
import { type DataTarget, parseDataTarget } from "../../core/http/key-path.ts";
import { ServerTiming } from "../../core/read/server-timing.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { VersionResolver } from "../../ports/version-resolver.ts";
import { loggable } from "../log.ts";
import { authoriseRead } from "./authorise-read.ts";
import { corsHeaders, PREFLIGHT } from "./cors.ts";
import { refuse, respond } from "./data-response.ts";
import { readDataset } from "./read-dataset.ts";
import type { Reading, ReadRequest } from "./read-object.ts";
import { createIsolate, type Isolate } from "./reader.ts";

/** Finds a sealed version of a dataset by its number; `unknown-version` where there is none. */
export type FindVersion = (
  env: Env,
  dataset: { id: string; name: string },
  version: string,
  waitUntil: (work: Promise<unknown>) => void,
) => Promise<Result<VersionResolver>>;

/** The answer to a request of the data plane; null for any other, which is the control API's. */
export type DataPlane = (request: Request, env: Env, ctx: ExecutionContext) => Promise<Response> | null;

/** Every spelling of the two doors, so that a misspelt one is a 400 here and no 404, which a Zarr reader believes. */
const DATA_URL = /^[a-z]+:\/\/[^/?#]*\/+(?:[dt]|%[46]4|%[57]4)(?:\/|%2f|[?#]|$)/i;

/** GET, HEAD and OPTIONS on `/d/:dataset[@version]/*key` and `/t/:capability/:dataset[@version]/*key`. */
export function createDataPlane(findVersion: FindVersion): DataPlane {
  const isolates = new WeakMap<Env, Isolate>();
  const isolateOf = (env: Env, { blockMemoryBytes }: Config): Isolate => {
    const known = isolates.get(env);
    if (known !== undefined) return known;
    const isolate = createIsolate(blockMemoryBytes);
    isolates.set(env, isolate);
    return isolate;
  };
  return (request, env, ctx) => {
    const { url } = request;
    if (!DATA_URL.test(url)) return null;
    const config = configOf(env);
    if (!config.ok) {
      console.error(JSON.stringify({ message: "misconfigured", detail: config.failure.detail }));
      return Promise.resolve(refuse(config.failure, false, [], new ServerTiming(Date.now)));
    }
    const isolate = isolateOf(env, config.value);
    return answer({ request, url, env, ctx, config: config.value, isolate, findVersion });
  };
}

interface Context {
  request: Request;
  /** The request's, which makes a new string of it each time it is asked. */
  url: string;
  env: Env;
  ctx: ExecutionContext;
  config: Config;
  isolate: Isolate;
  findVersion: FindVersion;
}

async function answer(context: Context): Promise<Response> {
  const { request, url, config } = context;
  const { method } = request;
  const cors = corsHeaders(config.corsOrigins, request.headers);
  if (method === "OPTIONS") return new Response(null, { status: 204, headers: [...cors, ...PREFLIGHT] });
  const timing = new ServerTiming(Date.now);
  const read = await readTarget(context, timing).catch((error: unknown) => {
    console.error(JSON.stringify({ message: "read failed", path: loggable(url), error: String(error) }));
    return {
      target: null,
      claims: null,
      reading: fail(failure("store-unavailable", "The read failed here; try again.")),
    };
  });
  const { reading } = read;
  const isSealed = read.target !== null && read.target.version !== "live";
  const response = reading.ok
    ? respond(reading.value, method, isSealed, cors, timing)
    : refuse(reading.failure, isSealed, cors, timing);
  if (!reading.ok) logRefusal(method, url, response);
  meter(context, read, response);
  return response;
}

interface Read {
  target: DataTarget | null;
  /** Null where the request was refused before its capability was found good. */
  claims: CapabilityClaims | null;
  reading: Result<Reading>;
}

async function readTarget(context: Context, timing: ServerTiming): Promise<Read> {
  const { request, url, env, ctx, config, isolate } = context;
  const refused = (failed: Failure, target: DataTarget | null = null): Read => ({
    target,
    claims: null,
    reading: fail(failed),
  });
  const { method } = request;
  if (method !== "GET" && method !== "HEAD") {
    return refused(failure("method-not-allowed", "Data is read by GET, HEAD and OPTIONS."));
  }
  if (config.dataHost !== null && new URL(url).host !== config.dataHost) {
    return refused(failure("misdirected", `Data is served by ${config.dataHost}.`));
  }
  const target = parseDataTarget(url);
  if (!target.ok) return refused(notMissing(target.failure));
  const { version: versionName, key } = target.value;
  const waitUntil = (work: Promise<unknown>) => ctx.waitUntil(work);
  const tokens = tokensOf(env, config);
  const authorised = await authoriseRead(request, target.value, { env, tokens, timing, now: Date.now(), waitUntil });
  if (!authorised.ok) return refused(authorised.failure, target.value);
  const { claims, dataset } = authorised.value;
  const version =
    versionName === "live" ? ok(null) : await context.findVersion(env, dataset.config, versionName, waitUntil);
  const reading = version.ok
    ? await readDataset({
        env,
        dataset,
        key,
        version: version.value,
        versionName,
        scope: { prefixes: claims.pfx, keys: claims.keys },
        request: conditionsOf(request, method),
        isolate,
        timing,
        now: Date.now,
        waitUntil,
      })
    : fail(notMissing(version.failure));
  return { target: target.value, claims, reading };
}

/** Asks for no header that cannot matter beside the others (RFC 9110, sections 13.1.3 to 13.1.5): each costs a read. */
function conditionsOf({ headers }: Request, method: "GET" | "HEAD"): ReadRequest {
  const range = headers.get("range");
  const ifMatch = headers.get("if-match");
  const ifNoneMatch = headers.get("if-none-match");
  return {
    method,
    range,
    ifRange: range === null ? null : headers.get("if-range"),
    ifMatch,
    ifNoneMatch,
    ifModifiedSince: ifNoneMatch === null ? headers.get("if-modified-since") : null,
    ifUnmodifiedSince: ifMatch === null ? headers.get("if-unmodified-since") : null,
  };
}

/** Only an object may be missing here: a Zarr reader takes a 404 for a chunk of fill values, and trains on zeros. */
function notMissing(failed: Failure): Failure {
  switch (failed.code) {
    case "unknown-version":
      return failure("invalid-name", failed.detail, { field: "version" });
    case "unknown-route":
      return failure("invalid-key", failed.detail);
    default:
      return failed;
  }
}

const ORDINARY: ReadonlySet<number> = new Set([404, 412, 416]);

/** What is missing, or unchanged, or out of range is an answer like any other; what was refused or broke is worth a line. */
function logRefusal(method: string, url: string, response: Response): void {
  const { status, headers } = response;
  if (ORDINARY.has(status)) return;
  const requestId = headers.get("x-request-id");
  console.log(JSON.stringify({ method, path: loggable(url), status, requestId }));
}

/** Counts the answer for the dataset and the job; bytes are those that the answer announces. */
function meter({ env, ctx }: Context, { claims, reading }: Read, response: Response): void {
  if (claims === null) return;
  const cache = reading.ok && reading.value.status !== 304 ? reading.value.cache : null;
  const event: ReadEvent = {
    datasetId: claims.ds,
    datasetName: claims.name,
    job: claims.job,
    outcome: cache === "collapsed" ? "hit" : (cache ?? "none"),
    bytes: reading.ok && reading.value.status !== 304 && cache !== null ? reading.value.length : 0,
    status: response.status,
  };
  meterRead(env, event, (work) => ctx.waitUntil(work));
}
