import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Revocations } from "../../workers/core/manifest/dataset.ts";
import { CLOCK_SKEW_SECONDS, PRESIGN_MAX_SECONDS, REVOCATIONS_MAX } from "../../workers/core/limits.ts";
import { pack } from "../../workers/core/migration/pack.ts";

/** What the id of a job's capability begins with. */
const JOB_ID = "job-";

/** A key that is gone. */
interface Gone {
  key: string;
  /** Milliseconds since 1970. */
  at: number;
  isOnPurpose: boolean;
}

/** The part of a Dataset that says what may not be read: revoked capabilities, and keys that were deleted. */
export class Access {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = [
    `CREATE TABLE IF NOT EXISTS revoked (jti TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID`,
    `CREATE TABLE IF NOT EXISTS revoked_up_to (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL)`,
    // A key that is gone; seq is the dataset's at its end. purpose 1: deleted by us on purpose, though its source may still have
    // it; 0: found missing, and whoever finds it at the source may bring it back.
    `CREATE TABLE IF NOT EXISTS tombstone (
      key TEXT PRIMARY KEY,
      at INTEGER NOT NULL,
      seq INTEGER NOT NULL,
      purpose INTEGER NOT NULL
    ) WITHOUT ROWID`,
    `CREATE INDEX IF NOT EXISTS tombstone_seq ON tombstone (seq, at)`,
    `CREATE INDEX IF NOT EXISTS tombstone_purpose ON tombstone (purpose) WHERE purpose = 1`,
  ];

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Revokes one; it is kept until a capability of the longest life, minted now, has expired. */
  revoke(jti: string, nowSeconds: number): Failure | null {
    this.#sql.exec("DELETE FROM revoked WHERE until < ?", nowSeconds);
    const others = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM revoked WHERE jti <> ?", jti).one().n;
    if (others >= REVOCATIONS_MAX) {
      const detail = `${REVOCATIONS_MAX} capabilities of this dataset are revoked already; revoke all of them at once.`;
      return failure("too-many-revocations", detail);
    }
    const until = nowSeconds + PRESIGN_MAX_SECONDS + CLOCK_SKEW_SECONDS;
    this.#sql.exec("INSERT OR REPLACE INTO revoked (jti, until) VALUES (?, ?)", jti, until);
    return null;
  }

  /**
   * Revokes all that were minted so far. Whatever is minted after this begins after `upTo`, which may be a second ahead of
   * the clock, so that a second call in the same second revokes what was minted between the two. Ids need not
   * be kept beside, but those of jobs, whose capabilities this does not touch.
   */
  revokeAll(nowSeconds: number): void {
    this.#sql.exec(
      `INSERT INTO revoked_up_to (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = max(excluded.at, at + 1)`,
      nowSeconds,
    );
    this.#sql.exec("DELETE FROM revoked WHERE substr(jti, 1, ?) <> ?", JOB_ID.length, JOB_ID);
  }

  get revocations(): Revocations {
    const ids = this.#sql.exec<{ jti: string }>("SELECT jti FROM revoked ORDER BY jti").toArray();
    const upTo = this.#sql.exec<{ at: number }>("SELECT at FROM revoked_up_to").toArray()[0]?.at ?? 0;
    return { ids: ids.map(({ jti }) => jti), upTo };
  }

  bury(keys: readonly string[], now: number, seq: number, isOnPurpose: boolean): void {
    // A bound value is at most 2 MB, and a thousand long keys are more than that with their escapes.
    for (const some of pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO tombstone (key, at, seq, purpose) SELECT value, ?, ?, ? FROM json_each(?)",
        now,
        seq,
        isOnPurpose ? 1 : 0,
        JSON.stringify(some),
      );
    }
  }

  /** Keys that are there again. */
  unbury(keys: readonly string[]): void {
    if (this.oldestTombstoneAt === null) return;
    for (const some of pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec("DELETE FROM tombstone WHERE key IN (SELECT value FROM json_each(?))", JSON.stringify(some));
    }
  }

  /**
   * Forgets keys that were deleted then or before, of the `limit` that were deleted first; returns the last `seq` of them, or
   * null for none. In the order of `seq`, which is the order of time but for what a clock was set back.
   */
  forget(until: number, limit: number): number | null {
    const gone = this.#sql
      .exec<{ seq: number }>(
        `DELETE FROM tombstone WHERE key IN
             (SELECT key FROM (SELECT key, at FROM tombstone ORDER BY seq, at LIMIT ?) WHERE at <= ?) RETURNING seq`,
        limit,
        until,
      )
      .toArray();
    return gone.length === 0 ? null : Math.max(...gone.map(({ seq }) => seq));
  }

  /** When the first key was deleted that is not forgotten, milliseconds since 1970. */
  get oldestTombstoneAt(): number | null {
    return this.#sql.exec<{ at: number }>("SELECT at FROM tombstone ORDER BY seq, at LIMIT 1").toArray()[0]?.at ?? null;
  }

  /** Whether it was deleted on purpose. */
  isBuried(key: string): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone WHERE key = ? AND purpose = 1", key).toArray().length > 0;
  }

  /** Of these keys those that are gone: since when (milliseconds since 1970), and whether we deleted them. */
  gone(keys: readonly string[]): Gone[] {
    if (this.oldestTombstoneAt === null) return [];
    return pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#sql
        .exec<{ key: string; at: number; purpose: number }>(
          `SELECT grave.key, grave.at, grave.purpose
             FROM json_each(?) AS asked CROSS JOIN tombstone AS grave ON grave.key = asked.value`,
          JSON.stringify(some),
        )
        .toArray()
        .map(({ purpose, ...grave }) => ({ ...grave, isOnPurpose: purpose === 1 })),
    );
  }

  /** Of these keys those that were deleted on purpose, and when (milliseconds since 1970). */
  buriedAt(keys: readonly string[]): { key: string; at: number }[] {
    if (!this.hasBuried) return [];
    return this.gone(keys)
      .filter(({ isOnPurpose }) => isOnPurpose)
      .map(({ key, at }) => ({ key, at }));
  }

  /** Whether any key was deleted on purpose. */
  get hasBuried(): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone WHERE purpose = 1 LIMIT 1").toArray().length > 0;
  }
}
