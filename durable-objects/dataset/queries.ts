import { type Failure, failure } from "../../workers/core/failure.ts";
import {
  commonPrefix,
  checkReached,
  type ManifestQuery,
  matches,
  type Position,
  positionOfPrefix,
  type RowPage,
} from "../../workers/core/manifest/query.ts";
import { STAGES, type StoredRow } from "../../workers/core/manifest/row.ts";
import { compareUtf8, prefixEnd } from "../../workers/core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { rowFrom, selection } from "./rows.ts";
import { type Condition, merged, type Most, PAGE_UNITS, type Range, type Reading, Scan, type Stream } from "./scan.ts";

/** Rows that one call looks at, wanted or not: some tens of milliseconds in which nobody else is served. */
const SCAN_ROWS = 20_000;
/** Rows of one page. */
const PAGE_ROWS_MAX = 4000;
/** Categories beyond which those of a stage are not walked side by side: each is a range of its own. */
const CATEGORIES_MAX = 16;

type Removed = RowPage["removed"][number];
type Found = (StoredRow & { at?: never }) | Removed;

const OBJECTS: Reading<Found> = { select: selection("object"), from: "object", map: rowFrom };
/** Their index ends with the time: those of one `seq`, which one call removed, are sorted for each page. */
const REMOVED: Reading<Found> = {
  select: "key, at, seq",
  from: "tombstone INDEXED BY tombstone_seq",
  map: (record) => record as unknown as Removed,
};

/**
 * Pages of the live manifest. A page is one or a few ranges of an index, in its order, and is over when it is full or when
 * enough rows were looked at; then it goes on at `next`. So what a page costs depends neither on where it is nor on how many
 * rows there are, and nothing is ever sorted but what a page shows.
 */
