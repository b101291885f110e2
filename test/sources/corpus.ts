/** What a source is filled with: the same bytes on every run, so that a difference can be looked at twice. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";

export const MiB = 1024 * 1024;
const SMALL_MAX_BYTES = 8 * 1024;
/** S3's and R2's smallest part, and the part size of the migration where the source's is not known. */
export const PART_BYTES = 5 * MiB;
/** 2^32 divided by the golden ratio: steps of it spread well. */
const SPREAD = 0x9e3779b1;

/** One object as it is uploaded; the key is relative to the dataset's prefix. */
export interface Uploaded {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** What S3 keeps beside the bytes, lower-case: `content-type` and the like, and `x-amz-meta-*`. */
  headers: Record<string, string>;
  /** Uploaded in parts of these many bytes. */
  partSizes?: readonly number[];
  /** The proof that its copy must have; by default `md5`. `whereTold`: where the server says how large its parts are. */
  proof?: { whereTold: string; otherwise: string };
}

/**
 * Sizes from 0 to 8 KiB; binary, JSON and gzip; some with metadata, some with every header. A tenth has keys that sort
 * one way by UTF-8 and another way by UTF-16, more of each than fit one page of a listing.
 */
export function smallObjects(count: number): Uploaded[] {
  return Array.from({ length: count }, (_, index) => smallObject(index));
}

function smallObject(index: number): Uploaded {
  const size = index % 97 === 0 ? 0 : (Math.imul(index, SPREAD) >>> 0) % (SMALL_MAX_BYTES + 1);
  const extra = index % 20 === 0 ? { "x-amz-meta-station": `S-${index}`, "x-amz-meta-at": "2016-07-01T00:00:00Z" } : {};
  if (index % 10 === 9) {
    const folder = index % 20 === 9 ? "\uff21" : "😀";
    return uploadOf(`order/${folder}/${index}`, random(size, index), "application/octet-stream");
  }
  const folder = `${index % 7 === 0 ? "t2m" : "precip"}/c/${index % 13}`;
  if (index % 3 === 0) {
    const text = JSON.stringify({ index, padding: "x".repeat(size) }).slice(0, size);
    return uploadOf(`meta/${folder}/${index}.json`, bytesOf(text), "application/json", extra);
  }
  if (index % 25 === 1) {
    const bytes = Uint8Array.from(gzipSync(random(size, index)));
    return uploadOf(`logs/${index}.jsonl`, bytes, "application/jsonl", { ...extra, "content-encoding": "gzip" });
  }
  const types = ["application/octet-stream", "image/tiff", "text/csv; charset=utf-8", "text/html"];
  return uploadOf(`${folder}/${index}`, random(size, index), types[index % types.length] ?? "", extra);
}

/** Each goes its own way through the migration, given a threshold of 8 MiB. */
export function largeObjects(): Uploaded[] {
  const inParts = (name: string, partSizes: readonly number[], proof: Uploaded["proof"]): Uploaded => {
    const size = partSizes.reduce((sum, bytes) => sum + bytes, 0);
    const object = uploadOf(`large/${name}.bin`, random(size, size), "application/x-checkpoint", {
      "x-amz-meta-parts": String(partSizes.length),
    });
    return { ...object, partSizes, ...(proof === undefined ? {} : { proof }) };
  };
  const always = (proof: string) => ({ whereTold: proof, otherwise: proof });
  const whole = inParts("copied-in-parts", [11 * MiB], always("parts"));
  const odd = PART_BYTES + 123_457;
  return [
    uploadOf("large/streamed.bin", random(3 * MiB, 3), "application/x-checkpoint"),
    { key: whole.key, bytes: whole.bytes, headers: whole.headers, proof: always("parts") },
    inParts("equal", [PART_BYTES, PART_BYTES, 2 * MiB], always("etag")),
    inParts("equal-and-odd", [odd, odd, 1_234_567], { whereTold: "etag", otherwise: "parts" }),
    // No size gives these parts: neither the first one's nor a usual one. R2 takes equal parts only.
    inParts("unequal-first-larger", [6 * MiB, 5 * MiB, 1 * MiB], always("parts")),
    // The first part's size and the number of parts fit, and the parts are others.
    inParts("unequal-first-smaller", [5 * MiB, 6 * MiB, 1 * MiB], always("parts")),
    inParts("one-small-part", [3 * MiB], always("etag")),
    inParts("one-large-part", [9 * MiB], always("etag")),
    gzipInParts(always("etag")),
  ];
}

/** Ranges of it are ranges of what is stored, which a client that decodes never gets right. */
function gzipInParts(proof: Uploaded["proof"]): Uploaded {
  const bytes = Uint8Array.from(gzipSync(random(6 * MiB, 6), { level: 1 }));
  const object = uploadOf("large/in-parts.csv", bytes, "text/csv", { "content-encoding": "gzip" });
  const partSizes = [PART_BYTES, bytes.length - PART_BYTES];
  return { ...object, partSizes, ...(proof === undefined ? {} : { proof }) };
}

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
  headers: Record<string, string> = {},
): Uploaded {
  return { key, bytes, headers: { "content-type": contentType, ...headers } };
}

/** Bytes that do not compress (xorshift32). */
const POOL = pool(2 * MiB);

/** Bytes that hardly compress, others for each seed. */
export function random(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let start = 0, round = 0; start < length; round++) {
    const from = (Math.imul(seed + round * 7919 + 1, SPREAD) >>> 0) % (POOL.length / 2);
    const piece = POOL.subarray(from, from + Math.min(POOL.length / 2, length - start));
    bytes.set(piece, start);
    start += piece.length;
  }
  if (length >= 4) new DataView(bytes.buffer).setUint32(0, seed);
  return bytes;
}

function pool(length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  let state = SPREAD | 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer);
}

export const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

export const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");
