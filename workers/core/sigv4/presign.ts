/**
 * Presigned S3 URLs, stage by stage as AWS describes them in "Authenticating Requests: Using Query Parameters (AWS
 * Signature Version 4)": https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
 *
 * What is signed is what is sent, but for keys with dot segments: `URL` resolves these, even as `%2e`, and another
 * object would be read, in silence. So their slashes go over the wire as `%2F`, while the literal `/` is signed, since
 * S3 decodes the path and encodes it again before it checks. This read the right object on Ceph RGW 16.2 and Swift
 * 2.30; untested on AWS and on live R2. Miniflare checks the path as sent and answers 403 (5.20261102, 2026-11).
 */
import { type Failure, failure } from "../failure.ts";
import { PRESIGN_MAX_SECONDS } from "../limits.ts";
import { fail, ok, type Result } from "../result.ts";
import { ALGORITHM, canonicalQuery, scopeOf, signingKeyBytes, tidyValue } from "./canonical.ts";
import type { Hmac } from "./hmac.ts";
import { createTextSigner } from "./text-signer.ts";
import { encodeRfc3986, encodeWireKey } from "./wire-key.ts";

export interface PresignerOptions {
  /** An http(s) URL; a path it has is signed with the rest. */
  readonly endpoint: string;
  /** R2's is `auto`. */
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Where the bucket's name goes: in front of the key, or in front of the host. */
  readonly addressing: "path" | "virtual";
}

export interface PresignRequest {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  readonly bucket: string;
  readonly key: string;
  /** From 1 second to 7 days. */
  readonly expiresSeconds: number;
  /** Signed, so whoever uses the URL must send exactly these. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Signed with the rest: `partNumber` and `uploadId`, `response-*`, or the `X-Amz-Security-Token` of a session. */
  readonly query?: Readonly<Record<string, string>>;
}

/** At once, and without a promise: ten thousand of these cost more than the signing. */
export type Presign = (request: PresignRequest) => Result<string>;

const RESERVED_QUERY = /^x-amz-(algorithm|credential|date|expires|signedheaders|signature)$/i;

/**
 * Derives the signing key once, for URLs that all count from `nowMs`; what one URL has in common with the one before is
 * not made again. Make one a batch, not one an isolate: the time does not move on.
 */
export async function createPresigner(hmac: Hmac, options: PresignerOptions, nowMs: number): Promise<Presign> {
  const endpoint = parseEndpoint(options.endpoint);
  const time = formatAmzDate(nowMs);
  const scope = scopeOf(time, options.region);
  const sign = createTextSigner(await signingKeyBytes(hmac, options.secretAccessKey, scope), time, scope);
  let last: Frame | null = null;

  return (request) => {
    if (!endpoint.ok) return endpoint;
    const refused = checkPresignable(request);
    if (refused !== null) return fail(refused);

    const { method, key, headers = {} } = request;
    const frame: Frame = (last = isFramedBy(last, request)
      ? last
      : frameOf(request, options, endpoint.value, time, scope));
    const wireKey = encodeWireKey(key);
    // Of a slash beside a dot segment S3 signs what it stands for.
    const path = wireKey.includes("%2F") ? wireKey.replaceAll("%2F", "/") : wireKey;
    const canonicalRequest = `${method}\n${frame.root}${path}\n${frame.query}\n${headerLines(frame, headers)}\n${frame.signedHeaders}\nUNSIGNED-PAYLOAD`;
    return ok(`${frame.origin}${frame.root}${wireKey}?${frame.query}&X-Amz-Signature=${sign(canonicalRequest)}`);
  };
}

interface Endpoint {
  readonly protocol: string;
  readonly host: string;
  readonly path: string;
}

/** All of a URL and of its canonical request that depends neither on its key nor on what its headers say. */
interface Frame {
  readonly request: PresignRequest;
  readonly origin: string;
  readonly host: string;
  /** Of the path, what is in front of the key. */
  readonly root: string;
  readonly query: string;
  /** The names of the request's headers as it spells them, each with the canonical one, in canonical order; of the host "". */
  readonly names: readonly (readonly [canonical: string, spelt: string])[];
  readonly signedHeaders: string;
}

