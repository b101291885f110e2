import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Revocations } from "../../workers/core/manifest/dataset.ts";
import { CLOCK_SKEW_SECONDS, PRESIGN_MAX_SECONDS, REVOCATIONS_MAX } from "../../workers/core/limits.ts";

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

  /** Revokes all that were minted so far; those revoked by name are among them. */
  revokeAll(nowSeconds: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO revoked_up_to (id, at) VALUES (1, ?)", nowSeconds);
    this.#sql.exec("DELETE FROM revoked");
  }

  get revocations(): Revocations {
    const ids = this.#sql.exec<{ jti: string }>("SELECT jti FROM revoked ORDER BY jti").toArray();
    const upTo = this.#sql.exec<{ at: number }>("SELECT at FROM revoked_up_to").toArray()[0]?.at ?? 0;
    return { ids: ids.map(({ jti }) => jti), upTo };
  }

  bury(keys: readonly string[], now: number): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO tombstone (key, at) SELECT value, ? FROM json_each(?)",
      now,
      JSON.stringify(keys),
    );
  }

  /** A key that was written after it was deleted is no longer gone; `rows` is JSON of rows with their time of upload. */
  unbury(rows: string): void {
    if (!this.hasTombstones) return;
    this.#sql.exec(
      `DELETE FROM tombstone WHERE EXISTS (SELECT 1 FROM json_each(?) AS written
         WHERE written.value ->> 'key' = tombstone.key AND written.value ->> 'uploadedAt' > tombstone.at)`,
      rows,
    );
  }

  isBuried(key: string): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone WHERE key = ?", key).toArray().length > 0;
  }

  get hasTombstones(): boolean {
    return this.#sql.exec("SELECT 1 FROM tombstone LIMIT 1").toArray().length > 0;
  }
}
