import type { BrokenRecord, Kind, Place, Resume } from "./record.ts";

/** What is said of an object's bytes, by the caller or beside them. */
export interface Said {
  /** By the caller, its name or its Content-Type; null: its first byte tells. */
  kind: Kind | null;
  /** The Content-Encoding, where it is one that is not read here; else null. */
  encoding: string | null;
}

/** Numbers of one place of an index. */
export const PLACE_NUMBERS = 4;

/**
 * What is known of the records of one object at one ETag: how many there are, and, every so many bytes, where one begins.
 * Made by one pass over the object; reading a record begins at the place before it.
 */
export interface RecordIndex {
  /** The whole key in the bucket, and R2's ETag there. */
  key: string;
  etag: string;
  /** Bytes of the object as it is stored. */
  size: number;
  /** It is stored compressed: then offsets are those of the decompressed bytes, and reading begins at the start. */
  gzip: boolean;
  /** What was said of it, which may change while its bytes and its ETag do not. */
  said: Said;
  kind: Kind;
  /** Records, also those that cannot be read. */
  records: number;
  /** How many cannot be read, and the first `BROKEN_NAMED_MAX` of them. */
  broken: number;
  named: readonly BrokenRecord[];
  /**
   * For each place, ascending: its offset, record and line (as in `Place`), and how many records before it cannot be
   * read. Empty where there is no record.
   */
  places: Float64Array;
  /** Why the object has no records that could be read, instead of them. */
  refused: { code: "not-records" | "record-broken"; detail: string } | null;
  /** Where to go on in an index that is not finished; null: it is. */
  resume: Resume | null;
}

/** The number of the last place at or before a record. */
export function placeBefore(places: Float64Array, record: number): number {
  let low = 0;
  let high = places.length / PLACE_NUMBERS;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((places[middle * PLACE_NUMBERS + 1] ?? 0) <= record) low = middle;
    else high = middle;
  }
  return low;
}

/** A place of an index and how many records before it cannot be read; null behind the last one. */
export function placeAt(places: Float64Array, n: number): (Place & { broken: number }) | null {
  const [offset, record, line, broken] = places.subarray(n * PLACE_NUMBERS, (n + 1) * PLACE_NUMBERS);
  if (offset === undefined || record === undefined || line === undefined || broken === undefined) return null;
  return { offset, record, line, broken };
}
