import { type Failure, failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { canonicalQuery } from "../core/sigv4/canonical.ts";
import { createHeaderSigner } from "../core/sigv4/sign-headers.ts";
import { encodeRfc3986, encodeWireKey } from "../core/sigv4/wire-key.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import { type Asked, classify } from "./s3-answers.ts";
import { webHmac } from "./web-hmac.ts";

export interface S3Request {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** null: the bucket is asked. */
  key: string | null;
  query?: Readonly<Record<string, string>>;
  /** What its refusal is about. */
  asked: Asked;
  /** By lower-case name. */
  headers?: Readonly<Record<string, string>>;
  /** A stream must be of known length: S3 takes none without a Content-Length. */
  body?: ReadableStream<Uint8Array> | Uint8Array | string;
  /** Of the body. */
  bytes?: number;
  /** Until it has come and gone whole, its body and the answer's; null where only the headers are waited for. */
  seconds: number | null;
  /** Until the headers of the answer, where that is sooner. They come after the request's own body has gone. */
  answerSeconds?: number;
}

export interface S3Client {
  /** An answer of 2xx; any other is a failure, as `classify` says. */
  send(request: S3Request): Promise<Result<Response>>;
  /** As `send`, and reads the answer whole. */
  sendAndRead(request: S3Request): Promise<Result<string>>;
}

/**
 * Requests to one S3-compatible bucket, signed with SigV4.
 *
 * Redirects are never followed: S3 redirects to other regions and endpoints, and the signature would go along. Bodies
 * come as they are stored (`encodeResponseBody: "manual"`), else the runtime would decode gzip and the bytes would be
 * others than the ETag speaks of. Bodies go out unsigned, for a stream can be signed only after it was read: what
 * guards them is TLS, and the MD5 or SHA-256 beside them.
 */
export function createS3Client(source: SourceConfig, credentials: Credentials): S3Client {
  const sign = createHeaderSigner(webHmac, { region: source.region, ...credentials });
  const base = bucketUrl(source);

  async function send(request: S3Request): Promise<Result<Response>> {
    const { method, key, asked, body, seconds, answerSeconds } = request;
    if (!base.ok) return base;
    const { origin, host, root } = base.value;
    // The path's one segment: `new URL()` would take it for a step, and the bucket, or all buckets, be asked instead.
    if (key === "." || key === "..") {
      return fail(failure("unaddressable-key", `No URL leads to the key "${key}"; rename the object.`));
    }
    const path = key === null ? root || "/" : `${root}/${encodeWireKey(key)}`;
    const query = canonicalQuery(request.query ?? {});
    const limit = new Limit(seconds, answerSeconds ?? null);
    try {
      // Without Accept-Encoding servers may compress what they send.
      const headers = { ...request.headers, "accept-encoding": "identity" };
      const signed = await sign({ method, host, path, query, headers }, Date.now());
      const response = await fetch(`${origin}${path}${query === "" ? "" : `?${query}`}`, {
        method,
        headers: signed,
        ...(body === undefined ? {} : { body }),
        redirect: "manual",
        encodeResponseBody: "manual",
        signal: limit.signal,
      });
      if (response.status >= 200 && response.status < 300) {
        limit.answered(response);
        return ok(response);
      }
      // Why it was refused is told in the time for the answer; where it is not, the status says enough.
      const said = await readStart(response);
      limit.end();
      return fail(classify(response, said, asked));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      limit.end();
      return fail(failure("source-unreachable", `No answer from ${host}: ${reason}`));
    }
  }

  return {
    send,
    async sendAndRead(request) {
      const answer = await send(request);
      if (!answer.ok) return answer;
      const { text, problem } = await readCapped(answer.value, ANSWER_MAX_BYTES);
      return problem === null ? ok(text) : fail(problem);
    },
  };
}

/**
 * The time that a request may take: its answer, and its body. One timer serves both, for each costs the runtime as much as
 * a signature does; it outlives a body that has come by then.
 */
class Limit {
  readonly #limit = new AbortController();
  readonly #seconds: number | null;
  readonly #begun = Date.now();
  readonly #timer: ReturnType<typeof setTimeout> | null;
  #response: Response | null = null;

  /** Seconds in all, null where only the answer is waited for; and until the answer's headers, where that is sooner. */
  constructor(seconds: number | null, answerSeconds: number | null) {
    this.#seconds = seconds;
    const patience = Math.min(answerSeconds ?? Infinity, seconds ?? Infinity);
    this.#timer = patience === Infinity ? null : setTimeout(() => this.#ring(), patience * 1000);
  }

  get signal(): AbortSignal {
    return this.#limit.signal;
  }

  /** The headers have come, and a body is to follow. */
  answered(response: Response): void {
    if (this.#seconds === null) this.end();
    this.#response = response;
  }

  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #ring(): void {
    const left =
      this.#response === null || this.#seconds === null
        ? 0
        : Math.min(this.#seconds, bodySeconds(this.#response)) * 1000 - (Date.now() - this.#begun);
    if (left > 0) setTimeout(() => this.#ring(), left);
    else this.#limit.abort(new Error("it took too long"));
  }
}

/** Seconds in which an answer should have come whole: two minutes, and what it takes at 16 KiB/s. */
const bodySeconds = ({ headers }: Response): number =>
  120 + Number(headers.get("content-length") ?? Infinity) / (16 * 1024);

interface BucketUrl {
  origin: string;
  host: string;
  /** The path of the bucket, "" where the host names it. */
  root: string;
}

function bucketUrl({ endpoint, bucket, addressing }: SourceConfig): Result<BucketUrl> {
  const { protocol, host, pathname } = new URL(endpoint);
  const folder = pathname === "/" ? "" : decodeURIComponent(pathname);
  const isInHost = addressing === "virtual";
  const path = isInHost ? folder : `${folder}/${bucket}`;
  // As the URL is written that is sent: a host is in lower case.
  const url = URL.parse(`${protocol}//${isInHost ? `${bucket}.` : ""}${host}`);
  if (url === null)
    return fail(failure("misconfigured", `No host can be called "${bucket}.${host}"; address it by path.`));
  return ok({ origin: url.origin, host: url.host, root: path.split("/").map(encodeRfc3986).join("/") });
}

/** A page of 1,000 keys of 1,024 bytes each, percent-encoded, and their XML. */
const ANSWER_MAX_BYTES = 8 * 1024 * 1024;
const ERROR_MAX_BYTES = 65_536;

/** An error document is small; one that is not, or breaks off, is read as far as it goes: the status says enough. */
async function readStart(response: Response): Promise<string> {
  return (await readCapped(response, ERROR_MAX_BYTES)).text;
}

async function readCapped(response: Response, maxBytes: number): Promise<{ text: string; problem: Failure | null }> {
  const reader = response.body?.getReader();
  if (reader === undefined) return { text: "", problem: null };
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { text: text + decoder.decode(), problem: null };
      bytes += value.length;
      if (bytes > maxBytes) break;
      text += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
    return { text, problem: failure("source-bad-answer", `The answer is longer than ${maxBytes} bytes.`) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { text, problem: failure("source-truncated", `The answer broke off: ${reason}`) };
  }
}
