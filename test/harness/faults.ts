import { gzipSync } from "node:zlib";

/** An answer of the real endpoint, or what has become of it. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  /** What happens to the connection after the body, whatever was announced; by default it is kept. */
  ending?: "breaks" | "stalls-and-breaks";
}

/** What a fault needs to know of the request. */
export interface Request {
  method: string;
  ifMatch: string | undefined;
}

/** `null`: the connection is reset before a byte of an answer; `"stall"`: no answer ever comes. */
export type Fault = (real: Answer, request: Request) => Answer | null | "stall";

/** Leaves HEAD alone, and what is no success. */
const ofBodies =
  (fault: Fault): Fault =>
  (real, request) =>
    request.method === "HEAD" || real.status >= 300 ? real : fault(real, request);

/** The real bytes, and more or fewer of them announced. */
const announcing = (more: number): Fault =>
  ofBodies((real) => {
    const length = String(Math.max(0, real.body.length + more));
    return { ...real, headers: { ...real.headers, "content-length": length, connection: "close" }, ending: "breaks" };
  });

/** Seconds between the last byte of a body that stalls and the end of its connection. */
export const STALL_SECONDS = 15;
/** Seconds that a 429 asks to wait. */
export const RETRY_AFTER_SECONDS = 3;

const FAULTS = {
  // A captive portal's page, with status 200: without an ETag, with one of its own, and with the object's.
  html: () => page({}),
  "html-etag": () => page({ etag: '"9e107d9d372bb6826bd81d3542a419d6"' }),
  "html-same-etag": (real) => page({ etag: real.headers["etag"] ?? "" }),
  // The connection breaks in the middle of the body.
  truncate: ofBodies((real) => ({ ...real, body: half(real.body), ending: "breaks" })),
  // Announces, and sends, more or fewer bytes than the object has; or announces nothing.
  longer: ofBodies((real) => {
    const body = Buffer.concat([real.body, Buffer.from("0123456789")]);
    return { ...real, headers: { ...real.headers, "content-length": String(body.length) }, body };
  }),
  shorter: ofBodies((real) => {
    const body = half(real.body);
    return { ...real, headers: { ...real.headers, "content-length": String(body.length) }, body };
  }),
  unmeasured: ofBodies((real) => {
    const { "content-length": _, ...headers } = real.headers;
    return { ...real, headers };
  }),
  // Sends the right bytes, and announces another number of them.
  "announces-more": announcing(10),
  "announces-fewer": announcing(-10),
  // One byte is another; the length and the ETag are right.
  "wrong-byte": ofBodies((real) => {
    const body = Buffer.from(real.body);
    const middle = body.length >> 1;
    body[middle] = (body[middle] ?? 0) ^ 1;
    return { ...real, body };
  }),
  // The object is another one than was listed, each time it is read.
  "etag-changed": ofBodies((real, { ifMatch }) =>
    ifMatch === undefined
      ? { ...real, headers: { ...real.headers, etag: '"0cc175b9c0f1b6a831c399e269772661"' } }
      : refusal(412, "PreconditionFailed"),
  ),
  // A server that ignores Range and If-Match.
  "no-range": ofBodies((real) => ({ ...real, status: 200 })),
  // A proxy that compresses on the fly.
  gzip: ofBodies((real) => {
    const body = gzipSync(real.body);
    const etag = `W/${real.headers["etag"] ?? ""}`;
    const headers = { ...real.headers, etag, "content-encoding": "gzip", "content-length": String(body.length) };
    return { ...real, headers, body };
  }),
  // The connection is reset before any answer.
  reset: () => null,
  // No answer ever comes. Or half of the body does, then for STALL_SECONDS nothing, then the connection breaks.
  stall: () => "stall",
  "stall-body": ofBodies((real) => ({ ...real, body: half(real.body), ending: "stalls-and-breaks" })),
  // Refusals. Amazon S3 says 400 of a token that has expired.
  "403": () => refusal(403, "AccessDenied"),
  expired: () => refusal(400, "ExpiredToken"),
  "404": () => refusal(404, "NoSuchKey"),
  "429": () => refusal(429, "TooManyRequests", { "retry-after": String(RETRY_AFTER_SECONDS) }),
  "500": () => refusal(500, "InternalError"),
  "503": () => refusal(503, "SlowDown"),
  // A load balancer without a server behind it.
  "404-page": () => ({ ...page({}), status: 404 }),
  redirect: () => redirected(),
  // An answer of nothing.
  empty: () => ({
    status: 200,
    headers: { "content-type": "application/xml", "content-length": "0" },
    body: Buffer.alloc(0),
  }),
} as const satisfies Readonly<Record<string, Fault>>;

export type FaultName = keyof typeof FAULTS;

/** The fault of this name; a name that is none is a mistake of the test. */
export function faultNamed(name: string): Fault {
  const fault = (FAULTS as Readonly<Record<string, Fault>>)[name];
  if (fault === undefined) throw new Error(`There is no fault "${name}".`);
  return fault;
}

export function refusal(status: number, code: string, headers: Record<string, string> = {}): Answer {
  const body = Buffer.from(
    `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Said by the proxy.</Message></Error>`,
  );
  const own = { "content-type": "application/xml", "content-length": String(body.length) };
  return { status, headers: { ...own, ...headers }, body };
}

export function redirected(): Answer {
  return refusal(301, "PermanentRedirect", {
    location: "http://127.0.0.1:9/elsewhere",
    "x-amz-bucket-region": "eu-north-1",
  });
}

const half = (body: Buffer): Buffer => body.subarray(0, Math.floor(body.length / 2));

const PAGE = Buffer.from("<!doctype html><title>Sign in</title><p>Please sign in to use this network.");

const page = (headers: Record<string, string>): Answer => ({
  status: 200,
  headers: { "content-type": "text/html", "content-length": String(PAGE.length), ...headers },
  body: PAGE,
});
