import {
  type Place,
  type Row,
  mergeRows,
  mergeSeen,
  md5OfEtag,
  type StoredRow,
} from "../../workers/core/manifest/row.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { COLUMNS, TOTALS } from "./schema.ts";

export interface KeptRow extends StoredRow {
  /** The owner has placed it: no rule does. */
  isPlaced: boolean;
  /** One of its checksums is what a list of objects says, which nobody has computed. */
  isSaid: boolean;
}

/** A key about which R2 must be asked, and the generation that the answer is to be given with. */
export interface Question {
  key: string;
  generation: number;
}

interface Checksums {
  key: string;
  size: number;
  /** Hex. */
  md5: string | null;
  sha256: string | null;
}

/** Checksums that were computed of the object that has this ETag. */
export interface ComputedChecksums extends Checksums {
  etag: string;
}

/** Checksums that a list of objects says, which knows no ETags: of an object of this size that was there before the list. */
export interface SaidChecksums extends Checksums {
  etag: null;
  saidAt: SaidAt;
}

/** When a list of objects was put into R2, and, where it is a copy, modified at the source: milliseconds since 1970. */
export interface SaidAt {
  uploadedAt: number;
  sourceModifiedAt: number | null;
}

/** What R2 had at a key when it was asked; null: nothing. */
export interface Observation extends Question {
  row: Row | null;
  /** Something is there that is not to be seen as yet: where no row was, nothing was taken out. */
  isHidden?: boolean;
}

type Record_ = Record<string, SqlStorageValue>;

const NAMES = COLUMNS.map(([name]) => name);
const OTHERS = NAMES.filter((name) => name !== "key");
/** `object` may be the table's name or an alias, as the shadow's. */
export const selection = (table: string): string =>
  COLUMNS.map(([name, field]) =>
    name === "origin"
      ? `(SELECT text FROM word WHERE word.id = ${table}.origin) AS origin`
      : `${table}.${name} AS ${field}`,
  ).join(", ");

const UPSERT = `INSERT INTO object (${NAMES.join(", ")})
  SELECT ${NAMES.map((_, index) => `value ->> ${index}`).join(", ")} FROM json_each(?) WHERE true
  ON CONFLICT (key) DO UPDATE SET ${OTHERS.map((name) => `${name} = excluded.${name}`).join(", ")}`;

/** The live manifest's rows. Whoever calls is in a transaction. */
export class Rows {
  readonly #sql: SqlStorage;
  readonly #place: (key: string) => Place;
  /** The last version that was begun, and what `seq` was then. */
  readonly #sealed: () => { version: number; seq: number } | null;

  constructor(sql: SqlStorage, place: (key: string) => Place, sealed: () => { version: number; seq: number } | null) {
    this.#sql = sql;
    this.#place = place;
    this.#sealed = sealed;
  }

  get seq(): number {
    return this.#sql.exec<{ seq: number }>("SELECT seq FROM head").one().seq;
  }

  /** Rows by key, in no order; keys without one are absent. */
  of(keys: readonly string[]): KeptRow[] {
    return chunks(keys).flatMap((json) =>
      this.#sql
        .exec<Record_>(
          `SELECT ${selection("object")} FROM json_each(?) AS wanted JOIN object ON object.key = wanted.value`,
          json,
        )
        .toArray()
        .map(rowFrom),
    );
  }

