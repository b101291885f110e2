import { utf8Length } from "../http/key-path.ts";
import { KEY_MAX_BYTES } from "../limits.ts";
import { compareUtf8 } from "./utf8-order.ts";

/**
 * An interval of a listing's keys, in the order of their UTF-8 bytes: after `after`, up to and including `end`. Null is
 * the start, or no end. Both, and the prefix of the listing, are spelt from the same start.
 */
export interface KeyRange {
  after: string | null;
  end: string | null;
}

/**
 * A text that cuts a range about in the middle, as keys are usually written: of printable ASCII, each character as likely
 * as another. It begins with the prefix and with what both ends begin with, holds no control character, and has at most
 * 1,024 bytes. It is nobody's key but by chance.
 *
 * @param prefix of the listing: where the keys begin if `after` is null, and end if `end` is
 * @returns strictly between the two; null where there is no such text
 */
export function midpoint(after: string | null, end: string | null, prefix: string): string | null {
  const range = within(after, end, prefix);
  if (range === null) return null;
  const { shared, low, high } = range;
  const start = prefix + String.fromCodePoint(...shared);
  const isBetween = (text: string) =>
    compareUtf8(start + String.fromCodePoint(...low), text) < 0 &&
    (end === null || compareUtf8(text, end) < 0) &&
    text.startsWith(prefix) &&
    !CONTROL.test(text) &&
    utf8Length(text) <= KEY_MAX_BYTES;
  const half = start + String.fromCodePoint(...halfway(low, high));
  if (isBetween(half)) return half;
  // They are too close for the arithmetic. What begins as `low` does is below `high`, from the first character on.
  for (let kept = 1; kept < low.length; kept++) {
    const text = start + String.fromCodePoint(...low.slice(0, kept), ...halfway(low.slice(kept), null));
    if (isBetween(text)) return text;
  }
  // The first of all texts that come after `low`: where it is not below `high`, there is none.
  const first = successor(start + String.fromCodePoint(...low));
  return first !== null && isBetween(first) ? first : null;
}

/**
 * How much key space a range has, as a logarithm: only to be compared with that of other ranges under the same prefix.
 * Exact where the ends agree for hundreds of characters, too. -Infinity: nothing is left.
 */
export function width(after: string | null, end: string | null, prefix: string): number {
  const range = within(after, end, prefix);
  if (range === null) return Number.NEGATIVE_INFINITY;
  const { shared, low, high } = range;
  const span = Math.max((high === null ? 1 : fraction(high)) - fraction(low), NARROWEST);
  return shared.reduce((sum, point) => sum + Math.log(sizeOf(point)), Math.log(span));
}

/**
 * Keys that cut a listing into runs of equally many pages, ascending: at most `ranges` - 1 of them.
 *
 * @param upTos the last key of each page of the last run, in any order
 */
export function cutsOf(upTos: readonly string[], ranges: number): string[] {
  const pages = [...new Set(upTos)].sort(compareUtf8);
  const cuts = Array.from({ length: Math.max(0, ranges - 1) }, (_, i) => {
    const page = Math.round(((i + 1) * pages.length) / ranges);
    // Behind the last page there was nothing.
    return page < pages.length ? pages[page - 1] : undefined;
  });
  return [...new Set(cuts.filter((cut) => cut !== undefined))];
}

/** Cuts a range at those of the keys that lie within it; together the pieces are the range. */
export function cutRange({ after, end }: KeyRange, cuts: readonly string[]): KeyRange[] {
  const inside = [...new Set(cuts)]
    .filter((cut) => compareUtf8(after ?? "", cut) < 0 && (end === null || compareUtf8(cut, end) < 0))
    .sort(compareUtf8);
  const starts = [after, ...inside];
  return starts.map((start, i) => ({ after: start, end: inside[i] ?? end }));
}

/** The ends of a range below the prefix, as code points without those that they share; null for no end, or for nothing. */
function within(after: string | null, end: string | null, prefix: string) {
  const isBefore = after === null || compareUtf8(after, prefix) < 0;
  const endsBefore = end !== null && compareUtf8(end, prefix) <= 0;
  if (endsBefore || (!isBefore && !after.startsWith(prefix))) return null;
  if (after !== null && end !== null && compareUtf8(after, end) >= 0) return null;
  const low = isBefore ? [] : pointsOf(after.slice(prefix.length));
  const high = end?.startsWith(prefix) === true ? pointsOf(end.slice(prefix.length)) : null;
  if (high === null) return { shared: [], low, high };
  let count = 0;
  while (count < low.length && low[count] === high[count]) count++;
  return { shared: low.slice(0, count), low: low.slice(count), high: high.slice(count) };
}

const pointsOf = (text: string): number[] => Array.from(text, (char) => char.codePointAt(0) ?? 0);

/** C0, DEL and C1: Unicode's general category Cc. */
const CONTROL = /\p{Cc}/u;

