import type { Chore } from "./chores.ts";
import type { Rows } from "./rows.ts";

/** Milliseconds after which it is looked whether a full manifest has room again. */
const FULL_MS = 3_600_000;
/** Rows that are looked at in one step. */
const STEP_ROWS = 1000;

/**
 * Holds the rows that are there against rules that have changed, some at a time by key. Rows that are written meanwhile go
 * by the new rules at once; what the owner placed stays.
 */
export class Placing implements Chore {
  readonly name = "placing";
  readonly #storage: DurableObjectStorage;
  readonly #rows: Rows;
  readonly #isFull: () => boolean;

  constructor(storage: DurableObjectStorage, rows: Rows, isFull: () => boolean) {
    this.#storage = storage;
    this.#rows = rows;
    this.#isFull = isFull;
  }

  /** From the first key, also where it is under way. */
  begin(now: number): void {
    this.#storage.sql.exec("INSERT OR REPLACE INTO placing (id, after, due_at) VALUES (1, '', ?)", now);
  }

  get #state(): { after: string; dueAt: number } | null {
    const [state] = this.#storage.sql
      .exec<{ after: string; dueAt: number }>("SELECT after, due_at AS dueAt FROM placing")
      .toArray();
    return state ?? null;
  }

  /** After each step other chores that are due have their turn. */
  dueAt(): number | null {
    return this.#state?.dueAt ?? null;
  }

  async run(now: number): Promise<void> {
    // A row that changes may leave another behind for the last version.
    if (this.#isFull()) {
      this.#storage.sql.exec("UPDATE placing SET due_at = ?", now + FULL_MS);
      return;
    }
    this.#storage.transactionSync(() => {
      const { sql } = this.#storage;
      const seen = sql
        .exec<{ key: string; placed: number }>(
          "SELECT key, placed FROM object WHERE key > ? ORDER BY key LIMIT ?",
          this.#state?.after ?? "",
          STEP_ROWS,
        )
        .toArray();
      const free = seen.filter(({ placed }) => placed === 0).map(({ key }) => ({ key, place: null }));
      this.#rows.place(free, now);
      const last = seen.at(-1);
      if (last === undefined || seen.length < STEP_ROWS) sql.exec("DELETE FROM placing");
      else sql.exec("UPDATE placing SET after = ?, due_at = ?", last.key, now);
    });
  }
}
