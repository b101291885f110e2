import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { AwsClient } from "aws4fetch";
import type { Source } from "./local-source.ts";

/**
 * A source that misbehaves: what stands between a client and S3 in real life (proxies, load balancers, captive
 * portals, dying disks), on top of a real S3 endpoint.
 *
 * A URL is `/<mode>/<bucket>/<key>`. Modes: `plain`; `pages-of-20`, a source whose listing pages hold 20 keys;
 * `deny-read`, which lists and refuses to read; `redirect`, a bucket of another region.
 *
 * In every mode a key that ends in `fault-<name>` has the fault of that name, and `fault-<name>~2` has it for its
 * first two answers (of each method and query) only. A listing has a fault where its prefix ends in `fault-<name>/`. FAULTS below says what each
 * is. Faults of bodies leave HEAD alone.
 *
 * Known difference: signatures of clients are not checked; each request is signed anew for the real endpoint. Answers
 * are held in memory.
 */
export async function startFaultProxy(source: Source): Promise<{ url: string; stop(): Promise<void> }> {
  const { accessKeyId, secretAccessKey, region } = source;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  const answered = new Map<string, number>();

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://proxy");
    const [, mode = "", bucket = "", ...segments] = url.pathname.split("/");
    const isObject = segments.join("") !== "";
    if (mode === "redirect") return send(response, request, redirected());
    if (mode === "deny-read" && isObject) return send(response, request, refusal(403, "AccessDenied"));
    if (mode === "pages-of-20" && !isObject) url.searchParams.set("max-keys", "20");

    const named = isObject ? decodeURIComponent(url.pathname) : (url.searchParams.get("prefix") ?? "");
    const asked = (isObject ? OBJECT_FAULT : LISTING_FAULT).exec(named);
    const counted = `${request.method} ${request.url}`;
    const before = answered.get(counted) ?? 0;
    answered.set(counted, before + 1);
    const fault = asked !== null && before < Number(asked[2] ?? Infinity) ? asked[1] : undefined;
    if (fault === "reset") return void request.socket.destroy();

    const upstream = `${source.endpoint}/${bucket}${isObject ? `/${segments.join("/")}` : ""}${url.search}`;
    const real = await forward(client, upstream, request);
    const faulty = fault === undefined ? undefined : FAULTS[fault];
    if (fault !== undefined && faulty === undefined) throw new Error(`There is no fault "${fault}".`);
    send(response, request, faulty === undefined ? real : faulty(real, request));
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      send(response, request, { status: 599, headers: {}, body: Buffer.from(`fault proxy: ${String(error)}`) });
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("The fault proxy has no port.");
  return {
    url: `http://127.0.0.1:${address.port}`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

const OBJECT_FAULT = /fault-([a-z0-9-]+?)(?:~(\d+))?$/;
const LISTING_FAULT = /fault-([a-z0-9-]+?)(?:~(\d+))?\/$/;

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  /** The connection breaks after the body, whatever was announced. */
  breaks?: boolean;
}

type Fault = (real: Answer, request: IncomingMessage) => Answer;

const PAGE = Buffer.from("<!doctype html><title>Sign in</title><p>Please sign in to use this network.");

const half = (body: Buffer): Buffer => body.subarray(0, Math.floor(body.length / 2));

/** Leaves HEAD alone, and what is no success. */
const ofBodies =
  (fault: Fault): Fault =>
  (real, request) =>
    request.method === "HEAD" || real.status >= 300 ? real : fault(real, request);

const page = (headers: Record<string, string>): Answer => ({
  status: 200,
  headers: { "content-type": "text/html", "content-length": String(PAGE.length), ...headers },
  body: PAGE,
});

const FAULTS: Readonly<Record<string, Fault>> = {
  // A captive portal's page, with status 200: without an ETag, with one of its own, and with the object's.
  html: () => page({}),
  "html-etag": () => page({ etag: '"9e107d9d372bb6826bd81d3542a419d6"' }),
  "html-same-etag": (real) => page({ etag: real.headers["etag"] ?? "" }),
  // The connection breaks in the middle of the body.
  truncate: ofBodies((real) => ({ ...real, body: half(real.body), breaks: true })),
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
  // One byte is another; the length and the ETag are right.
  "wrong-byte": ofBodies((real) => {
    const body = Buffer.from(real.body);
    const middle = body.length >> 1;
    body[middle] = (body[middle] ?? 0) ^ 1;
    return { ...real, body };
  }),
  // The object is another one than was listed, each time it is read.
  "etag-changed": ofBodies((real, request) =>
    request.headers["if-match"] === undefined
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
  // Refusals.
  "403": () => refusal(403, "AccessDenied"),
  "404": () => refusal(404, "NoSuchKey"),
  // A load balancer without a server behind it.
  "404-page": () => ({ ...page({}), status: 404 }),
  "503": () => refusal(503, "SlowDown"),
  redirect: () => redirected(),
  // An answer of nothing.
  empty: () => ({
    status: 200,
    headers: { "content-type": "application/xml", "content-length": "0" },
    body: Buffer.alloc(0),
  }),
};

function refusal(status: number, code: string): Answer {
  const body = Buffer.from(
    `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Said by the proxy.</Message></Error>`,
  );
  return { status, headers: { "content-type": "application/xml", "content-length": String(body.length) }, body };
}

function redirected(): Answer {
  const { headers, body } = refusal(301, "PermanentRedirect");
  return {
    status: 301,
    headers: { ...headers, location: "http://127.0.0.1:9/elsewhere", "x-amz-bucket-region": "eu-north-1" },
    body,
  };
}

async function forward(client: AwsClient, url: string, request: IncomingMessage): Promise<Answer> {
  // fetch adds the same line itself where there is a Range, and two of them are not what was signed.
  const headers: Record<string, string> = request.headers.range === undefined ? { "accept-encoding": "identity" } : {};
  for (const name of ["range", "if-match"]) {
    const value = request.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  const signed = await client.sign(url, { method: request.method ?? "GET", headers });
  const response = await fetch(signed, { redirect: "manual" });
  const body = Buffer.from(await response.arrayBuffer());
  const { connection: _1, "keep-alive": _2, "transfer-encoding": _3, ...kept } = Object.fromEntries(response.headers);
  if (request.method !== "HEAD") kept["content-length"] = String(body.length);
  return { status: response.status, headers: kept, body };
}

function send(response: ServerResponse, request: IncomingMessage, answer: Answer): void {
  response.writeHead(answer.status, answer.headers);
  if (request.method === "HEAD") return void response.end();
  if (answer.breaks !== true) return void response.end(answer.body);
  response.write(answer.body, () => request.socket.destroy());
}