// The keys that begin with one character are an interval within [0, 1): 97 slots of one size, of which each printable
// ASCII character has one. The control characters before them share the first, behind the text that ends there, and
// all others the last. Within its interval, a character's are divided again by the next one.
const SLOTS = 97;
const FIRST_PRINTABLE = 0x20;
const FIRST_OTHER = 0x7f;
const POINTS = 0x110000;
/** Code points that are no characters. They have no room here: the middle of what lies around them would never leave it. */
const SURROGATES = 0xd800;
const BEHIND_SURROGATES = 0xe000;
const CHARACTERS = POINTS - (BEHIND_SURROGATES - SURROGATES);
/** What doubles tell apart, and somewhat less. */
const NARROWEST = 2 ** -50;
/** Characters of which the arithmetic takes note: eight slots of slots are what doubles hold. */
const DIGITS = 8;

function startOf(point: number): number {
  if (point < FIRST_PRINTABLE) return (point + 1) / (FIRST_PRINTABLE + 1) / SLOTS;
  if (point < FIRST_OTHER) return (point - FIRST_PRINTABLE + 1) / SLOTS;
  return (SLOTS - 1 + (rankOf(point) - FIRST_OTHER) / CHARACTERS) / SLOTS;
}

/** Counts characters, without surrogates. */
function rankOf(point: number): number {
  if (point < SURROGATES) return point;
  return Math.max(point, BEHIND_SURROGATES) - (BEHIND_SURROGATES - SURROGATES);
}

function sizeOf(point: number): number {
  if (point < FIRST_PRINTABLE) return 1 / (FIRST_PRINTABLE + 1) / SLOTS;
  return point < FIRST_OTHER ? 1 / SLOTS : 1 / CHARACTERS / SLOTS;
}

/** Where a text lies in [0, 1). */
const fraction = (points: readonly number[]): number =>
  points.slice(0, DIGITS).reduceRight((rest, point) => startOf(point) + rest * sizeOf(point), 0);

/**
 * Where a range ends. Without an end that is at the end of ASCII, or of the script that it has come to; behind the last
 * character of one, of the next, since whoever goes half of the way to a place each time never arrives.
 */
function ceiling(low: readonly number[], high: readonly number[] | null): number {
  if (high !== null) return fraction(high);
  const first = low[0] ?? 0;
  return startOf(SCRIPT_ENDS.find((point) => first < point - 1) ?? POINTS);
}

/** ASCII, two bytes of UTF-8, kana, CJK, three bytes, all. */
const SCRIPT_ENDS = [FIRST_OTHER, 0x800, 0x3100, 0xa000, 0x10000, POINTS];

/** A short text near the middle of the two; empty where they are too close to tell. */
function halfway(low: readonly number[], high: readonly number[] | null): number[] {
  const from = fraction(low);
  const gap = ceiling(low, high) - from;
  let rest = from + gap / 2;
  let size = 1;
  const points: number[] = [];
  while (size * 4 > gap && points.length < DIGITS) {
    const slot = Math.floor(rest * SLOTS);
    if (slot < 1) break;
    const point = slot < SLOTS - 1 ? slot + FIRST_PRINTABLE - 1 : otherAt(rest);
    points.push(point);
    rest = Math.max(0, (rest - startOf(point)) / sizeOf(point));
    size *= sizeOf(point);
  }
  return points;
}

/** The character of the last slot at this place, or the next that may be written. */
function otherAt(place: number): number {
  const rank = FIRST_OTHER + Math.floor((place * SLOTS - (SLOTS - 1)) * CHARACTERS);
  const point = rank < SURROGATES ? rank : rank + (BEHIND_SURROGATES - SURROGATES);
  return Math.max(nextPoint(Math.min(point, POINTS - 1) - 1) ?? 0, FIRST_OTHER);
}

/** The first text after this one, of those that hold no control character and have no more than 1,024 bytes. */
function successor(text: string): string | null {
  const points = pointsOf(text);
  const control = points.findIndex((point) => CONTROL.test(String.fromCodePoint(point)));
  const writable = control < 0 ? points : points.slice(0, control);
  // Longer by one, or by one larger in the place of the control character; where that is too long, one larger before.
  for (let kept = writable.length; kept >= 0; kept--) {
    const next = nextPoint(points[kept] ?? -1);
    const longer = next === null ? null : String.fromCodePoint(...points.slice(0, kept), next);
    if (longer !== null && utf8Length(longer) <= KEY_MAX_BYTES) return longer;
  }
  return null;
}

/** The next code point that may be written: no control character, no surrogate. */
function nextPoint(point: number): number | null {
  const next = point + 1;
  if (next < FIRST_PRINTABLE) return FIRST_PRINTABLE;
  if (next >= FIRST_OTHER && next < 0xa0) return 0xa0;
  if (next >= SURROGATES && next < BEHIND_SURROGATES) return BEHIND_SURROGATES;
  return next < POINTS ? next : null;
}
