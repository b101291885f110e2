import { type Failure, type FailureCode, failure } from "../core/failure.ts";
import type { ByteRange } from "../core/http/range.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Credentials, SourceConfig } from "../core/source.ts";
import type { ListPage, ObjectReader, PartSizeReader, PrefixReader, TagReader } from "../ports/object-store.ts";
import { parseBody, parseInfo, parseLength } from "./s3-answers.ts";
import { createS3Client } from "./s3-client.ts";
import { type Listing, parseListing, parseTagging } from "./s3-xml.ts";

/** How long a source is waited for, in seconds. */
export interface Patience {
  /** Until it answers. */
  answerSeconds: number;
  /** Until a body has come whole; null: as long as who reads it wants it. */
  bodySeconds: number | null;
}

/** A consumer lives 15 minutes, and has other objects to copy. */
export const COPYING: Patience = { answerSeconds: 60, bodySeconds: 500 };
/** A reader waits, and may be as slow as it likes. */
export const READING: Patience = { answerSeconds: 10, bodySeconds: null };

/** Pages without a key that a listing is followed over: a server may skip what it may not show, or versions. */
const EMPTY_PAGES_MAX = 10;
const CHECKSUMS = { "x-amz-checksum-mode": "ENABLED" };

/** An S3-compatible bucket as an object reader. */
export function createS3Store(
  source: SourceConfig,
  credentials: Credentials,
  { answerSeconds, bodySeconds }: Patience = COPYING,
): ObjectReader & PartSizeReader & PrefixReader & TagReader {
  const client = createS3Client(source, credentials);
  const brief = { seconds: 2 * answerSeconds, answerSeconds };

  /** One page of ListObjectsV2, in ascending order, whose keys all begin with `prefix`. */
  async function listOnce(
    { prefix, after, limit = LIST_MAX_KEYS }: Parameters<ObjectReader["list"]>[0],
    more: Readonly<Record<string, string>> = {},
  ): Promise<Result<Listing>> {
    const query = {
      "list-type": "2",
      "encoding-type": "url",
      "max-keys": String(limit),
      prefix,
      ...(after === null ? {} : { "start-after": after }),
      ...more,
    };
    const answer = await client.sendAndRead({ method: "GET", key: null, query, asked: "listing", ...brief });
    if (!answer.ok) {
      // What is not found where a bucket is listed is the bucket.
      const { code, detail } = answer.failure;
      return code === "object-not-found" ? fail(failure("source-no-bucket", detail)) : answer;
    }
    const listing = parseListing(answer.value, limit);
    if (!listing.ok) return listing;
    const unordered = findDisorder(listing.value.keys, prefix, after);
    return unordered === null ? listing : fail(unordered);
  }

  return {
    async head(key, { checksums = false } = {}) {
      const headers = checksums ? CHECKSUMS : {};
      const answer = await client.send({ method: "HEAD", key, asked: "headers", headers, ...brief });
      return answer.ok ? parseInfo(key, answer.value, checksums) : answer;
    },

    async list(options) {
      const malformed: NonNullable<ListPage["malformed"]> = [];
      let token: string | null = null;
      for (let pages = 0; pages <= EMPTY_PAGES_MAX; pages++) {
        const listing = await listOnce(options, token === null ? {} : { "continuation-token": token });
        if (!listing.ok) return listing;
        const { objects, keys, truncated } = listing.value;
        malformed.push(...listing.value.malformed);
        const last = keys.at(-1) ?? null;
        if (!truncated || last !== null) {
          const page = { objects, next: truncated ? last : null };
          return ok(malformed.length === 0 ? page : { ...page, malformed });
        }
        ({ token } = listing.value);
        if (token === null) return fail(failure("source-bad-answer", "A truncated listing names no key."));
      }
      const detail = `${EMPTY_PAGES_MAX + 1} pages of the listing, one after the other, are truncated and name no key.`;
      return fail(failure("source-bad-answer", detail));
    },

    async prefixes({ prefix, after }) {
      // Where it is such a prefix itself, no key under it is wanted: what follows them all is behind "0", the byte after
      // "/". S3 would roll them up to it once more.
      const isPrefix = after?.startsWith(prefix) === true && after.indexOf("/", prefix.length) === after.length - 1;
      const start = isPrefix ? `${after.slice(0, -1)}0` : after;
      const listing = await listOnce({ prefix, after: start }, { delimiter: "/" });
      if (!listing.ok) return listing;
      const found = listing.value.prefixes.filter(
        (each) => each.startsWith(prefix) && (after === null || compareUtf8(each, after) > 0),
      );
      return ok(found.toSorted(compareUtf8));
    },

    async get(key, { range, ifMatch, checksums = false } = {}) {
      const isWhole = range === undefined;
      const answer = await client.send({
        method: "GET",
        key,
        asked: "object",
        headers: {
          ...(isWhole ? {} : { range: formatRange(range) }),
          ...(ifMatch === undefined ? {} : { "if-match": `"${ifMatch}"` }),
          ...(isWhole && checksums ? CHECKSUMS : {}),
        },
        seconds: bodySeconds,
        answerSeconds,
      });
      if (!answer.ok) return answer;
      const body = parseBody(key, answer.value, range, checksums);
      if (!body.ok) await answer.value.body?.cancel();
      return body;
    },

    async firstPart(key) {
      const query = { partNumber: "1" };
      const answer = await client.send({ method: "HEAD", key, query, asked: "headers", ...brief });
      if (!answer.ok) {
        // Ceph and s3rver ignore the parameter, Swift answers 405, Miniflare 501, some 400: they do not tell.
        return answer.failure.code === "source-bad-answer" ? ok(null) : answer;
      }
      const parts = parseLength(answer.value.headers.get("x-amz-mp-parts-count") ?? undefined);
      const bytes = parseLength(answer.value.headers.get("content-length") ?? undefined);
      return ok(parts === null || bytes === null ? null : { bytes, parts });
    },

    async tags(key) {
      const answer = await client.sendAndRead({
        method: "GET",
        key,
        query: { tagging: "" },
        asked: "object",
        ...brief,
      });
      if (answer.ok) return ok(parseTagging(answer.value));
      return UNTOLD.has(answer.failure.code) ? ok(null) : answer;
    },
  };
}

/** Tags have a permission of their own (s3:GetObjectTagging); and servers without tags refuse the request as they like. */
const UNTOLD: ReadonlySet<FailureCode> = new Set<FailureCode>([
  "source-forbidden",
  "source-bad-answer",
  "source-unsupported",
]);

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
function findDisorder(keys: readonly string[], prefix: string, after: string | null): Failure | null {
  let previous = after;
  for (const key of keys) {
    if (!key.startsWith(prefix)) return failure("source-bad-answer", "The listing has keys outside the prefix.");
    if (previous !== null && compareUtf8(key, previous) <= 0) {
      return failure("source-bad-answer", "The listing is not in ascending order of its keys' UTF-8 bytes.");
    }
    previous = key;
  }
  return null;
}
