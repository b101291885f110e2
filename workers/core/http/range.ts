/**
 * One range of bytes of one object: read from `Range`, resolved against a size, written as `Content-Range`
 * (RFC 9110, section 14).
 *
 * We serve one range or the whole object. A set of several ranges is ignored, which section 14.2 allows: a
 * `multipart/byteranges` answer is something no data client asks for and few would understand.
 */

/** What was asked for. Numbers are safe integers; `end` is inclusive, as on the wire. */
export type ByteRange =
  | { readonly kind: "bounded"; readonly start: number; readonly end: number }
  | { readonly kind: "from"; readonly start: number }
  | { readonly kind: "suffix"; readonly length: number };

/** What will be sent: `length` is at least 1, and `offset + length` is at most the object's size. */
export interface ByteSpan {
  readonly offset: number;
  readonly length: number;
}

/**
 * `bytes=a-b`, `bytes=a-` or `bytes=-n`, alone (RFC 9110, section 14.1.2). The unit is case-insensitive (section 14.1);
 * the set is a list, so blanks and empty elements around its one member are allowed (section 5.6.1.2).
 */
const ONE_RANGE = /^[ \t]*bytes=[ \t,]*(?:(?<first>\d+)-(?<last>\d*)|-(?<suffix>\d+))[ \t,]*$/i;

/**
 * Reads a `Range` header. Null means "answer as if it were not there" (RFC 9110, section 14.2): absent, malformed,
 * another unit, several ranges, or a last position before the first (invalid by section 14.1.1).
 *
 * @example parseRange("bytes=0-499") // { kind: "bounded", start: 0, end: 499 }
 */
export function parseRange(header: string | null | undefined): ByteRange | null {
  const groups = ONE_RANGE.exec(header ?? "")?.groups;
  if (groups === undefined) return null;

  const { first, last, suffix } = groups;
  if (suffix !== undefined) return { kind: "suffix", length: position(suffix) };
  if (first === undefined) return null;
  if (!last) return { kind: "from", start: position(first) };
  if (isGreater(first, last)) return null;
  return { kind: "bounded", start: position(first), end: position(last) };
}

/**
 * Fits a range to an object of `size` bytes (RFC 9110, section 14.1.2): an end past the object is clipped, a suffix
 * longer than the object is the whole of it. Nothing of an empty object can be satisfied, nor can a suffix of zero.
 */
export function resolveRange(range: ByteRange, size: number): ByteSpan | "unsatisfiable" {
  const offset = range.kind === "suffix" ? Math.max(0, size - range.length) : range.start;
  const end = range.kind === "bounded" ? Math.min(range.end, size - 1) : size - 1;
  return offset > end ? "unsatisfiable" : { offset, length: end - offset + 1 };
}

/** The `Content-Range` of a 206 (RFC 9110, section 14.4); `size` is that of the whole object. */
export function formatContentRange(offset: number, length: number, size: number): string {
  return `bytes ${offset}-${offset + length - 1}/${size}`;
}

/** The `Content-Range` of a 416 (RFC 9110, section 15.5.17). */
export function formatUnsatisfiedRange(size: number): string {
  return `bytes */${size}`;
}

/**
 * Digits as a position. Beyond 2^53 - 1 a number would be rounded, perhaps onto another byte, so it stops there. That
 * is a thousand times further than any object reaches: as a start it is unsatisfiable, as an end or suffix it clips.
 */
function position(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}

/** Compares decimal digits of any length exactly, where numbers would be rounded. */
function isGreater(left: string, right: string): boolean {
  const width = Math.max(left.length, right.length);
  return left.padStart(width, "0") > right.padStart(width, "0");
}
