import { RECORDS_MAX, SHARDS_MAX } from "../limits.ts";
import { placeAt, placeBefore, type RecordIndex } from "./record-index.ts";
import type { Resume } from "./record.ts";

/** One of `of` parts of the records, counted from 0. */
export interface Shard {
  index: number;
  of: number;
}

/** Reads `3/128`: the fourth of 128 parts. Null where it is no such thing. */
export function parseShard(text: string): Shard | null {
  const [, index, of] = /^(0|[1-9][0-9]{0,5})\/([1-9][0-9]{0,5})$/.exec(text)?.map(Number) ?? [];
  return index === undefined || of === undefined || of > SHARDS_MAX || index >= of ? null : { index, of };
}

/** Records from `first` to before `end`. */
export interface Stretch {
  first: number;
  end: number;
}

/** The records of a shard: parts of equal length that follow one another, the first ones one longer where it does not divide. */
export function stretchOf(records: number, shard: Shard | null): Stretch {
  if (shard === null) return { first: 0, end: records };
  const [length, rest] = [Math.floor(records / shard.of), records % shard.of];
  const startOf = (index: number) => index * length + Math.min(index, rest);
  return { first: startOf(shard.index), end: startOf(shard.index + 1) };
}

/** `limit` records from `offset` on within a stretch; a limit that is not named is 1,000, of a shard `RECORDS_MAX`. */
export function within(whole: Stretch, offset: number, limit: number | null, shard: Shard | null): Stretch {
  const first = Math.min(whole.first + offset, whole.end);
  return { first, end: Math.min(first + (limit ?? (shard === null ? 1000 : RECORDS_MAX)), whole.end) };
}

/** What to read of the object for a stretch of its records. */
export interface Reading {
  /** Where the bytes to be read begin, and what is there. */
  from: Resume;
  /** Before which byte they end; null: at the end of the object. */
  until: number | null;
}

/** The bytes of a stretch that is not empty: from the place at or before its first record to the one behind its last. */
export function planReading({ places, records }: RecordIndex, { first, end }: Stretch): Reading | null {
  const begin = placeAt(places, placeBefore(places, first));
  if (begin === null || first >= end) return null;
  const { offset, record, line } = begin;
  // The place before `end` begins at it or before it: whatever lies behind that one is in the way of none.
  const last = placeBefore(places, end - 1) + 1;
  const until = end === records ? null : (placeAt(places, last)?.offset ?? null);
  return { from: { offset, record, line, phase: "inside" }, until };
}

/** Whether it is certain that one of these records cannot be read, or that all can; null: only reading them tells. */
export function hasBroken({ broken, named, places, records }: RecordIndex, { first, end }: Stretch): boolean | null {
  if (broken === 0 || first >= end) return false;
  if (named.some(({ record }) => record >= first && record < end)) return true;
  const last = named.at(-1);
  if (named.length === broken || (last !== undefined && last.record >= end - 1)) return false;
  // More than are named: places tell how many lie between them.
  const begin = placeBefore(places, first);
  const until = placeBefore(places, end - 1) + 1;
  const before = placeAt(places, begin)?.broken ?? 0;
  const upTo = placeAt(places, until)?.broken ?? broken;
  if (upTo === before) return false;
  const isExact = placeAt(places, begin)?.record === first && (placeAt(places, until)?.record ?? records) === end;
  return isExact ? true : null;
}
