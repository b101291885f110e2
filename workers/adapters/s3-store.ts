import { AwsClient } from "aws4fetch";
import { type Failure, failure } from "../core/failure.ts";
import type { ByteRange } from "../core/http/range.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import { encodeWireKey } from "../core/sigv4/wire-key.ts";
import type { ObjectInfo, ObjectReader, PartSizeReader } from "../ports/object-store.ts";
import { type Asked, classify, parseBody, parseInfo, parseLength } from "./s3-answers.ts";
import { parseListing } from "./s3-xml.ts";

/** How long a source is waited for, in seconds. */
export interface Patience {
  /** Until it answers. */
  answerSeconds: number;
  /** Until a body has come whole; null: as long as who reads it wants it. */
  bodySeconds: number | null;
}

/** A consumer lives 15 minutes, and has other objects to copy. */
const COPYING: Patience = { answerSeconds: 60, bodySeconds: 500 };
/** A reader waits, and may be as slow as it likes. */
export const READING: Patience = { answerSeconds: 10, bodySeconds: null };

/**
 * An S3-compatible bucket as an object reader, signed with SigV4 by aws4fetch.
 *
 * Redirects are never followed: S3 redirects to other regions and endpoints, and the signature would go along. Bodies
 * come as they are stored (`encodeResponseBody: "manual"`), else the runtime would decode gzip and the bytes would be
 * others than the ETag speaks of.
 */
export function createS3Store(
  source: SourceConfig,
  credentials: Credentials,
  { answerSeconds, bodySeconds }: Patience = COPYING,
): ObjectReader & PartSizeReader {
  const client = new AwsClient({ ...credentials, service: "s3", region: source.region, retries: 0 });
  const base = bucketUrl(source);

  async function request(
    asked: Asked,
    path: string,
    headers: Record<string, string>,
    seconds: number | null,
  ): Promise<Result<Response>> {
    // The path's one segment: `new URL()` would take it for a step, and the bucket, or all buckets, be asked instead.
    const step = /^\/(\.\.?)(\?|$)/.exec(path)?.[1];
    if (step !== undefined) {
      return fail(failure("unaddressable-key", `No URL leads to the key "${step}"; rename the object.`));
    }
    // Where a body has no limit, the time until its headers is limited alone.
    const headersLimit = new AbortController();
    const timer = setTimeout(() => headersLimit.abort(new Error("it took too long")), answerSeconds * 1000);
    try {
      const method = asked === "headers" ? "HEAD" : "GET";
      const signed = await client.sign(`${base}${path}`, { method, headers });
      const response = await fetch(signed, {
        redirect: "manual",
        encodeResponseBody: "manual",
        signal: seconds === null ? headersLimit.signal : AbortSignal.timeout(seconds * 1000),
      });
      if (response.status === 200 || response.status === 206) return ok(response);
      const body = await readStart(response);
      return fail(classify(response, body, asked));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return fail(failure("source-unreachable", `No answer from ${new URL(base).host}: ${reason}`));
    } finally {
      clearTimeout(timer);
    }
  }

  async function head(key: string): Promise<Result<ObjectInfo>> {
    const answer = await request("headers", `/${encodeWireKey(key)}`, IDENTITY, answerSeconds);
    return answer.ok ? parseInfo(key, answer.value) : answer;
  }

  return {
    head,

    async list({ prefix, after }) {
      const query = [
        ["list-type", "2"],
        ["encoding-type", "url"],
        ["max-keys", String(LIST_MAX_KEYS)],
        ["prefix", prefix],
        ...(after === null ? [] : [["start-after", after]]),
      ];
      const search = query.map(([name, value]) => `${name}=${encodeURIComponent(value ?? "")}`).join("&");
      const answer = await request("listing", `?${search}`, IDENTITY, answerSeconds);
      if (!answer.ok) {
        // What is not found where a bucket is listed is the bucket.
        const { code, detail } = answer.failure;
        return code === "object-not-found" ? fail(failure("source-no-bucket", detail)) : answer;
      }
      const body = await readText(answer.value);
      if (!body.ok) return body;
      const page = parseListing(body.value);
      if (!page.ok) return page;
      const { objects, truncated } = page.value;
      const unordered = findDisorder(objects, prefix, after);
      if (unordered !== null) return fail(unordered);
      const last = objects.at(-1)?.key ?? null;
      if (truncated && last === null) return fail(failure("source-bad-answer", "A truncated listing names no key."));
      return ok({ objects, next: truncated ? last : null });
    },

    async get(key, options = {}) {
      const headers: Record<string, string> = { ...IDENTITY };
      if (options.range !== undefined) headers["range"] = formatRange(options.range);
      if (options.ifMatch !== undefined) headers["if-match"] = `"${options.ifMatch}"`;
      const answer = await request("object", `/${encodeWireKey(key)}`, headers, bodySeconds);
      if (!answer.ok) return answer;
      const body = parseBody(key, answer.value, options.range);
      if (!body.ok) await answer.value.body?.cancel();
      return body;
    },

    async firstPart(key) {
      const answer = await request("headers", `/${encodeWireKey(key)}?partNumber=1`, IDENTITY, answerSeconds);
      if (!answer.ok) {
        // Ceph and s3rver ignore the parameter, Swift answers 405, Miniflare 501, some 400: they do not tell.
        return answer.failure.code === "source-bad-answer" ? ok(null) : answer;
      }
      const parts = parseLength(answer.value.headers.get("x-amz-mp-parts-count"));
      const bytes = parseLength(answer.value.headers.get("content-length"));
      return ok(parts === null || bytes === null ? null : { bytes, parts });
    },
  };
}

const IDENTITY = { "accept-encoding": "identity" };

function bucketUrl(source: SourceConfig): string {
  if (source.addressing === "path") return `${source.endpoint}/${source.bucket}`;
  const endpoint = new URL(source.endpoint);
  const path = endpoint.pathname === "/" ? "" : endpoint.pathname;
  return `${endpoint.protocol}//${source.bucket}.${endpoint.host}${path}`;
}

function formatRange(range: ByteRange): string {
  switch (range.kind) {
    case "bounded":
      return `bytes=${range.start}-${range.end}`;
    case "from":
      return `bytes=${range.start}-`;
    case "suffix":
      return `bytes=-${range.length}`;
  }
}

/** Resuming by the last key is endless or lossy where the keys do not ascend. */
function findDisorder(objects: { key: string }[], prefix: string, after: string | null): Failure | null {
  let previous = after;
  for (const { key } of objects) {
    if (!key.startsWith(prefix)) return failure("source-bad-answer", "The listing has keys outside the prefix.");
    if (previous !== null && compareUtf8(key, previous) <= 0) {
      return failure("source-bad-answer", "The listing is not in ascending order of its keys' UTF-8 bytes.");
    }
    previous = key;
  }
  return null;
}

/** A page of 1,000 keys of 1,024 bytes each, percent-encoded, and their XML. */
const LISTING_MAX_BYTES = 8 * 1024 * 1024;
const ERROR_MAX_BYTES = 65_536;

/** An error document is small; one that is not, or breaks off, is read as far as it goes: the status says enough. */
async function readStart(response: Response): Promise<string> {
  return (await readCapped(response, ERROR_MAX_BYTES)).text;
}

async function readText(response: Response): Promise<Result<string>> {
  const { text, problem } = await readCapped(response, LISTING_MAX_BYTES);
  return problem === null ? ok(text) : fail(problem);
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
