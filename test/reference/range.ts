/**
 * A plain reference for `Range` (RFC 9110, sections 14.1.2 and 14.2), to compare ours with: a scanner of single
 * characters where ours is a pattern, exact positions where ours are numbers, and no arithmetic on lengths.
 */

/** Positions on the wire, inclusive; null for a `last` that was left out. */
export type AskedRange = { first: bigint; last: bigint | null } | { suffix: bigint };

/** What a Range field asks for, if it is one range of bytes; null for all that is answered as if it were not there. */
export function referenceRange(field: string | null): AskedRange | null {
  const text = withoutBlanks(field ?? "");
  if (text.slice(0, 6).toLowerCase() !== "bytes=") return null;
  const members = text
    .slice(6)
    .split(",")
    .map(withoutBlanks)
    .filter((member) => member !== "");
  const [only, ...others] = members;
  return only === undefined || others.length > 0 ? null : readMember(only);
}

/** The first and the last byte that are sent of an object of `size` bytes; null where none can be. */
export function referenceSpan(asked: AskedRange, size: bigint): { first: bigint; last: bigint } | null {
  let first = 0n;
  let last = size - 1n;
  if ("suffix" in asked) {
    if (asked.suffix === 0n) return null;
    if (asked.suffix < size) first = size - asked.suffix;
  } else {
    first = asked.first;
    if (asked.last !== null && asked.last < last) last = asked.last;
  }
  return first > last ? null : { first, last };
}

function readMember(text: string): AskedRange | null {
  let before = "";
  let after = "";
  let isPastDash = false;
  for (const char of text) {
    if (char === "-" && !isPastDash) isPastDash = true;
    else if (!"0123456789".includes(char)) return null;
    else if (isPastDash) after += char;
    else before += char;
  }
  if (!isPastDash || (before === "" && after === "")) return null;
  if (before === "") return { suffix: BigInt(after) };
  if (after === "") return { first: BigInt(before), last: null };
  return BigInt(before) > BigInt(after) ? null : { first: BigInt(before), last: BigInt(after) };
}

function withoutBlanks(text: string): string {
  let [start, end] = [0, text.length];
  while (start < end && (text[start] === " " || text[start] === "\t")) start++;
  while (end > start && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return text.slice(start, end);
}
