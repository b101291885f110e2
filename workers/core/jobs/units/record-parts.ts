import { PLACE_NUMBERS, placeAt, type RecordIndex } from "../../records/record-index.ts";
import type { Part } from "./unit.ts";

/**
 * The records of an object as ranges of its bytes, each of at most `targetBytes` where the index's places allow it. A range
 * begins where a record does, and ends where another does, or with the object.
 *
 * @param index of JSONL that is not compressed: elsewhere a range is no text of its own
 */
export function recordParts(key: string, index: RecordIndex, targetBytes: number): Part[] {
  const { places, records, size } = index;
  const parts: Part[] = [];
  const count = places.length / PLACE_NUMBERS;
  const startOf = (n: number) => placeAt(places, n) ?? { offset: size, record: records };
  for (let n = 0; n < count;) {
    const from = startOf(n);
    let next = n + 1;
    while (next < count && startOf(next + 1).offset - from.offset <= targetBytes) next++;
    const until = startOf(next);
    const length = until.offset - from.offset;
    const stretch = { first: from.record, count: until.record - from.record };
    parts.push({ key, size: length, range: { offset: from.offset, length }, records: stretch });
    n = next;
  }
  return parts;
}