export class Queries {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The query's next rows after a position. `changes-forgotten` where removals since then are no longer known. */
  page(query: ManifestQuery, after: Position | null, limit: number): Result<RowPage> {
    const { seq, forgotten } = this.#sql
      .exec<{ seq: number; forgotten: number }>("SELECT seq, forgotten FROM head")
      .one();
    const wrong = checkSince(query.changedSince, seq, forgotten);
    if (wrong !== null) return fail(wrong);
    const most = Math.min(Math.max(1, limit), PAGE_ROWS_MAX);
    if (query.delimiter !== null) return ok({ ...this.#folders(query, after, most), seq });
    // One more than is shown tells whether there is more.
    const ahead = most + 1;
    const streams = query.sort.endsWith("key") ? this.#byKey(query, after, ahead) : this.#byChange(query, after, ahead);
    const { items, next } = merged(streams, query, most);
    const rows: StoredRow[] = [];
    const removed: Removed[] = [];
    for (const item of items) {
      if (item.at === undefined) rows.push(item);
      else removed.push(item);
    }
    return ok({ rows, removed, prefixes: [], next, seq });
  }

  #byKey(query: ManifestQuery, after: Position | null, limit: number): Stream<Found>[] {
    const scan = new Scan(this.#sql, query.sort);
    const range = keyRange(query, after);
    if (range === null) return [];
    const places = this.#places(query);
    if (places === null) return [scan.read(OBJECTS, [], range, filtersOf(query), shareOf(1, limit))];
    const filters = filtersOf({ ...query, stage: null, category: null });
    // Each place is in the order of its keys. Where they are many, a page shows but few rows of each.
    const most = shareOf(places.length, Math.min(limit, Math.max(Math.ceil((2 * limit) / places.length), 50)));
    return places.map(({ stage, category }) => {
      const isCategory = category === null ? "category IS NULL" : "category = ?";
      const place = { sql: `stage = ? AND ${isCategory}`, values: category === null ? [stage] : [stage, category] };
      return scan.read({ ...OBJECTS, from: "object INDEXED BY object_place" }, [place], range, filters, most);
    });
  }

  #byChange(query: ManifestQuery, after: Position | null, limit: number): Stream<Found>[] {
    const scan = new Scan(this.#sql, query.sort);
    const { changedSince, changedUpTo } = query;
    const since = changedSince === null ? null : { sql: "seq > ?", values: [changedSince] };
    const upTo = changedUpTo === null ? null : { sql: "seq <= ?", values: [changedUpTo] };
    const [first, end] = query.sort === "changed" ? [since, upTo] : [upTo, since];
    const range = { start: after === null ? first : scan.beyond(after), end };
    const ofKey = keyFilters(query);
    const objects = { ...OBJECTS, from: "object INDEXED BY object_seq" };
    if (changedSince === null)
      return [scan.read(objects, [], range, [...ofKey, ...filtersOf(query)], shareOf(1, limit))];
    // A key never changes; all else may have, and what does not match any more is told. See `RowPage`.
    const told: Reading<Found> = {
      ...objects,
      map(record) {
        const row = rowFrom(record);
        return matches(row, query) ? row : { key: row.key, at: row.updatedAt, seq: row.seq };
      },
    };
    const wanted = [...ofKey, ...suffixFilter(query)];
    return [told, REMOVED].map((reading) => scan.read(reading, [], range, wanted, shareOf(2, limit)));
  }

  /** The places that a query is about, where they are few and all in the index of places; else null. */
  #places({ stage, category }: ManifestQuery): { stage: string; category: string | null }[] | null {
    if (stage !== null && category !== null) return [{ stage, category }];
    if (stage !== null) {
      const categories = this.#sql
        .exec<{ category: string }>(
          "SELECT category FROM category_total WHERE stage = ? LIMIT ?",
          stage,
          CATEGORIES_MAX + 1,
        )
        .toArray();
      if (categories.length > CATEGORIES_MAX) return null;
      return categories.map((each) => ({ stage, category: each.category === "" ? null : each.category }));
    }
    if (category === null) return null;
    // Objects without a stage are in no index of places: where the category has such, the keys are walked.
    const isOutside =
      this.#sql.exec("SELECT 1 FROM category_total WHERE stage = '' AND category = ?", category).toArray().length > 0;
    return isOutside ? null : STAGES.map((each) => ({ stage: each, category }));
  }

  /** Goes from prefix to prefix by one look-up each; between them, keys are read in runs that grow. */
  #folders(query: ManifestQuery, after: Position | null, limit: number): Omit<RowPage, "seq"> {
    const scan = new Scan(this.#sql, query.sort);
    const rows: StoredRow[] = [];
    const prefixes: string[] = [];
    let last = after;
    let units = 0;
    for (let [seen, run] = [0, 1]; seen < SCAN_ROWS && units <= PAGE_UNITS && rows.length + prefixes.length < limit;) {
      const range = keyRange(query, last);
      const most = { items: run, seen: run, units: PAGE_UNITS - units };
      const read = range === null ? null : scan.read({ ...OBJECTS, map: rowFrom }, [], range, [], most);
      const items = read?.items ?? [];
      units += read?.units ?? 0;
      if (items.length === 0) return { rows, prefixes, removed: [], next: null };
      run = Math.min(2 * run, 512);
      for (const row of items) {
        seen++;
        const prefix = commonPrefix(row.key, query);
        last = prefix === null ? { key: row.key, seq: row.seq } : positionOfPrefix(prefix);
        if (prefix !== null) prefixes.push(prefix);
        else if (matches(row, query)) rows.push(row);
        if (prefix !== null) run = 1;
        if (prefix !== null || rows.length >= limit - prefixes.length) break;
      }
    }
    const beyond = keyRange(query, last);
    const more = beyond === null ? [] : scan.read(OBJECTS, [], beyond, [], { items: 1, seen: 1, units: 0 }).items;
    return { rows, prefixes, removed: [], next: more.length > 0 ? last : null };
  }
}

/** Of what one page may bring and look at, each of so many streams has the same share. */
const shareOf = (streams: number, items: number): Most => ({
  items,
  seen: Math.floor(SCAN_ROWS / streams),
  units: PAGE_UNITS / streams,
});

/** The keys that begin with the prefix, after a position; null where none can. */
function keyRange(query: ManifestQuery, after: Position | null): Range | null {
  const { prefix } = query;
  const end = prefixEnd(prefix);
  const begin: Condition | null = prefix === "" ? null : { sql: "key >= ?", values: [prefix] };
  const stop: Condition | null = end === null ? null : { sql: "key < ?", values: [end] };
  if (query.sort === "-key") {
    const isWithin = after !== null && (end === null || compareUtf8(after.key, end) < 0);
    return { start: isWithin ? { sql: "key < ?", values: [after.key] } : stop, end: begin };
  }
  if (after === null || compareUtf8(after.key, prefix) < 0) return { start: begin, end: stop };
  if (commonPrefix(after.key, query) !== after.key)
    return { start: { sql: "key > ?", values: [after.key] }, end: stop };
  // All that begins with the prefix shown last is in it.
  const beyond = prefixEnd(after.key);
  return beyond === null ? null : { start: { sql: "key >= ?", values: [beyond] }, end: stop };
}

/** The same of rows in another order. The plus keeps SQLite from taking an index for it. */
function keyFilters({ prefix }: ManifestQuery): Condition[] {
  const end = prefixEnd(prefix);
  return [
    ...(prefix === "" ? [] : [{ sql: "+key >= ?", values: [prefix] }]),
    ...(end === null ? [] : [{ sql: "+key < ?", values: [end] }]),
  ];
}

const suffixFilter = ({ suffix }: ManifestQuery): Condition[] =>
  suffix === "" ? [] : [{ sql: "substr(key, -length(?)) = ?", values: [suffix, suffix] }];

/** `matches`, in SQL, but for the prefix. */
function filtersOf(query: ManifestQuery): Condition[] {
  const { stage, category, minSize, maxSize, modifiedSince, changedSince, changedUpTo } = query;
  const isByKey = query.sort.endsWith("key");
  const condition = (sql: string, value: string | number | null): Condition[] =>
    value === null ? [] : [{ sql, values: [value] }];
  return [
    ...suffixFilter(query),
    ...condition("+stage = ?", stage),
    ...condition("+category = ?", category),
    ...condition("size >= ?", minSize),
    ...condition("size <= ?", maxSize),
    ...condition("coalesce(source_modified_at, uploaded_at) >= ?", modifiedSince),
    // In the order of changes they are the range.
    ...condition("+seq > ?", isByKey ? changedSince : null),
    ...condition("+seq <= ?", isByKey ? changedUpTo : null),
  ];
}

/** Removals are told for as long as their tombstones stand. */
function checkSince(since: number | null, seq: number, forgotten: number): Failure | null {
  const beyond = checkReached(since, seq);
  if (since === null || beyond !== null) return beyond;
  if (since >= forgotten) return null;
  const field = "changedSince";
  const detail = `Objects that were removed up to ${forgotten} are forgotten, and ${since} is before that: list all anew, without changedSince.`;
  return failure("changes-forgotten", detail, { field });
}
