import type { Kind } from "./record.ts";

/** Names of JSONL, also compressed. */
const LINES_SUFFIX = /\.(?:jsonl|ndjson|jsonlines|ldjson)(?:\.gz|\.gzip)?$/i;
const LINES_TYPE = /^application\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines|ldjson)\s*(?:;|$)/i;

/**
 * What an object's key or Content-Type says of its records; null: neither says that it is JSONL, so its first byte tells.
 * A line of JSONL may itself begin with a bracket, which only a name can tell from an array.
 */
export const kindByName = (key: string, contentType: string | undefined): Kind | null =>
  LINES_SUFFIX.test(key) || LINES_TYPE.test(contentType ?? "") ? "lines" : null;

/** What the first byte that is not blank says: "[" begins an array, anything else a line. Null: there is none as yet. */
export function kindByFirstByte(bytes: Uint8Array): Kind | null {
  const isMarked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const first = (isMarked ? bytes.subarray(3) : bytes).find(
    (byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d,
  );
  if (first === undefined) return null;
  return first === 0x5b ? "array" : "lines";
}

/** RFC 1952, section 2.3.1. No JSON begins with these. */
export const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;
