import { XMLParser } from "fast-xml-parser";
import { failure } from "../core/failure.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ListedObject } from "../ports/object-store.ts";

// Values stay text and untrimmed: a key may be " 007 ". `htmlEntities` is what decodes numeric references: versitygw
// writes a quote as &#34; and a carriage return as &#xD;.
const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  htmlEntities: true,
  isArray: (name) => name === "Contents",
});

/**
 * A page of ListObjectsV2 (Amazon S3 API Reference, ListObjectsV2, Response Syntax).
 * Refuses what is not one with `source-bad-answer`: an HTML page with status 200 is not an empty bucket.
 */
export function parseListing(xml: string): Result<{ objects: ListedObject[]; truncated: boolean }> {
  const root = parse(xml)?.["ListBucketResult"];
  if (!isRecord(root)) return fail(failure("source-bad-answer", "The listing is not a ListBucketResult document."));
  const truncated = root["IsTruncated"];
  if (truncated !== "true" && truncated !== "false") {
    return fail(failure("source-bad-answer", "The listing does not say whether it is truncated."));
  }
  const urlEncoded = root["EncodingType"] === "url";
  const entries: unknown[] = Array.isArray(root["Contents"]) ? root["Contents"] : [];
  if (entries.length > LIST_MAX_KEYS) return fail(failure("source-bad-answer", "The listing has over 1,000 entries."));
  const objects: ListedObject[] = [];
  for (const entry of entries) {
    const object = isRecord(entry) ? parseEntry(entry, urlEncoded) : null;
    if (object === null) return fail(failure("source-bad-answer", "An entry of the listing has no key, size or ETag."));
    objects.push(object);
  }
  return ok({ objects, truncated: truncated === "true" });
}

/** The `<Code>` and `<Message>` of an S3 error document, empty where the answer is none. */
export function parseError(xml: string): { code: string; message: string } {
  const root = parse(xml)?.["Error"];
  if (!isRecord(root)) return { code: "", message: "" };
  return { code: text(root["Code"]), message: text(root["Message"]).slice(0, 300) };
}

function parseEntry(entry: Record<string, unknown>, urlEncoded: boolean): ListedObject | null {
  const key = urlEncoded ? decodeKey(text(entry["Key"])) : text(entry["Key"]);
  const size = /^\d+$/.test(text(entry["Size"])) ? Number(text(entry["Size"])) : Number.NaN;
  const etag = text(entry["ETag"]).replaceAll('"', "");
  if (key === null || key === "" || key.length > KEY_MAX_LENGTH || !Number.isSafeInteger(size)) return null;
  if (etag === "" || etag.length > ETAG_MAX_LENGTH) return null;
  const lastModified = Date.parse(text(entry["LastModified"]));
  const storageClass = text(entry["StorageClass"]);
  return {
    key,
    size,
    etag,
    lastModified: Number.isNaN(lastModified) ? 0 : lastModified,
    ...(storageClass === "" ? {} : { storageClass }),
  };
}

/** What is longer is no answer of S3, and would not fit a queue's message. */
const KEY_MAX_LENGTH = 4096;
const ETAG_MAX_LENGTH = 256;

/** With `encoding-type=url` S3 writes a space as "+", and a plus as "%2B". */
function decodeKey(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded.replaceAll("+", "%20"));
  } catch {
    return null;
  }
}

function parse(xml: string): Record<string, unknown> | null {
  try {
    const document: unknown = parser.parse(xml);
    return isRecord(document) ? document : null;
  } catch {
    return null;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

const text = (value: unknown): string => (typeof value === "string" ? value : "");