  /** Of these keys those that are being asked about. */
  askedOf(keys: readonly string[]): Set<string> {
    return new Set(this.#openOf(keys).keys());
  }

  /**
   * Writes rows over what is there, and those that differ from it only; returns how many. One row a key.
   *
   * @param merge what two rows of the same bytes say together
   */
  write(
    rows: readonly (Row & { isSaid?: boolean })[],
    now: number,
    known: ReadonlyMap<string, KeptRow> = this.mapOf(rows),
    merge: typeof mergeRows = mergeRows,
  ): number {
    const next = this.seq + 1;
    const changed = rows.flatMap((said): KeptRow[] => {
      const present = known.get(said.key);
      const isSame = present?.etag === said.etag;
      const row = present !== undefined && isSame ? merge(present, said) : said;
      const place =
        present?.isPlaced === true ? { stage: present.stage, category: present.category } : this.#place(row.key);
      const isPlaced = present?.isPlaced ?? false;
      const isSaid = said.isSaid ?? (isSame && said.sha256 === null && (present?.isSaid ?? false));
      const updated = { ...row, ...place, isPlaced, isSaid, updatedAt: now, seq: next };
      return present !== undefined && isSame && isEqual(present, updated) ? [] : [updated];
    });
    this.#replace(changed, next);
    return changed.length;
  }

  /** Writes rows as R2 has just shown the objects: what it says of their metadata holds, also that there are none. */
  writeSeen(rows: readonly Row[], now: number, known: ReadonlyMap<string, KeptRow>): number {
    return this.write(rows, now, known, mergeSeen);
  }

  /**
   * Takes checksums: those that were computed in place of any others, those that were only said where a row has none.
   * `other` rows are of another object, by ETag, size, time or MD5.
   */
  takeChecksums(said: readonly (ComputedChecksums | SaidChecksums)[], now: number): { missing: number; other: number } {
    const known = this.mapOf(said);
    let [missing, other] = [0, 0];
    // A list may name an object twice.
    const rows = [...new Map(said.map((each) => [each.key, each])).values()].flatMap((each) => {
      const present = known.get(each.key);
      if (present === undefined) missing += 1;
      else if (!isOf(present, each)) other += 1;
      else {
        const isComputed = each.etag !== null;
        const [first, second] = isComputed ? [each, present] : [present, each];
        const [md5, sha256] = [first.md5 ?? second.md5, first.sha256 ?? second.sha256];
        const isNews = md5 !== present.md5 || sha256 !== present.sha256;
        return [{ ...present, md5, sha256, isSaid: !isComputed && (present.isSaid || isNews) }];
      }
      return [];
    });
    this.write(rows, now, known);
    return { missing, other };
  }

  /** Sets stage and category: by the owner (`isPlaced`), or by the rules again. Returns how many rows changed. */
  place(placed: readonly { key: string; place: Place | null }[], now: number): number {
    const known = this.mapOf(placed);
    const next = this.seq + 1;
    const changed = placed.flatMap(({ key, place }): KeptRow[] => {
      const present = known.get(key);
      if (present === undefined) return [];
      const updated = {
        ...present,
        ...(place ?? this.#place(key)),
        isPlaced: place !== null,
        updatedAt: now,
        seq: next,
      };
      return isEqual(present, updated) ? [] : [updated];
    });
    this.#replace(changed, next);
    return changed.length;
  }

  #replace(rows: readonly KeptRow[], seq: number): void {
    if (rows.length === 0) return;
    const origins = this.#idsOf(rows.flatMap(({ origin }) => origin ?? []));
    for (const some of pack(rows, ROWS_AT_ONCE, () => 0)) {
      const keys = JSON.stringify(some.map(({ key }) => key));
      this.#shade(keys);
      this.#addTotals(keys, -1);
      const values = some.map((row) => COLUMNS.map(([name, field]) => stored(row, name, field, origins)));
      this.#sql.exec(UPSERT, JSON.stringify(values));
      this.#addTotals(keys, 1);
    }
    this.#sql.exec("UPDATE head SET seq = ?", seq);
  }

  /** Takes rows out; returns the `seq` of that. */
  remove(keys: readonly string[]): number {
    const next = this.seq + 1;
    let gone = 0;
    for (const json of chunks(keys)) {
      this.#shade(json);
      this.#addTotals(json, -1);
      gone += this.#sql
        .exec("DELETE FROM object WHERE key IN (SELECT value FROM json_each(?)) RETURNING 1", json)
        .toArray().length;
    }
    if (gone > 0) this.#sql.exec("UPDATE head SET seq = ?", next);
    return gone > 0 ? next : next - 1;
  }

  /**
   * Has R2 asked about these keys: whatever was asked before is stale from now on. Who asks looks at R2 after this, so the
   * last question's answer is never older than what gave rise to it.
   */
  ask(keys: readonly string[]): Question[] {
    if (keys.length === 0) return [];
    const generation = this.#sql
      .exec<{ generation: number }>("UPDATE head SET generation = generation + 1 RETURNING generation")
      .one().generation;
    for (const json of chunks(keys)) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO asked (key, generation) SELECT value, ? FROM json_each(?)",
        generation,
        json,
      );
    }
    return keys.map((key) => ({ key, generation }));
  }

  /**
   * What is to be asked where an answer came too late: the question that is open meanwhile, if there is one. Whoever of
   * the two who ask it answers first has answered it; with a question each they could overtake each other for ever.
   */
  askAgain(keys: readonly string[]): Question[] {
    const open = this.#openOf(keys);
    return [
      ...[...open].map(([key, generation]) => ({ key, generation })),
      ...this.ask(keys.filter((key) => !open.has(key))),
    ];
  }

  /** Counts a change that no row shows; returns its `seq`. */
  bump(): number {
    return this.#sql.exec<{ seq: number }>("UPDATE head SET seq = seq + 1 RETURNING seq").one().seq;
  }

  /** Of these answers those to the last question about their key; that question is then answered. */
  answer<T extends Question>(answers: readonly T[]): T[] {
    const current = this.#openOf(answers.map(({ key }) => key));
    const good = answers.filter(({ key, generation }) => current.get(key) === generation);
    this.forgetAsked(good.map(({ key }) => key));
    return good;
  }

  /** The last question about each of these keys that has one. */
  #openOf(keys: readonly string[]): Map<string, number> {
    const found = chunks(keys).flatMap((json) =>
      this.#sql
        .exec<{ key: string; generation: number }>(
          "SELECT asked.key, asked.generation FROM json_each(?) AS wanted CROSS JOIN asked ON asked.key = wanted.value",
          json,
        )
        .toArray(),
    );
    return new Map(found.map(({ key, generation }) => [key, generation]));
  }

  /** Answers to what was asked about these keys are stale. */
  forgetAsked(keys: readonly string[]): void {
    for (const json of chunks(keys))
      this.#sql.exec("DELETE FROM asked WHERE key IN (SELECT value FROM json_each(?))", json);
  }

  mapOf(keyed: readonly { key: string }[]): Map<string, KeptRow> {
    return new Map(this.of(keyed.map(({ key }) => key)).map((row) => [row.key, row]));
  }

  /** Keeps rows as the last version has them, before they change. */
  #shade(keys: string): void {
    const sealed = this.#sealed();
    if (sealed === null) return;
    this.#sql.exec(
      `INSERT OR IGNORE INTO shadow (version, ${NAMES.join(", ")})
         SELECT ?, ${NAMES.map((name) => `object.${name}`).join(", ")}
           FROM json_each(?) AS wanted CROSS JOIN object ON object.key = wanted.value WHERE object.seq <= ?`,
      sealed.version,
      keys,
      sealed.seq,
    );
  }

  /** Takes the rows of these keys off the totals, or adds them. */
  #addTotals(keys: string, sign: 1 | -1): void {
    for (const [table, by, columns] of TOTALS) {
      this.#sql.exec(
        `INSERT INTO ${table} (${by}, objects, bytes)
           SELECT ${columns}, ?1 * count(*), ?1 * sum(object.size)
             FROM json_each(?2) AS wanted CROSS JOIN object ON object.key = wanted.value WHERE true GROUP BY 1, 2
           ON CONFLICT DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes`,
        sign,
        keys,
      );
      // Only those of these rows are looked at: categories may be as many as objects.
      if (sign > 0) continue;
      this.#sql.exec(
        `DELETE FROM ${table} WHERE objects = 0 AND (${by}) IN (SELECT ${columns}
           FROM json_each(?) AS wanted CROSS JOIN object ON object.key = wanted.value)`,
        keys,
      );
    }
  }

  /** The ids of words, which are given one where they have none. */
  #idsOf(texts: readonly string[]): Map<string, number> {
    const json = JSON.stringify([...new Set(texts)]);
    this.#sql.exec("INSERT OR IGNORE INTO word (text) SELECT value FROM json_each(?)", json);
    const words = this.#sql
      .exec<{ text: string; id: number }>(
        "SELECT text, id FROM word WHERE text IN (SELECT value FROM json_each(?))",
        json,
      )
      .toArray();
    return new Map(words.map(({ text, id }) => [text, id]));
  }
}

