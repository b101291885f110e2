import { compareUtf8, prefixEnd } from "../../migration/utf8-order.ts";

/** Keys from `start` to before `end`, in UTF-8 order; null: to the last one. */
export interface KeyRange {
  start: string;
  end: string | null;
}

/** All keys that begin with one of these texts, as ranges that are apart from one another, ascending. */
export function rangesOf(beginnings: readonly string[]): KeyRange[] {
  const ranges: KeyRange[] = [];
  // Of two such ranges one holds the other, or they are apart; the one that holds another begins first.
  for (const start of [...beginnings].sort(compareUtf8)) {
    if (!isWithin(ranges.at(-1), start)) ranges.push({ start, end: prefixEnd(start) });
  }
  return ranges;
}

/** Whether the key is before the range's end; of ascending ranges and keys, its beginning is behind. */
const isWithin = (range: KeyRange | undefined, key: string): boolean =>
  range !== undefined && (range.end === null || compareUtf8(key, range.end) < 0);

/** Whether there can be a key in the range from `first` to before `next` (null: to the last one). */
export const meets = ({ start, end }: KeyRange, first: string, next: string | null): boolean =>
  (next === null || compareUtf8(start, next) < 0) && (end === null || compareUtf8(first, end) < 0);

/** Tells of keys that come in ascending order whether the ranges hold them. */
export class RangeFollower {
  readonly #ranges: readonly KeyRange[];
  #at = 0;

  constructor(ranges: readonly KeyRange[]) {
    this.#ranges = ranges;
  }

  holds(key: string): boolean {
    while (this.#at < this.#ranges.length && !isWithin(this.#ranges[this.#at], key)) this.#at++;
    const range = this.#ranges[this.#at];
    return range !== undefined && compareUtf8(key, range.start) >= 0;
  }
}

/** What every key begins with that a glob matches. */
export const beginningOf = (glob: string): string => /^[^*?[\]{}\\]*/.exec(glob)?.[0] ?? "";
