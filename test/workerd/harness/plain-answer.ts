import { BLOCK_BYTES, TAIL_BYTES } from "../../../workers/core/limits.ts";

/** What the contract owes for an object: the whole, a part (its first and last byte), or one of the answers without bytes. */
export type Owed = "whole" | "nothing" | 304 | 412 | { first: number; last: number };

/** What is asked, and what is owed for it; of a Range on GET, since HEAD knows none. */
export interface Case {
  headers: Record<string, string>;
  owed: Owed;
}

/** In the plainest words (RFC 9110, section 14.1.2): the bytes at these places, as far as there are any. */
const places = (first: number, last: number, size: number): Owed =>
  first < size && first <= last ? { first, last: Math.min(last, size - 1) } : "nothing";

/** Ranges of an object of this size that begin and end where something might go wrong. */
export function rangesOf(size: number): Case[] {
  const asked = (range: string, owed: Owed): Case => ({ headers: { range }, owed });
  const bounded = (first: number, last: number) => asked(`bytes=${first}-${last}`, places(first, last, size));
  const from = (first: number) => asked(`bytes=${first}-`, places(first, size - 1, size));
  const suffix = (length: number) =>
    asked(`bytes=-${length}`, length === 0 || size === 0 ? "nothing" : places(Math.max(0, size - length), size, size));
  const middle = Math.floor(size / 2);
  const tail = Math.max(0, size - TAIL_BYTES);
  return [
    { headers: {}, owed: "whole" },
    ...[bounded(0, 0), bounded(100, 299), bounded(middle, middle + 9), bounded(Math.max(0, size - 1), size + 5)],
    ...[
      bounded(BLOCK_BYTES - 3, BLOCK_BYTES + 2),
      bounded(1, BLOCK_BYTES * 2 + 1),
      bounded(tail - Math.min(2, tail), tail + 1),
    ],
    ...[bounded(0, Math.max(0, size - 1)), bounded(0, size), bounded(1, Number.MAX_SAFE_INTEGER)],
    ...[bounded(size, size), bounded(size + 1, size + BLOCK_BYTES), bounded(99_999_999, 100_000_099)],
    ...[from(0), from(1), from(middle), from(size), from(99_999_999)],
    ...[suffix(0), suffix(1), suffix(TAIL_BYTES - 1), suffix(TAIL_BYTES), suffix(TAIL_BYTES + 1), suffix(size + 1)],
    asked("bytes=9007199254740990-9007199254740991", "nothing"),
    ...["bytes=9-3", "bytes=abc", "items=0-1", "bytes=0-0,2-3", ""].map((range) => asked(range, "whole")),
  ];
}

const LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT";
const LATER = "Fri, 01 Jan 2100 00:00:00 GMT";

/** Conditions, some of them with a Range: they are decided first (RFC 9110, section 13.2.2). */
export function conditionsOf(size: number, etag: string): Case[] {
  const quoted = `"${etag}"`;
  const start = { range: "bytes=0-9" };
  const part = places(0, 9, size);
  return [
    { headers: { "if-none-match": quoted }, owed: 304 },
    { headers: { "if-none-match": `W/${quoted}`, range: "bytes=99999999-" }, owed: 304 },
    { headers: { "if-none-match": '"another"', ...start }, owed: part },
    { headers: { "if-match": quoted, ...start }, owed: part },
    { headers: { "if-match": '"another"', ...start }, owed: 412 },
    { headers: { "if-match": `W/${quoted}` }, owed: 412 },
    { headers: { "if-modified-since": LATER }, owed: 304 },
    { headers: { "if-modified-since": LONG_AGO, ...start }, owed: part },
    { headers: { "if-unmodified-since": LONG_AGO, ...start }, owed: 412 },
    { headers: { "if-unmodified-since": LATER, ...start }, owed: part },
    { headers: { "if-range": quoted, ...start }, owed: part },
    { headers: { "if-range": `W/${quoted}`, ...start }, owed: "whole" },
    { headers: { "if-range": '"another"', range: "bytes=99999999-" }, owed: "whole" },
    { headers: { "if-range": LONG_AGO, ...start }, owed: "whole" },
  ];
}
