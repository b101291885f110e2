import { comparePositions, type ManifestQuery, type Position, type Sort } from "../../workers/core/manifest/query.ts";

/** A piece of a WHERE clause, and what its marks stand for. */
export interface Condition {
  sql: string;
  values: readonly SqlStorageValue[];
}

/** Where a walk begins and ends, in its direction; null: where the table does. One condition a side, which is sought. */
export interface Range {
  start: Condition | null;
  end: Condition | null;
}

/** What is read, from which table by which index, and what becomes of a record. */
export interface Reading<T> {
  select: string;
  from: string;
  map: (record: Record<string, SqlStorageValue>) => T;
}

/** How much one reading may bring, and look at. */
export interface Most {
  items: number;
  /** Rows that are looked at. */
  seen: number;
  /** UTF-16 units; the row with which they are exceeded is the last. */
  units: number;
}

/** A part of what is sought, in order. */
export interface Stream<T> {
  items: T[];
  /** UTF-16 units of its rows. */
  units: number;
  /** All that there is up to here is in `items`; null: all there is. */
  upTo: Position | null;
}

/** UTF-16 units of all streams of one page: in an RPC message, at two bytes each, less than its 32 MiB. */
export const PAGE_UNITS = 4_000_000;

/** Walks an index in the order of a sort, and never looks at more rows than it may. */
export class Scan {
  readonly #sql: SqlStorage;
  readonly #sort: Sort;
  readonly #place: string;
  readonly #marks: string;
  readonly #isDown: boolean;

  constructor(sql: SqlStorage, sort: Sort) {
    this.#sql = sql;
    this.#sort = sort;
    this.#isDown = sort.startsWith("-");
    const isByKey = sort.endsWith("key");
    this.#place = isByKey ? "key" : "(seq, key)";
    this.#marks = isByKey ? "?" : "(?, ?)";
  }

  /** After this position. */
  beyond(position: Position): Condition {
    return { sql: `${this.#place} ${this.#isDown ? "<" : ">"} ${this.#marks}`, values: this.#values(position) };
  }

  /**
   * The first rows of a range that meet the conditions, at least one where there is one among those that it may look at.
   * `fixed` belongs to the index and `wanted` does not: rows are looked at for it one by one, in windows that grow while
   * little is found.
   */
  read<T extends Position>(
    { select, from, map }: Reading<T>,
    fixed: readonly Condition[],
    range: Range,
    wanted: readonly Condition[],
    most: Most,
  ): Stream<T> {
    const items: T[] = [];
    let units = 0;
    let { start } = range;
    let left = most.seen;
    for (let window = Math.max(2 * most.items, 256); ; window *= 4) {
      const size = Math.min(window, left);
      // Without conditions, the limit bounds what is looked at.
      const mark = wanted.length === 0 ? null : this.#mark(from, [...fixed, ...ends({ ...range, start })], size);
      const end = mark === null ? range.end : this.#upTo(mark);
      const where = whereOf([...fixed, ...ends({ start, end }), ...wanted]);
      const records = this.#sql.exec<Record<string, SqlStorageValue>>(
        `SELECT ${select} FROM ${from} ${where.sql} ORDER BY ${this.#by} LIMIT ?`,
        ...where.values,
        most.items - items.length,
      );
      for (const record of records) {
        const item = map(record);
        items.push(item);
        for (const value of Object.values(record)) units += typeof value === "string" ? value.length : 8;
        if (units > most.units) return { items, units, upTo: positionOf(item) };
      }
      const last = items.at(-1);
      if (items.length >= most.items && last !== undefined) return { items, units, upTo: positionOf(last) };
      if (mark === null) return { items, units, upTo: null };
      left -= size;
      if (left <= 0) return { items, units, upTo: mark };
      start = this.beyond(mark);
    }
  }

  /** The place of the last of so many rows; null where there are fewer. */
  #mark(from: string, conditions: readonly Condition[], size: number): Position | null {
    const where = whereOf(conditions);
    const [mark] = this.#sql
      .exec<{ key: string; seq: number }>(
        `SELECT key, ${this.#sort.endsWith("key") ? "0 AS seq" : "seq"} FROM ${from} ${where.sql}
           ORDER BY ${this.#by} LIMIT 1 OFFSET ?`,
        ...where.values,
        size - 1,
      )
      .toArray();
    return mark ?? null;
  }

  #upTo(position: Position): Condition {
    return { sql: `${this.#place} ${this.#isDown ? ">=" : "<="} ${this.#marks}`, values: this.#values(position) };
  }

  #values({ key, seq }: Position): SqlStorageValue[] {
    return this.#sort.endsWith("key") ? [key] : [seq, key];
  }

  get #by(): string {
    const direction = this.#isDown ? " DESC" : "";
    return this.#sort.endsWith("key") ? `key${direction}` : `seq${direction}, key${direction}`;
  }
}

/** Several streams as one, in order, as far as each of them is known; `next` is where it goes on. */
export function merged<T extends Position>(
  streams: readonly Stream<T>[],
  { sort }: Pick<ManifestQuery, "sort">,
  limit: number,
): { items: T[]; next: Position | null } {
  const order = (a: Position, b: Position) => comparePositions(a, b, sort);
  const [horizon = null] = streams.flatMap(({ upTo }) => upTo ?? []).toSorted(order);
  const known = streams
    .flatMap(({ items }) => items)
    .filter((item) => horizon === null || order(item, horizon) <= 0)
    .toSorted(order);
  const items = known.slice(0, limit);
  const last = items.at(-1);
  return { items, next: known.length > limit && last !== undefined ? positionOf(last) : horizon };
}

const positionOf = ({ key, seq }: Position): Position => ({ key, seq });
const ends = ({ start, end }: Range): Condition[] => [start, end].filter((side) => side !== null);

function whereOf(conditions: readonly Condition[]): { sql: string; values: SqlStorageValue[] } {
  if (conditions.length === 0) return { sql: "", values: [] };
  const sql = `WHERE ${conditions.map((condition) => condition.sql).join(" AND ")}`;
  return { sql, values: conditions.flatMap(({ values }) => values) };
}
