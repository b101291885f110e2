import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { AwsClient } from "aws4fetch";
import { type Answer, type FaultName, faultNamed, redirected, refusal, STALL_SECONDS } from "./faults.ts";
import type { Source } from "./local-source.ts";

/** One request, before it is answered. */
export interface Asked {
  /** How many came before it. */
  number: number;
  method: string;
  /** null: a listing. */
  key: string | null;
  /** The Range header. */
  range: string | undefined;
}

/** What befalls a request beside what its key asks for: it may be kept waiting, and answered with a fault. */
export type Weather = (asked: Asked) => FaultName | null | Promise<FaultName | null>;

export interface FaultProxy {
  url: string;
  stop(): Promise<void>;
}

/**
 * A source that misbehaves: what stands between a client and S3 in real life (proxies, load balancers, captive
 * portals, dying disks), on top of a real S3 endpoint.
 *
 * A URL is `/<mode>/<bucket>/<key>`. Modes: `plain`; `pages-of-20`, a source whose listing pages hold 20 keys;
 * `deny-read`, which lists and refuses to read; `redirect`, a bucket of another region.
 *
 * In every mode a key that ends in `fault-<name>` has the fault of that name, and `fault-<name>~2` has it for its
 * first two answers (of each method and query) only. A listing has a fault where its prefix ends in `fault-<name>/`.
 * `faults.ts` says what each is. Faults of bodies leave HEAD alone. `weather` makes faults of all requests, by its own
 * rules.
 *
 * Known difference: signatures of clients are not checked; each request is signed anew for the real endpoint. Answers
 * are held in memory.
 */
export async function startFaultProxy(source: Source, weather: Weather = () => null): Promise<FaultProxy> {
  const { accessKeyId, secretAccessKey, region } = source;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  const answered = new Map<string, number>();
  let requests = 0;

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://proxy");
    const [, mode = "", bucket = "", ...segments] = url.pathname.split("/");
    const isObject = segments.join("") !== "";
    if (mode === "redirect") return send(response, request, redirected());
    if (mode === "deny-read" && isObject) return send(response, request, refusal(403, "AccessDenied"));
    if (mode === "pages-of-20" && !isObject) {
      url.searchParams.set("max-keys", String(Math.min(20, Number(url.searchParams.get("max-keys") ?? 20))));
    }

    const key = isObject ? decodeURIComponent(segments.join("/")) : null;
    const asked = { number: requests++, method: request.method ?? "GET", key, range: request.headers.range };
    const name = (await weather(asked)) ?? faultOf(request, key ?? url.searchParams.get("prefix") ?? "", key === null);

    const upstream = `${source.endpoint}/${bucket}${isObject ? `/${segments.join("/")}` : ""}${url.search}`;
    const real = await forward(client, upstream, request);
    if (name === null) return send(response, request, real);
    const faulty = faultNamed(name)(real, { method: asked.method, ifMatch: request.headers["if-match"] });
    if (faulty === null) request.socket.resetAndDestroy();
    else if (faulty !== "stall") send(response, request, faulty);
  }

  function faultOf(request: IncomingMessage, named: string, isListing: boolean): string | null {
    const asked = (isListing ? LISTING_FAULT : OBJECT_FAULT).exec(named);
    const counted = `${request.method} ${request.url}`;
    const before = answered.get(counted) ?? 0;
    answered.set(counted, before + 1);
    return asked !== null && before < Number(asked[2] ?? Infinity) ? (asked[1] ?? null) : null;
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
  if (answer.ending === undefined) return void response.end(answer.body);
  const seconds = answer.ending === "breaks" ? 0 : STALL_SECONDS;
  response.write(answer.body, () => {
    if (seconds === 0) request.socket.destroy();
    else setTimeout(() => request.socket.destroy(), seconds * 1000).unref();
  });
}
