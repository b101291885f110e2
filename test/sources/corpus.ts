/** What a source is filled with: the same bytes on every run, so that a difference can be looked at twice. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

const MiB = 1024 * 1024;
const SMALL_OBJECTS = 2_000;
const SMALL_MAX_BYTES = 8 * 1024;
/** S3's and R2's smallest part. */
const PART_BYTES = 5 * MiB;
/** 2^32 divided by the golden ratio: steps of it spread well. */
const SPREAD = 0x9e3779b1;

/** One object as it is uploaded; the key is relative to the dataset's prefix. */
export interface Uploaded {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  contentType: string;
  contentEncoding?: string;
  /** `x-amz-meta-*`, by lower-case name. */
  metadata: Record<string, string>;
  /** Uploaded in parts of this many bytes. */
  partBytes?: number;
}

/** Sizes from 0 to 8 KiB, binary, JSON and gzip, over several pages of a listing. */
export function smallObjects(): Uploaded[] {
  return Array.from({ length: SMALL_OBJECTS }, (_, index) => {
    const size = index % 97 === 0 ? 0 : (Math.imul(index, SPREAD) >>> 0) % (SMALL_MAX_BYTES + 1);
    const metadata: Record<string, string> =
      index % 20 === 0 ? { station: `S-${index}`, "acquired-at": "2016-07-01T00:00:00Z" } : {};
    const folder = `${index % 7 === 0 ? "t2m" : "precip"}/c/${index % 13}`;
    if (index % 3 === 0) {
      const text = JSON.stringify({ index, padding: "x".repeat(size) }).slice(0, size);
      return uploadOf(`meta/${folder}/${index}.json`, bytesOf(text), "application/json", metadata);
    }
    if (index % 25 === 1) {
      const bytes = Uint8Array.from(gzipSync(random(size, index)));
      return { ...uploadOf(`logs/${index}.jsonl`, bytes, "application/jsonl", metadata), contentEncoding: "gzip" };
    }
    const types = ["application/octet-stream", "image/tiff", "text/csv; charset=utf-8", "text/html"];
    return uploadOf(`${folder}/${index}`, random(size, index), types[index % types.length] ?? "", metadata);
  });
}

export const UPLOADED_IN_PARTS = "large/in-parts.bin";
export const COPIED_IN_PARTS = "large/at-once.bin";

/** Each goes its own way through the migration, given a threshold of 8 MiB. */
export function largeObjects(): Uploaded[] {
  const type = "application/x-checkpoint";
  return [
    { ...uploadOf(UPLOADED_IN_PARTS, random(12 * MiB, 1), type, { step: "12" }), partBytes: PART_BYTES },
    uploadOf(COPIED_IN_PARTS, random(11 * MiB, 2), type, { step: "11" }),
    uploadOf("large/streamed.bin", random(3 * MiB, 3), type),
  ];
}

/** Keys that a careless client loses. */
export const NASTY_KEYS = [
  "a b+c=d:e#f?g%h&i'j\"k<l>(m)*n!o~p,q;r@s$t|u\\v`w[x]{y}^z",
  "double//slash",
  "dot/./here",
  "dot/../there",
  "marker/",
  "marker",
  "a-key",
  "a-key/and-a-folder",
  "order-😀",
  "order-\uffee",
  "folder/x",
  "folder-x",
  "folder.x",
  "folder0",
  " blank at both ends ",
  "007",
  "nfc-é",
  "nfd-e\u0301",
  "tab-\t",
  "cr-lf-\r\n-tab-\t",
  "control-\u0001\u001f",
  "percent-%2F-%00",
  "entity-&#39;&amp;",
  "n".repeat(255),
  "n".repeat(256),
  `${"s/".repeat(500)}long`,
].map((key) => `keys/${key}`);

/**
 * A folder object with bytes in it is no object at all to some servers, and versitygw gives one its customary type
 * whatever it was put with.
 */
export const nastyObject = (key: string): Uploaded =>
  key.endsWith("/")
    ? uploadOf(key, bytesOf(""), "application/x-directory")
    : uploadOf(key, bytesOf(key), "application/x-nasty");

export function uploadOf(
  key: string,
  bytes: Uint8Array<ArrayBuffer>,
  contentType: string,
  metadata: Record<string, string> = {},
): Uploaded {
  return { key, bytes, contentType, metadata };
}

/** Bytes that do not compress or repeat (xorshift32). */
export function random(length: number, seed: number): Uint8Array<ArrayBuffer> {
  let state = Math.imul(seed + 1, SPREAD) | 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state & 0xff;
  });
}

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

export const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");