function frameOf(
  request: PresignRequest,
  { addressing, accessKeyId }: PresignerOptions,
  endpoint: Endpoint,
  time: string,
  scope: string,
): Frame {
  const virtual = addressing === "virtual";
  const host = virtual ? `${request.bucket}.${endpoint.host}` : endpoint.host;
  const root = virtual ? `${endpoint.path}/` : `${endpoint.path}/${encodeRfc3986(request.bucket)}/`;
  const spelt = new Map(Object.keys(request.headers ?? {}).map((name) => [name.toLowerCase(), name]));
  const names = [...spelt.set("host", "")].sort(([a], [b]) => (a < b ? -1 : 1));
  const signedHeaders = names.map(([name]) => name).join(";");
  const query = canonicalQuery({
    ...request.query,
    "X-Amz-Algorithm": ALGORITHM,
    "X-Amz-Credential": `${accessKeyId}/${scope}`,
    "X-Amz-Date": time,
    "X-Amz-Expires": String(request.expiresSeconds),
    "X-Amz-SignedHeaders": signedHeaders,
  });
  return { request, origin: `${endpoint.protocol}//${host}`, host, root, query, names, signedHeaders };
}

function isFramedBy(frame: Frame | null, request: PresignRequest): frame is Frame {
  if (frame === null) return false;
  const { bucket, expiresSeconds, headers, query } = frame.request;
  return (
    bucket === request.bucket &&
    expiresSeconds === request.expiresSeconds &&
    query === request.query &&
    (headers === request.headers || haveSameNames(headers ?? {}, request.headers ?? {}))
  );
}

function haveSameNames(a: object, b: object): boolean {
  const [ours, theirs] = [Object.keys(a), Object.keys(b)];
  return ours.length === theirs.length && ours.every((name, index) => name === theirs[index]);
}

function headerLines({ names, host }: Frame, headers: Readonly<Record<string, string>>): string {
  let lines = "";
  for (const [name, spelt] of names) lines += `${name}:${name === "host" ? host : tidyValue(headers[spelt] ?? "")}\n`;
  return lines;
}

function parseEndpoint(text: string): Result<Endpoint> {
  try {
    const { protocol, host, pathname } = new URL(text);
    const usable = /^https?:$/.test(protocol) && /^[A-Za-z0-9\-._~/]*$/.test(pathname);
    if (usable) return ok({ protocol, host, path: pathname.replace(/\/+$/, "") });
  } catch {} // Not a URL at all.
  return fail(failure("misconfigured", "The S3 endpoint must be an http or https URL whose path needs no escapes."));
}

/** What must not be signed. An empty key would name the bucket itself, and a DELETE of that is no small thing. */
export function checkPresignable({ key, expiresSeconds, query = {} }: PresignRequest): Failure | null {
  if (!Number.isInteger(expiresSeconds) || expiresSeconds < 1 || expiresSeconds > PRESIGN_MAX_SECONDS) {
    const detail = `A signed URL lives from 1 to ${PRESIGN_MAX_SECONDS} whole seconds.`;
    return failure("invalid-body", detail, { field: "expiresSeconds" });
  }
  if (key === "" || !key.isWellFormed()) return failure("invalid-key", "A key is Unicode, and not empty.");
  if (key === "." || key === "..") {
    return failure("unaddressable-key", `Clients take the key "${key}" for a step in the path; rename the object.`);
  }
  for (const [name, value] of Object.entries(query)) {
    if (name === "" || RESERVED_QUERY.test(name) || !name.isWellFormed() || !value.isWellFormed()) {
      return failure("invalid-query", "This query parameter cannot be signed into a URL.", { field: name });
    }
  }
  return null;
}

/** `YYYYMMDDTHHMMSSZ`, in UTC. The core knows no Date; Howard Hinnant's `civil_from_days` counts from 1 March 0000. */
export function formatAmzDate(epochMs: number): string {
  const seconds = div(epochMs, 1000);
  const days = div(seconds, 86_400) + 719_468;
  const era = div(days, 146_097);
  const dayOfEra = days - era * 146_097;
  const leapDays = div(dayOfEra, 1460) - div(dayOfEra, 36_524) + div(dayOfEra, 146_096);
  const yearOfEra = div(dayOfEra - leapDays, 365);
  const dayOfYear = dayOfEra - (365 * yearOfEra + div(yearOfEra, 4) - div(yearOfEra, 100));
  const monthFromMarch = div(5 * dayOfYear + 2, 153);
  const day = dayOfYear - div(153 * monthFromMarch + 2, 5) + 1;
  const month = ((monthFromMarch + 2) % 12) + 1;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const second = seconds - div(seconds, 86_400) * 86_400;
  const time = [div(second, 3600), div(second, 60) % 60, second % 60].map((part) => digits(part, 2)).join("");
  return `${digits(year, 4)}${digits(month, 2)}${digits(day, 2)}T${time}Z`;
}

const div = (a: number, b: number): number => Math.floor(a / b);
const digits = (value: number, width: number): string => String(value).padStart(width, "0");
