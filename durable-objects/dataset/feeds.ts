import type { Row } from "../../workers/core/manifest/row.ts";
import type { Access } from "./access.ts";
import type { Observation, Question, Rows } from "./rows.ts";

/** That something happened at a key: what it has now, or null for a deletion and where that is not said. */
export interface Hint {
  key: string;
  etag: string | null;
}

/** Why R2 was asked. */
export interface Asked {
  /** Because of its notifications. */
  isNotified?: boolean;
  /** Because we have deleted what was at the keys: where nothing is, that is on purpose. */
  isOnPurpose?: boolean;
}

/** What became of answers. `questions` are still to be asked: of keys at which something else has happened meanwhile. */
export interface Answered {
  added: number;
  changed: number;
  removed: number;
  questions: Question[];
}

/** What R2's notifications came to, since the dataset was registered. */
export interface FeedCounts {
  /** Of what the manifest knew already. */
  echoes: number;
  /** Keys that R2 was asked about. */
  asked: number;
  /** Rows that were written, and taken out, by what R2 said. */
  written: number;
  removed: number;
}

/**
 * How the manifest learns what happened in R2. Nobody who tells it knows an order: rows of copies, notifications and
 * listings come late, twice and shuffled, and clocks differ. So what is told is a hint. One that does not agree
 * with the row is a question to R2 with a generation of its own, and the answer counts only while no later hint has come: an
 * answer is then never older than the last hint, and the last hint comes after the last change. Whoever calls is in a
 * transaction.
 */
export class Feeds {
  readonly #sql: SqlStorage;
  readonly #rows: Rows;
  readonly #access: Access;

  static readonly SCHEMA = [
    `CREATE TABLE IF NOT EXISTS feed (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      echoes INTEGER NOT NULL DEFAULT 0,
      asked INTEGER NOT NULL DEFAULT 0,
      written INTEGER NOT NULL DEFAULT 0,
      removed INTEGER NOT NULL DEFAULT 0
    )`,
    `INSERT OR IGNORE INTO feed (id) VALUES (1)`,
  ];

  constructor(sql: SqlStorage, rows: Rows, access: Access) {
    this.#sql = sql;
    this.#rows = rows;
    this.#access = access;
  }

  get counts(): FeedCounts {
    return this.#sql
      .exec<Record<string, SqlStorageValue> & FeedCounts>("SELECT echoes, asked, written, removed FROM feed")
      .one();
  }

  /**
   * Writes rows of what was put, but for keys with another object, with a tombstone, or being asked about: nobody here can
   * tell which was later.
   */
  apply(rows: readonly Row[], now: number): { written: number; questions: Question[] } {
    const keys = [...new Set(rows.map(({ key }) => key))];
    const known = this.#rows.mapOf(rows);
    const doubtful = new Set([...this.#rows.askedOf(keys), ...this.#access.gone(keys).map(({ key }) => key)]);
    const certain = new Map<string, Row>();
    for (const row of rows) {
      const present = certain.get(row.key) ?? known.get(row.key);
      if (present !== undefined && present.etag !== row.etag) doubtful.add(row.key);
      certain.set(row.key, row);
    }
    const sure = [...certain.values()].filter(({ key }) => !doubtful.has(key));
    return { written: this.#rows.write(sure, now, known), questions: this.#rows.ask([...doubtful]) };
  }

  /** Asks about whatever is not known. Each batch of notifications is one row written, to count it. */
  hint(hints: readonly Hint[], isNotified: boolean): { echoes: number; questions: Question[] } {
    const keys = [...new Set(hints.map(({ key }) => key))];
    const known = this.#rows.mapOf(hints);
    // While R2 is being asked, its answer may be of before this hint: even the row's own ETag is then asked about.
    const asked = this.#rows.askedOf(keys);
    const isEcho = ({ key, etag }: Hint) => etag !== null && known.get(key)?.etag === etag && !asked.has(key);
    const others = new Set(hints.filter((each) => !isEcho(each)).map(({ key }) => key));
    const echoes = keys.length - others.size;
    if (isNotified) this.#sql.exec("UPDATE feed SET echoes = echoes + ?, asked = asked + ?", echoes, others.size);
    return { echoes, questions: this.#rows.ask([...others]) };
  }

  /** Takes what R2 had. */
  answer(answers: readonly Observation[], now: number, { isNotified = false, isOnPurpose = false }: Asked): Answered {
    const good = this.#rows.answer(answers);
    const there = good.flatMap(({ row }) => row ?? []);
    const gone = good.filter(({ row }) => row === null).map(({ key }) => key);
    const known = this.#rows.mapOf(good);
    const written = this.#rows.writeSeen(there, now, known);
    const added = there.filter(({ key }) => !known.has(key)).length;
    this.#access.unbury(there.map(({ key }) => key));
    const removed = gone.filter((key) => known.has(key));
    if (removed.length > 0) this.#rows.remove(removed);
    // What was known as deleted stays deleted since then; on purpose also where somebody has found it missing first.
    const graves = new Map(this.#access.gone(gone).map((grave) => [grave.key, grave.isOnPurpose]));
    const hidden = new Set(
      good.filter(({ key, isHidden }) => isHidden === true && !known.has(key)).map(({ key }) => key),
    );
    const fresh = gone.filter(
      (key) => !hidden.has(key) && (!graves.has(key) || (isOnPurpose && graves.get(key) === false)),
    );
    if (fresh.length > 0) this.#access.bury(fresh, now, this.#rows.bump(), isOnPurpose);
    if (isNotified && written + removed.length > 0) {
      this.#sql.exec("UPDATE feed SET written = written + ?, removed = removed + ?", written, removed.length);
    }
    const last = new Set(good.map(({ key }) => key));
    const stale = answers.filter(({ key }) => !last.has(key)).map(({ key }) => key);
    return { added, changed: written - added, removed: removed.length, questions: this.#rows.askAgain(stale) };
  }
}
