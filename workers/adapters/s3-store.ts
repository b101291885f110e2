import { AwsClient } from "aws4fetch";
import { type Failure, failure } from "../core/failure.ts";
import type { ByteRange } from "../core/http/range.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import { encodeWireKey } from "../core/sigv4/wire-key.ts";
import type { ObjectInfo, ObjectReader, PartSizeReader } from "../ports/object-store.ts";
import { classify, parseBody, parseInfo, parseLength } from "./s3-answers.ts";
import { parseListing } from "./s3-xml.ts";

/** Seconds within which a source must answer a listing or a HEAD, and finish the body of a GET. */
const ANSWER_SECONDS = 60;
const BODY_SECONDS = 600;

/**
 * An S3-compatible bucket as an object reader, signed with SigV4 by aws4fetch.
 *
 * Redirects are never followed: S3 redirects to other regions and endpoints, and the signature would go along. Bodies
 * come as they are stored (`encodeResponseBody: "manual"`), else the runtime would decode gzip and the bytes would be
 * others than the ETag speaks of.
 */
export function createS3Store(source: SourceConfig, credentials: Credentials): ObjectReader & PartSizeReader {
  const client = new AwsClient({ ...credentials, service: "s3", region: source.region, retries: 0 });
  const base = bucketUrl(source);

  async function request(
    method: "GET" | "HEAD",
    path: string,
    headers: Record<string, string>,
    seconds: number,
  ): Promise<Result<Response>> {
    // The path's one segment: `new URL()` would take it for a step, and the bucket, or all buckets, be asked instead.
    const step = /^\/(\.\.?)(\?|$)/.exec(path)?.[1];
    if (step !== undefined) {
      return fail(failure("unaddressable-key", `No URL leads to the key "${step}"; rename the object.`));
    }
    try {
      const signed = await client.sign(`${base}${path}`, { method, headers });
      const response = await fetch(signed, {
        redirect: "manual",
        encodeResponseBody: "manual",
        signal: AbortSignal.timeout(seconds * 1000),
      });
      if (response.status === 200 || response.status === 206) return ok(response);
      const body = await readStart(response);
      return fail(classify(response, body));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return fail(failure("source-unreachable", `No answer from ${new URL(base).host}: ${reason}`));
    }
  }

  async function head(key: string): Promise<Result<ObjectInfo>> {
    const answer = await request("HEAD", `/${encodeWireKey(key)}`, IDENTITY, ANSWER_SECONDS);
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
      const answer = await request("GET", `?${search}`, IDENTITY, ANSWER_SECONDS);
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
      const unordered = findDisorder(objects, after);
      if (unordered !== null) return fail(unordered);
      const last = objects.at(-1)?.key ?? null;
      if (truncated && last === null) return fail(failure("source-bad-answer", "A truncated listing names no key."));
      return ok({ objects, next: truncated ? last : null });
    },

    async get(key, options = {}) {
      const headers: Record<string, string> = { ...IDENTITY };
      if (options.range !== undefined) headers["range"] = formatRange(options.range);
      if (options.ifMatch !== undefined) headers["if-match"] = `"${options.ifMatch}"`;
      const answer = await request("GET", `/${encodeWireKey(key)}`, headers, BODY_SECONDS);
      if (!answer.ok) return answer;
      const body = parseBody(key, answer.value, options.range);
      if (!body.ok) await answer.value.body?.cancel();
      return body;
    },

    async firstPart(key) {
      const answer = await request("HEAD", `/${encodeWireKey(key)}?partNumber=1`, IDENTITY, ANSWER_SECONDS);
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
function findDisorder(objects: { key: string }[], after: string | null): Failure | null {
  let previous = after;
  for (const { key } of objects) {
    if (previous !== null && compareUtf8(key, previous) <= 0) {
      return failure("source-bad-answer", "The listing is not in ascending order of its keys' UTF-8 bytes.");
    }
    previous = key;
  }
  return null;
}

/** An error document is small; a body that is not ends after 64 KiB. */
async function readStart(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    while (text.length < 65_536) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
    await reader.cancel();
  } catch {
    // The status says enough.
  }
  return text;
}

async function readText(response: Response): Promise<Result<string>> {
  try {
    return ok(await response.text());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return fail(failure("source-truncated", `The listing broke off: ${reason}`));
  }
}