/** Whether checksums are of what the row is of. An MD5 that the row has, of its ETag say, tells more than a size. */
function isOf(row: KeptRow, said: ComputedChecksums | SaidChecksums): boolean {
  if (said.etag !== null) return row.etag === said.etag;
  const { size, md5, saidAt } = said;
  return row.size === size && isBefore(row, saidAt) && (row.md5 === null || md5 === null || row.md5 === md5);
}

/**
 * Whether the row's object was there when a list of objects was written: a list says nothing of what came after it. Copies come
 * in any order, so where both are copies it is the source that knows.
 */
function isBefore(row: KeptRow, saidAt: SaidAt): boolean {
  return row.sourceModifiedAt !== null && saidAt.sourceModifiedAt !== null
    ? row.sourceModifiedAt <= saidAt.sourceModifiedAt
    : row.uploadedAt <= saidAt.uploadedAt;
}

/** Rows of one statement: a bound value is at most 2 MB. */
const ROWS_AT_ONCE = { items: 1000, weight: Number.POSITIVE_INFINITY };

/** JSON of keys, as many as a statement may bind. */
const chunks = (keys: readonly string[]): string[] =>
  pack(keys, { items: 10_000, weight: Number.POSITIVE_INFINITY }, () => 0).map((some) => JSON.stringify(some));

function stored(row: KeptRow, name: string, field: keyof KeptRow, origins: ReadonlyMap<string, number>): unknown {
  switch (name) {
    case "origin":
      return row.origin === null ? null : origins.get(row.origin);
    case "md5":
      return row.md5 === md5OfEtag(row.etag) ? null : row.md5;
    case "tags":
      return row.tags === null ? null : JSON.stringify(row.tags);
    case "placed":
      return row.isPlaced ? 1 : 0;
    case "said":
      return row.isSaid ? 1 : 0;
    default:
      return row[field];
  }
}

export function rowFrom(record: Record_): KeptRow {
  type Flags = Record<"isPlaced" | "isSaid", number>;
  const row = record as unknown as Omit<KeptRow, "tags" | keyof Flags> & Flags & { tags: string | null };
  return {
    ...row,
    md5: row.md5 ?? md5OfEtag(row.etag),
    tags: row.tags === null ? null : (JSON.parse(row.tags) as Record<string, string>),
    isPlaced: row.isPlaced === 1,
    isSaid: row.isSaid === 1,
  };
}

/** Whether two rows say the same, whenever they said it. */
function isEqual(a: KeptRow, b: KeptRow): boolean {
  const sorted = (fields: object) => Object.entries(fields).toSorted(([x], [y]) => (x < y ? -1 : 1));
  const said = ({ updatedAt: _, seq: __, tags, ...rest }: KeptRow) =>
    JSON.stringify([sorted(rest), tags === null ? null : sorted(tags)]);
  return said(a) === said(b);
}
