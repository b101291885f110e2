import { removeUnits } from "../../workers/adapters/unit-lists.ts";

/** Seconds between two tries, at most: nobody waits for it. */
const WAIT_MAX_SECONDS = 3600;

/**
 * The list of a job's units in the bucket SYSTEM, which nobody reads after the job's end. That the job has ended says that it is to
 * go; what is kept here is that it is gone, or when to try again. Deleting it is safe to do twice.
 */
export class UnitList {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS unit_list (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      tries INTEGER NOT NULL DEFAULT 0,
      due_at INTEGER                -- milliseconds since 1970; null: it is gone
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** When to delete it, milliseconds since 1970; null: not now, or it is gone. */
  dueAt(endedAt: number | null): number | null {
    if (endedAt === null) return null;
    const [kept] = this.#sql.exec<{ dueAt: number | null }>("SELECT due_at AS dueAt FROM unit_list").toArray();
    return kept === undefined ? endedAt : kept.dueAt;
  }

  /** Deletes it, if that is due. Never throws: what failed is due again later. */
  async clean(env: Env, jobId: string, endedAt: number | null, now: number): Promise<void> {
    const dueAt = this.dueAt(endedAt);
    if (dueAt === null || dueAt > now) return;
    const removed = await removeUnits(env, jobId);
    if (removed.ok) {
      this.#sql.exec("INSERT INTO unit_list (id) VALUES (1) ON CONFLICT DO UPDATE SET due_at = NULL");
      return;
    }
    const { code, detail } = removed.failure;
    console.error(JSON.stringify({ message: "unit list not deleted", job: jobId, code, detail }));
    const { tries } = this.#sql
      .exec<{ tries: number }>(
        `INSERT INTO unit_list (id, tries, due_at) VALUES (1, 1, ?1)
           ON CONFLICT DO UPDATE SET tries = tries + 1, due_at = ?1 RETURNING tries`,
        now,
      )
      .one();
    const seconds = Math.min(WAIT_MAX_SECONDS, 2 ** tries);
    this.#sql.exec("UPDATE unit_list SET due_at = ?", now + seconds * 1000);
  }
}
