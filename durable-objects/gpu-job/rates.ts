import {
  type Acknowledged,
  type Rate,
  RATE_SLOT_MS,
  RATE_SLOTS,
  rateOf,
  rateSpan,
} from "../../workers/core/jobs/pace.ts";

/** The slots that a rate is taken from, and the one that is not over. */
const PLACES = RATE_SLOTS + 1;

/** What was acknowledged in the last minutes: a ring of slots of time, each a row that is used again. */
export class Rates {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS rate (
      place INTEGER PRIMARY KEY,  -- in the ring
      slot INTEGER NOT NULL,      -- of time
      units INTEGER NOT NULL,
      bytes INTEGER NOT NULL
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Counts what was acknowledged now. */
  add(now: number, units: number, bytes: number): void {
    const slot = Math.floor(now / RATE_SLOT_MS);
    this.#sql.exec(
      `INSERT INTO rate (place, slot, units, bytes) VALUES (?, ?, ?, ?)
         ON CONFLICT (place) DO UPDATE SET
           units = excluded.units + iif(slot = excluded.slot, units, 0),
           bytes = excluded.bytes + iif(slot = excluded.slot, bytes, 0),
           slot = excluded.slot`,
      slot % PLACES,
      slot,
      units,
      bytes,
    );
  }

  /** The rate of the last minutes. */
  at(now: number, firstHeardAt: number): Rate {
    const { from, until, seconds } = rateSpan(now, firstHeardAt);
    const done = this.#sql
      .exec<Acknowledged & Record<string, SqlStorageValue>>(
        // Nodes say their bytes as they like: SQLite's sum() of whole numbers fails where it overflows.
        `SELECT total(units) AS units, total(bytes) AS bytes FROM rate
           WHERE slot >= ? AND slot < ?`,
        from,
        until,
      )
      .one();
    return rateOf(done, seconds);
  }
}
