import { AwsClient } from "aws4fetch";
import { type Failure, failure } from "../core/failure.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { encodeWireKey } from "../core/sigv4/wire-key.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import { type Asked, classify } from "./s3-answers.ts";

export interface S3Request {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Behind the bucket's URL: `pathOf(key)` and a query, or a query alone. */
  path: string;
  /** What its refusal is about. */
  asked: Asked;
  headers?: HeadersInit;
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
 * Requests to one S3-compatible bucket, signed with SigV4 by aws4fetch.
 *
 * Redirects are never followed: S3 redirects to other regions and endpoints, and the signature would go along. Bodies
 * come as they are stored (`encodeResponseBody: "manual"`), else the runtime would decode gzip and the bytes would be
 * others than the ETag speaks of. Bodies go out unsigned, for a stream can be signed only after it was read: what
 * guards them is TLS, and the MD5 or SHA-256 beside them.
 */
export function createS3Client(source: SourceConfig, credentials: Credentials): S3Client {
  const client = new AwsClient({ ...credentials, service: "s3", region: source.region, retries: 0 });
  const base = bucketUrl(source);

  async function send(request: S3Request): Promise<Result<Response>> {
    const { method, path, asked, headers, body, seconds, answerSeconds } = request;
    // The path's one segment: `new URL()` would take it for a step, and the bucket, or all buckets, be asked instead.
    const step = /^\/(\.\.?)(\?|$)/.exec(path)?.[1];
    if (step !== undefined) {
      return fail(failure("unaddressable-key", `No URL leads to the key "${step}"; rename the object.`));
    }
    const limit = new AbortController();
    const limitTo = (ms: number) => setTimeout(() => limit.abort(new Error("it took too long")), ms);
    // The time until the headers has a limit of its own: a body may take far longer.
    const patience = Math.min(answerSeconds ?? Infinity, seconds ?? Infinity);
    const timer = patience === Infinity ? null : limitTo(patience * 1000);
    try {
      const all = new Headers(headers);
      // Without it servers may compress what they send.
      all.set("accept-encoding", "identity");
      if (body !== undefined) all.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
      // A URL and an init, never a Request: aws4fetch would clone and hold a Request's body.
      const init = { method, headers: all, ...(body === undefined ? {} : { body }) };
      const response = await fetch(await client.sign(`${base}${path}`, init), {
        redirect: "manual",
        encodeResponseBody: "manual",
        signal: limit.signal,
      });
      // A timer outlives a body that has come by then.
      if (seconds !== null) limitTo(Math.min(seconds, bodySeconds(response)) * 1000);
      if (response.status >= 200 && response.status < 300) return ok(response);
      return fail(classify(response, await readStart(response), asked));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return fail(failure("source-unreachable", `No answer from ${new URL(base).host}: ${reason}`));
    } finally {
      if (timer !== null) clearTimeout(timer);
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

export const pathOf = (key: string): string => `/${encodeWireKey(key)}`;

export const queryOf = (parameters: readonly (readonly [name: string, value: string])[]): string =>
  `?${parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;

/** Seconds in which a body should have come: a minute, and what it takes at 64 KiB/s. */
const bodySeconds = ({ headers }: Response): number =>
  60 + Number(headers.get("content-length") ?? Infinity) / (64 * 1024);

function bucketUrl(source: SourceConfig): string {
  if (source.addressing === "path") return `${source.endpoint}/${source.bucket}`;
  const endpoint = new URL(source.endpoint);
  const path = endpoint.pathname === "/" ? "" : endpoint.pathname;
  return `${endpoint.protocol}//${source.bucket}.${endpoint.host}${path}`;
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
