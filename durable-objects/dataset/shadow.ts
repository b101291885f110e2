import type { Change, DiffSide } from "../../workers/core/manifest/version.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { type KeptRow, rowFrom, selection } from "./rows.ts";
import { COLUMNS } from "./schema.ts";

/** Rows that a call looks at, for each that it may return. */
const LOOKED_TIMES = 3;

const NAMES = COLUMNS.map(([name]) => name).join(", ");

/**
 * Rows as they were when a version was begun, of keys that changed since (`Rows` keeps them there), and what a version held by
 * them. Whoever calls is in one turn of the object.
 */
export class Shadow {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * The next objects of a version, and what changed from its parent to it, ascending after a key; up to a key, or to the end
   * (null). Neither is more than `limit`, so that a version that lost millions is as little to hold as one that has them.
   */
  next(
    version: { number: number; seq: number },
    parent: { number: number; seq: number } | null,
    after: string | null,
    limit: number,
  ): { rows: KeptRow[]; changes: Change[]; upTo: string | null } {
    // Rows that have changed since are passed over: where they are many, a call looks at no more than it may.
    const mark = this.#mark(after, LOOKED_TIMES * limit);
    const present = take(
      this.#sql.exec<Record<string, SqlStorageValue>>(
        `SELECT ${selection("object")} FROM object
           WHERE key > ?1 AND seq <= ?2 ${mark === null ? "" : "AND key <= ?4"} ORDER BY key LIMIT ?3`,
        after ?? "",
        version.seq,
        limit,
        ...(mark === null ? [] : [mark]),
      ),
      limit,
    );
    const past = this.#of(version.number, after, limit);
    const before = parent === null ? { rows: [], isCut: false } : this.#of(parent.number, after, limit);
    const ends = [
      ...[present, past, before].flatMap(({ rows, isCut }) => (isCut ? (rows.at(-1)?.key ?? []) : [])),
      ...(mark === null ? [] : [mark]),
    ];
    const upTo = ends.toSorted(compareUtf8)[0] ?? null;
    const isNear = ({ key }: KeptRow) => upTo === null || compareUtf8(key, upTo) <= 0;
    const rows = merge(present.rows.filter(isNear), past.rows.filter(isNear));
    return { rows, changes: parent === null ? [] : changesOf(rows, before.rows.filter(isNear), parent.seq), upTo };
  }

  /** The last key of so many rows; null where there are fewer. */
  #mark(after: string | null, rows: number): string | null {
    const [mark] = this.#sql
      .exec<{ key: string }>(
        "SELECT key FROM object WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?",
        after ?? "",
        rows - 1,
      )
      .toArray();
    return mark?.key ?? null;
  }

  /** Rows as they were when a version was begun, of keys that changed since. */
  #of(version: number, after: string | null, limit: number): Taken {
    const shadow = this.#sql.exec<Record<string, SqlStorageValue>>(
      `SELECT ${selection("shadow")} FROM shadow WHERE version = ?1 AND key > ?2 ORDER BY key LIMIT ?3`,
      version,
      after ?? "",
      limit,
    );
    return take(shadow, limit);
  }

  /** Of these objects the keys of those that the version has at these ETags, and that have changed since. */
  among(version: number, objects: readonly { key: string; etag: string }[]): string[] {
    return pack(objects, { items: objects.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#sql
        .exec<{ key: string }>(
          `SELECT shadow.key FROM json_each(?1) AS asked CROSS JOIN shadow
             ON shadow.version = ?2 AND shadow.key = asked.value ->> 'key' AND shadow.etag = asked.value ->> 'etag'`,
          JSON.stringify(some.map(({ key, etag }) => ({ key, etag }))),
          version,
        )
        .toArray()
        .map(({ key }) => key),
    );
  }

  /** Of a version that is given up: what changed since goes back to be what changed since its parent. */
  giveBack(version: number, parent: { number: number; seq: number } | null): void {
    if (parent !== null) {
      this.#sql.exec(
        `INSERT OR IGNORE INTO shadow (version, ${NAMES}) SELECT ?1, ${NAMES} FROM shadow WHERE version = ?2 AND seq <= ?3`,
        parent.number,
        version,
        parent.seq,
      );
    }
    this.#sql.exec("DELETE FROM shadow WHERE version = ?", version);
  }
}

/** What changed to these rows from what was before, by the parent's `seq`; rows that were there and are not were removed. */
function changesOf(rows: readonly KeptRow[], before: readonly KeptRow[], parentSeq: number): Change[] {
  const was = new Map(before.map((row) => [row.key, row]));
  const there = new Set(rows.map(({ key }) => key));
  return [
    ...rows
      .filter(({ seq }) => seq > parentSeq)
      .map((row): Change => ({ key: row.key, before: sideOf(was.get(row.key)), after: sideOf(row) })),
    ...before
      .filter(({ key }) => !there.has(key))
      .map((row): Change => ({ key: row.key, before: sideOf(row), after: null })),
  ]
    .filter((change) => JSON.stringify(change.before) !== JSON.stringify(change.after))
    .toSorted((a, b) => compareUtf8(a.key, b.key));
}

function sideOf(row: KeptRow | undefined): DiffSide | null {
  if (row === undefined) return null;
  const { size, etag, stage, category } = row;
  return { size, etag, stage, category };
}

interface Taken {
  rows: KeptRow[];
  /** Whether there may be more behind them. */
  isCut: boolean;
}

/** UTF-16 units of the rows of one list: with columns and Parquet beside them they are several times as many bytes. */
const UNITS_MAX = 4_000_000;

/** Rows from a cursor, as many as `limit` and memory allow. */
function take(cursor: Iterable<Record<string, SqlStorageValue>>, limit: number): Taken {
  const rows: KeptRow[] = [];
  let units = 0;
  for (const record of cursor) {
    const row = rowFrom(record);
    rows.push(row);
    for (const value of Object.values(record)) units += typeof value === "string" ? value.length : 0;
    if (rows.length === limit || units > UNITS_MAX) return { rows, isCut: true };
  }
  return { rows, isCut: false };
}

/** Two ascending lists with no key in both. */
function merge(a: readonly KeptRow[], b: readonly KeptRow[]): KeptRow[] {
  if (b.length === 0) return [...a];
  const merged: KeptRow[] = [];
  let [i, j] = [0, 0];
  for (let [x, y] = [a[i], b[j]]; x !== undefined || y !== undefined; [x, y] = [a[i], b[j]]) {
    if (y === undefined || (x !== undefined && compareUtf8(x.key, y.key) < 0)) {
      if (x !== undefined) merged.push(x);
      i++;
    } else {
      merged.push(y);
      j++;
    }
  }
  return merged;
}
