import { FINISH_MAX_SECONDS } from "../../workers/core/limits.ts";

/**
 * Finishes that are under way: several nodes may finish a job at once, and one whose outputs are not all there must not
 * take the state from another whose are. One that was killed counts no more after a while.
 */
export class Finishes {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS finish (
      attempt INTEGER PRIMARY KEY AUTOINCREMENT,
      begun_at INTEGER NOT NULL     -- milliseconds since 1970
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Returns the attempt's number. */
  begin(now: number): number {
    this.#sql.exec("DELETE FROM finish WHERE begun_at <= ?", now - FINISH_MAX_SECONDS * 1000);
    return this.#sql.exec<{ attempt: number }>("INSERT INTO finish (begun_at) VALUES (?) RETURNING attempt", now).one()
      .attempt;
  }

  /** Whether an attempt is under way: one that took too long is not, and others have gone on since. */
  counts(attempt: number, now: number): boolean {
    const since = now - FINISH_MAX_SECONDS * 1000;
    return (
      this.#sql.exec("SELECT 1 FROM finish WHERE attempt = ? AND begun_at > ?", attempt, since).toArray().length > 0
    );
  }

  /** Whether no other attempt is under way. */
  isLast(attempt: number, now: number): boolean {
    const since = now - FINISH_MAX_SECONDS * 1000;
    return (
      this.#sql.exec("SELECT 1 FROM finish WHERE attempt <> ? AND begun_at > ? LIMIT 1", attempt, since).toArray()
        .length === 0
    );
  }

  /** Until when the youngest attempt counts, milliseconds since 1970; null: there is none. */
  get countsUntil(): number | null {
    const { at } = this.#sql.exec<{ at: number | null }>("SELECT max(begun_at) AS at FROM finish").one();
    return at === null ? null : at + FINISH_MAX_SECONDS * 1000;
  }

  end(attempt: number): void {
    this.#sql.exec("DELETE FROM finish WHERE attempt = ?", attempt);
  }
}
