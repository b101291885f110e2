import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Revocations } from "../../workers/core/manifest/dataset.ts";
import { CLOCK_SKEW_SECONDS, PRESIGN_MAX_SECONDS, REVOCATIONS_MAX } from "../../workers/core/limits.ts";
import { pack } from "../../workers/core/migration/pack.ts";

/** What the id of a job's capability begins with. */
const JOB_ID = "job-";

/** The part of a Dataset that says what may not be read: revoked capabilities, and keys that were deleted. */
export class Access {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = [
    `CREATE TABLE IF NOT EXISTS revoked (jti TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID`,
    `CREATE TABLE IF NOT EXISTS revoked_up_to (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL)`,
    // A key that is gone on purpose, though its source may still have it.
    `CREATE TABLE IF NOT EXISTS tombstone (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID`,
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

  bury(keys: readonly string[], now: number): void {
    // A bound value is at most 2 MB, and a thousand long keys are more than that with their escapes.
    for (const some of pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO tombstone (key, at) SELECT value, ? FROM json_each(?)",
        now,
        JSON.stringify(some),
      );
    }
  }

  /** A key that was written after it was deleted is no longer gone; `rows` is JSON of rows with their time of upload. */
  unbury(rows: string): void {
    if (!this.hasTombstones) return;
    // The rows lead (CROSS JOIN keeps the order), and each finds its tombstone by its key: there may be millions of them.
    this.#sql.exec(
      `DELETE FROM tombstone WHERE key IN (SELECT grave.key
         FROM json_each(?) AS written CROSS JOIN tombstone AS grave ON grave.key = written.value ->> 'key'
         WHERE written.value ->> 'uploadedAt' > grave.at)`,
      rows,
    );
  }

  isBuried(key: string): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone WHERE key = ?", key).toArray().length > 0;
  }

  /** Of these keys those that are gone on purpose, and since when (milliseconds since 1970). */
  buriedAt(keys: readonly string[]): { key: string; at: number }[] {
    if (!this.hasTombstones) return [];
    return pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#sql
        .exec<{ key: string; at: number }>(
          `SELECT grave.key, grave.at FROM json_each(?) AS asked CROSS JOIN tombstone AS grave ON grave.key = asked.value`,
          JSON.stringify(some),
        )
        .toArray(),
    );
  }

  get hasTombstones(): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone LIMIT 1").toArray().length > 0;
  }
}
