import { failure } from "../../workers/core/failure.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

export interface Checkpoint {
  name: string;
  /** Milliseconds since 1970; null: it is not committed. */
  committedAt: number | null;
}

/** A checkpoint as it is listed. */
export interface CheckpointSummary {
  name: string;
  committedAt: number;
  outputs: number;
  bytes: number;
}

/**
 * Groups of outputs that become visible at once: the one with the highest number is the latest, which is the one that was
 * committed last; of those that one finish commits, the one that was begun last. A name is used once in a
 * job, also when its checkpoint is deleted. Whoever calls is in a transaction.
 */
export class Checkpoints {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS checkpoint (
      name TEXT PRIMARY KEY,
      begun INTEGER NOT NULL,     -- in the order in which they were begun
      number INTEGER,             -- in the order in which they were committed; NULL: not yet
      committed_at INTEGER,       -- milliseconds since 1970
      retired INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Has a name take outputs; several nodes may each announce theirs, until it is committed. */
  begin(name: string): Result<null> {
    const present = this.#sql.exec<{ number: number | null }>("SELECT number FROM checkpoint WHERE name = ?", name);
    const [checkpoint] = present.toArray();
    if (checkpoint === undefined) this.#insert(name);
    else if (checkpoint.number !== null) {
      const detail = `The checkpoint "${name}" is committed; choose another name.`;
      return fail(failure("output-taken", detail, { field: "checkpoint" }));
    }
    return ok(null);
  }

  #insert(name: string): void {
    const next = "(SELECT coalesce(max(begun), 0) + 1 FROM checkpoint)";
    this.#sql.exec(`INSERT INTO checkpoint (name, begun) VALUES (?, ${next})`, name);
  }

  /** These names, in the order in which they were begun. */
  inOrder(names: readonly string[]): string[] {
    return this.#sql
      .exec<{ name: string }>(
        "SELECT name FROM checkpoint WHERE name IN (SELECT value FROM json_each(?)) ORDER BY begun",
        JSON.stringify(names),
      )
      .toArray()
      .map(({ name }) => name);
  }

  /** One that is not retired, committed or not. */
  find(name: string): Result<Checkpoint> {
    const [found] = this.#sql
      .exec<Checkpoint & Record<string, SqlStorageValue>>(
        "SELECT name, committed_at AS committedAt FROM checkpoint WHERE name = ? AND retired = 0",
        name,
      )
      .toArray();
    return found === undefined ? unknown(`The job has no checkpoint "${name}".`) : ok(found);
  }

  /** The one that was committed last. */
  latest(): Result<Checkpoint> {
    const [found] = this.list(1);
    return found === undefined ? unknown("The job has committed no checkpoint.") : ok(found);
  }

  /** Those that are committed and stay, newest first. */
  list(limit = -1): CheckpointSummary[] {
    return this.#sql
      .exec<CheckpointSummary & Record<string, SqlStorageValue>>(
        `SELECT c.name, c.committed_at AS committedAt, count(o.key) AS outputs, coalesce(sum(o.size), 0) AS bytes
           FROM (SELECT * FROM checkpoint WHERE number IS NOT NULL AND retired = 0 ORDER BY number DESC LIMIT ?) AS c
           LEFT JOIN output AS o ON o.checkpoint = c.name
           GROUP BY c.name ORDER BY c.number DESC`,
        limit,
      )
      .toArray();
  }

  /** Commits one, and retires those that are more than `keep` (null: none is); returns the names of these. */
  commit(name: string, keep: number | null, now: number): string[] {
    this.#sql.exec(
      `UPDATE checkpoint SET committed_at = ?, number = (SELECT coalesce(max(number), 0) + 1 FROM checkpoint)
         WHERE name = ? AND number IS NULL`,
      now,
      name,
    );
    if (keep === null) return [];
    return this.#sql
      .exec<{ name: string }>(
        `UPDATE checkpoint SET retired = 1 WHERE retired = 0 AND number <= (
           SELECT number FROM checkpoint WHERE number IS NOT NULL AND retired = 0
             ORDER BY number DESC LIMIT 1 OFFSET ?)
           RETURNING name`,
        keep,
      )
      .toArray()
      .map((retired) => retired.name);
  }

  /** Gives up one that is not committed: its name may be used again. */
  forget(name: string): void {
    this.#sql.exec("DELETE FROM checkpoint WHERE name = ? AND number IS NULL", name);
  }
}

const unknown = (detail: string): Result<never> =>
  fail(failure("unknown-checkpoint", `${detail} GET /v1/jobs/:id/checkpoints lists those there are.`));
