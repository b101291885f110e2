import { compareUtf8, prefixEnd } from "../migration/utf8-order.ts";
import { commonPrefix, type ManifestQuery, matches, type Position, positionOfPrefix, type RowPage } from "./query.ts";
import type { StoredRow } from "./row.ts";

/** Rows that lie in the order of their keys. A row is made only when it is wanted. */
export interface SortedRows {
  readonly length: number;
  keyAt(index: number): string;
  rowAt(index: number): StoredRow;
}

/** Where a walk goes on: at a key, or after it. */
interface From {
  key: string;
  isIncluded: boolean;
}

/**
 * One page of what a query finds among rows that come in runs, each after the last. Whatever is left out (what comes before
 * the page, all that a common prefix stands for) is found by halving and not looked at.
 */
export class SortedPage {
  readonly #query: ManifestQuery;
  readonly #limit: number;
  readonly #end: string | null;
  readonly #found: Pick<RowPage, "rows" | "prefixes"> = { rows: [], prefixes: [] };
  #from: From | null;
  #last: Position | null;

  constructor(query: ManifestQuery, after: Position | null, limit: number) {
    this.#query = query;
    this.#limit = limit;
    this.#end = prefixEnd(query.prefix);
    this.#from = after === null ? { key: query.prefix, isIncluded: true } : fromAfter(after.key, query);
    this.#last = after;
  }

  /** The key at which, or after which, the next run is to be read; null where nothing more can be found. */
  get from(): string | null {
    return this.#from?.key ?? null;
  }

  /** Whether nothing from this key on is asked for. */
  isPast(key: string): boolean {
    return this.#end !== null && compareUtf8(key, this.#end) >= 0;
  }

  /** Takes what it finds in a run; false: the page is full, and more may follow. */
  take(rows: SortedRows): boolean {
    for (let index = 0; this.#from !== null;) {
      index = firstOf(rows, this.#from, index);
      if (index === rows.length) return true;
      const key = rows.keyAt(index);
      if (this.isPast(key)) {
        this.#from = null;
        return true;
      }
      const { rows: taken, prefixes } = this.#found;
      if (taken.length + prefixes.length === this.#limit) return false;
      const folder = commonPrefix(key, this.#query);
      if (folder === null) this.#takeRow(rows.rowAt(index));
      else this.#takeFolder(folder);
      index++;
    }
    return true;
  }

  #takeRow(row: StoredRow): void {
    if (matches(row, this.#query)) this.#found.rows.push(row);
    this.#last = { key: row.key, seq: 0 };
    this.#from = { key: row.key, isIncluded: false };
  }

  #takeFolder(folder: string): void {
    this.#found.prefixes.push(folder);
    this.#last = positionOfPrefix(folder);
    this.#from = fromAfter(folder, this.#query);
  }

  /** @param isOver whether all runs were taken */
  page(seq: number, isOver: boolean): RowPage {
    return { ...this.#found, removed: [], next: isOver ? null : this.#last, seq };
  }
}

/** After a row, or after all that a common prefix stands for; null: nothing is after it. */
function fromAfter(key: string, query: ManifestQuery): From | null {
  if (commonPrefix(key, query) !== key) return { key, isIncluded: false };
  const beyond = prefixEnd(key);
  return beyond === null ? null : { key: beyond, isIncluded: true };
}

/** The first row from `start` on that the walk wants: in steps that double, and then by halves, for it is often near. */
function firstOf(rows: SortedRows, { key, isIncluded }: From, start: number): number {
  const isBefore = (index: number) => compareUtf8(rows.keyAt(index), key) < (isIncluded ? 0 : 1);
  let [low, step] = [start, 1];
  while (low + step <= rows.length && isBefore(low + step - 1)) {
    low += step;
    step *= 2;
  }
  let high = Math.min(low + step - 1, rows.length);
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
