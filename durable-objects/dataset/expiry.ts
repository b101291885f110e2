import { TOMBSTONE_MIN_DAYS } from "../../workers/core/limits.ts";
import type { Access } from "./access.ts";
import type { Chore } from "./chores.ts";

/** Tombstones that are forgotten in one turn of the object. */
const FORGOTTEN_AT_ONCE = 1000;
const DAY_MS = 86_400_000;

/**
 * Forgets keys that were deleted so long ago that no message of before can come any more. Which changes are not known from
 * then on is kept in `head.forgotten`: who asks for what changed since an earlier `seq` is told so.
 */
export class TombstoneExpiry implements Chore {
  readonly name = "tombstones";
  readonly #sql: SqlStorage;
  readonly #access: Access;
  readonly #lifeMs: number;

  constructor(sql: SqlStorage, access: Access, days: number) {
    this.#sql = sql;
    this.#access = access;
    this.#lifeMs = Math.max(TOMBSTONE_MIN_DAYS, days) * DAY_MS;
  }

  dueAt(): number | null {
    const at = this.#access.oldestTombstoneAt;
    return at === null ? null : at + this.#lifeMs;
  }

  async run(now: number): Promise<void> {
    const seq = this.#access.forget(now - this.#lifeMs, FORGOTTEN_AT_ONCE);
    if (seq !== null) this.#sql.exec("UPDATE head SET forgotten = max(forgotten, ?)", seq);
  }
}
