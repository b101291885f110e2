import { XMLParser } from "fast-xml-parser";
import { failure } from "../core/failure.ts";
import { LIST_MAX_KEYS } from "../core/limits.ts";
import { type Tags, tagsOf } from "../core/migration/tags.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { ListedObject } from "../ports/object-store.ts";

// Values stay text and untrimmed: a key may be " 007 ". `htmlEntities` is what decodes numeric references: versitygw
// writes a quote as &#34; and a carriage return as &#xD;.
const parser = new XMLParser({
  ignoreAttributes: true,
  parseTagValue: false,
  trimValues: false,
  htmlEntities: true,
  isArray: (name) => name === "Contents" || name === "CommonPrefixes" || name === "Tag",
});

/** A page of a listing, as far as it can be read. */
export interface Listing {
  objects: ListedObject[];
  /** Entries that say too little of an object to copy it. */
  malformed: { key: string; detail: string }[];
  /** The keys of all entries but those whose key cannot be decoded, in the order of the page. */
  keys: string[];
  truncated: boolean;
  /** What stands for the next page where no key does. */
  token: string | null;
  /** With a delimiter: the prefixes that keys were rolled up to. */
  prefixes: string[];
}

/**
 * A page of ListObjectsV2 (Amazon S3 API Reference, ListObjectsV2, Response Syntax) of at most `limit` entries.
 * Refuses what is not one with `source-bad-answer`: an HTML page with status 200 is not an empty bucket. One entry
 * without a size or an ETag does not spoil the page; one without a key does, for nobody could say what is missing.
 */
export function parseListing(xml: string, limit = LIST_MAX_KEYS): Result<Listing> {
  const root = parse(xml)?.["ListBucketResult"];
  if (!isRecord(root)) return bad("The listing is not a ListBucketResult document.");
  if (root["IsTruncated"] !== "true" && root["IsTruncated"] !== "false") {
    return bad("The listing does not say whether it is truncated.");
  }
  const truncated = root["IsTruncated"] === "true";
  const decode = root["EncodingType"] === "url" ? decodeKey : (key: string) => key;
  const entries = arrayOf(root["Contents"]);
  if (entries.length > limit) return bad(`The listing has over ${limit.toLocaleString("en")} entries.`);

  const objects: ListedObject[] = [];
  const keys: string[] = [];
  const malformed: Listing["malformed"] = [];
  let undecodable: Listing["malformed"] = [];
  for (const entry of entries) {
    const raw = isRecord(entry) ? text(entry["Key"]) : "";
    if (!isRecord(entry) || raw === "" || raw.length > KEY_MAX_LENGTH)
      return bad("An entry of the listing has no key.");
    const key = decode(raw);
    if (key === null) {
      undecodable.push({ key: raw, detail: "The listing has the key in an encoding that cannot be read." });
      continue;
    }
    keys.push(key);
    malformed.push(...undecodable);
    undecodable = [];
    const object = parseEntry(key, entry);
    if (typeof object === "string") malformed.push({ key, detail: object });
    else objects.push(object);
  }
  // The next page begins after the last key that can be read, and so with those that cannot.
  if (!truncated || keys.length === 0) malformed.push(...undecodable);
  const prefixes = arrayOf(root["CommonPrefixes"]).flatMap((entry) => {
    const prefix = isRecord(entry) ? decode(text(entry["Prefix"])) : null;
    return prefix === null || prefix === "" ? [] : [prefix];
  });
  const token = text(root["NextContinuationToken"]);
  return ok({ objects, malformed, keys, truncated, token: token === "" ? null : token, prefixes });
}

const bad = (detail: string) => fail(failure("source-bad-answer", detail));

/** The `<UploadId>` of a CreateMultipartUpload; null where the answer is none. */
export function parseUploadId(xml: string): string | null {
  const root = parse(xml)?.["InitiateMultipartUploadResult"];
  const uploadId = isRecord(root) ? text(root["UploadId"]) : "";
  return uploadId === "" ? null : uploadId;
}

/** The ETag, without quotes, of a CompleteMultipartUpload that succeeded; null where the answer is none. */
export function parseCompleted(xml: string): string | null {
  const root = parse(xml)?.["CompleteMultipartUploadResult"];
  const etag = isRecord(root) ? text(root["ETag"]).replaceAll('"', "") : "";
  return etag === "" ? null : etag;
}

/** The tags of a GetObjectTagging (Amazon S3 API Reference); null where there are none, or the answer is none. */
export function parseTagging(xml: string): Tags | null {
  const root = parse(xml)?.["Tagging"];
  const set = isRecord(root) ? root["TagSet"] : null;
  if (!isRecord(set)) return null;
  return tagsOf(arrayOf(set["Tag"]).map((tag) => (isRecord(tag) ? [text(tag["Key"]), text(tag["Value"])] : ["", ""])));
}

/** The body of CompleteMultipartUpload. ETags are those of the parts, without quotes. */
export function formatParts(parts: readonly { partNumber: number; etag: string }[]): string {
  const xml = parts.map(({ partNumber, etag }) => {
    const escaped = etag.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    return `<Part><PartNumber>${partNumber}</PartNumber><ETag>"${escaped}"</ETag></Part>`;
  });
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  return `<CompleteMultipartUpload xmlns="${namespace}">${xml.join("")}</CompleteMultipartUpload>`;
}

/** The `<Code>` and `<Message>` of an S3 error document, empty where the answer is none. */
export function parseError(xml: string): { code: string; message: string } {
  const root = parse(xml)?.["Error"];
  if (!isRecord(root)) return { code: "", message: "" };
  return { code: text(root["Code"]), message: text(root["Message"]).slice(0, 300) };
}

/** The object of an entry, or what is wrong with it. */
function parseEntry(key: string, entry: Record<string, unknown>): ListedObject | string {
  const size = /^\d+$/.test(text(entry["Size"])) ? Number(text(entry["Size"])) : Number.NaN;
  if (!Number.isSafeInteger(size)) return "The listing tells no size of it.";
  const etag = text(entry["ETag"]).replaceAll('"', "");
  if (etag === "" || etag.length > ETAG_MAX_LENGTH) return "The listing tells no ETag of it.";
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

const arrayOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

const text = (value: unknown): string => (typeof value === "string" ? value : "");
