import type { AckOutcome, FailedUnit } from "../../workers/core/jobs/lease.ts";

/** How an attempt ended that did not settle its unit; `withdrawn`: it was taken back, through no fault of the node. */
export type Ending = "failed" | "released" | "expired" | "withdrawn";
/** Each as a letter in the table, whether it counts as a failure, and how an acknowledgement of it is answered. */
const ENDINGS: Readonly<Record<Ending, { letter: string; counts: 0 | 1; outcome: AckOutcome }>> = {
  failed: { letter: "f", counts: 1, outcome: "failed" },
  released: { letter: "r", counts: 0, outcome: "released" },
  expired: { letter: "x", counts: 1, outcome: "expired" },
  withdrawn: { letter: "w", counts: 0, outcome: "expired" },
};
const OUTCOMES = new Map(Object.values(ENDINGS).map(({ letter, outcome }) => [letter, outcome]));
/** Endings of one unit that are remembered, the last ones: so many attempts may be acknowledged again. */
const ENDINGS_MAX = 64;
/** Rows of epochs that are over which are kept, so that an acknowledgement repeated late is answered as it was. */
const ROWS_OF_BEFORE_MAX = 10_000;
/** Units given up that are reported with their reasons; beyond these only their number is known. */
const REPORTED_MAX = 100;
/** Waiting units that are looked through for one that the node did not fail itself. */
const LOOKED_THROUGH_MAX = 1000;

/** Bytes of positions that one statement binds stay far below SQLite's 2 MB of a value. */
const POSITIONS_AT_ONCE = 100_000;

interface Kept {
  attempt: number;
  place: "out" | "waiting" | "given-up";
  endings: string;
}

/**
 * What came back: a row for each position that was handed out and not settled by that at least once. Positions without one
 * went well, or are out for the first time.
 */
export class Returned {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS returned (
      epoch INTEGER NOT NULL,
      position INTEGER NOT NULL,
      attempt INTEGER NOT NULL,     -- how often it was handed out
      failures INTEGER NOT NULL,    -- of these, how often it failed or its lease ran out
      place TEXT NOT NULL,          -- 'out' (leased again, or done by that), 'waiting' or 'given-up'
      endings TEXT NOT NULL,        -- how its last attempts ended, but for the one that is out: a letter each
      failed_by TEXT,               -- the node that said last that it failed
      since INTEGER NOT NULL,       -- since when it waits
      PRIMARY KEY (epoch, position)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS returned_waiting ON returned (since, position) WHERE place = 'waiting';
    CREATE TABLE IF NOT EXISTS given_up (
      seq INTEGER PRIMARY KEY,
      epoch INTEGER NOT NULL,
      unit INTEGER NOT NULL,
      attempts INTEGER NOT NULL,
      node TEXT NOT NULL,
      reason TEXT NOT NULL
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Notes that a position came back from an attempt, and waits; returns how often it has failed. */
  comeBack(epoch: number, position: number, attempt: number, ending: Ending, node: string, now: number): number {
    const { letter, counts } = ENDINGS[ending];
    return this.#sql
      .exec<{ failures: number }>(
        `INSERT INTO returned (epoch, position, attempt, failures, place, endings, failed_by, since)
           VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, ?6, ?7)
           ON CONFLICT DO UPDATE SET failures = failures + ?4, place = 'waiting', endings = substr(endings || ?5, ?8),
             failed_by = ?6, since = ?7
           RETURNING failures`,
        epoch,
        position,
        attempt,
        counts,
        letter,
        ending === "failed" ? node : null,
        now,
        -ENDINGS_MAX,
      )
      .one().failures;
  }

  /** A position that came back is not handed out any more; the first such units are reported. */
  giveUp(epoch: number, position: number, report: { unit: number; node: string; reason: string }): void {
    const { attempts } = this.#sql
      .exec<{ attempts: number }>(
        "UPDATE returned SET place = 'given-up' WHERE epoch = ? AND position = ? RETURNING attempt AS attempts",
        epoch,
        position,
      )
      .one();
    this.#report({ ...report, epoch, attempts });
  }

  #report({ epoch, unit, attempts, node, reason }: FailedUnit): void {
    this.#sql.exec(
      `INSERT INTO given_up (epoch, unit, attempts, node, reason)
         SELECT ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM given_up) < ?`,
      epoch,
      unit,
      attempts,
      node,
      reason,
      REPORTED_MAX,
    );
  }

  /**
   * Takes up to `limit` waiting positions, those that wait longest first, each with the number of the attempt that begins.
   *
   * One that was never handed out leaves no row: it is like any other that is out for the first time.
   *
   * @param but none of those that the node said failed, but for what waits since `until` or longer (milliseconds since 1970): a
   *   node that can make nothing of any unit would take up all attempts of each, before another is asked. Null: any
   */
  take(
    epoch: number,
    limit: number,
    but: { node: string; until: number } | null,
  ): [position: number, attempt: number][] {
    const waiting = this.#sql
      .exec<{ position: number; attempt: number }>(
        `SELECT position, attempt FROM (
             SELECT position, attempt, failed_by, since FROM returned
             WHERE place = 'waiting' ORDER BY since, position LIMIT ?1 + ${LOOKED_THROUGH_MAX})
           WHERE ?2 IS NULL OR failed_by IS NOT ?2 OR since <= ?3 ORDER BY since, position LIMIT ?1`,
        limit,
        but?.node ?? null,
        but?.until ?? 0,
      )
      .toArray();
    if (waiting.length === 0) return [];
    const positions = JSON.stringify(waiting.map(({ position }) => position));
    this.#sql.exec(
      `DELETE FROM returned WHERE epoch = ? AND attempt = 0 AND position IN (SELECT value FROM json_each(?))`,
      epoch,
      positions,
    );
    this.#sql.exec(
      `UPDATE returned SET place = 'out', attempt = attempt + 1
         WHERE epoch = ? AND position IN (SELECT value FROM json_each(?))`,
      epoch,
      positions,
    );
    return waiting.map(({ position, attempt }) => [position, attempt + 1]);
  }

  /** Undoes a `take` of a position that nobody was told of. */
  untake(epoch: number, position: number, attempt: number): void {
    this.#sql.exec(
      `INSERT INTO returned (epoch, position, attempt, failures, place, endings, since) VALUES (?1, ?2, ?3, 0, 'waiting', '', 0)
         ON CONFLICT DO UPDATE SET attempt = ?3, place = 'waiting'`,
      epoch,
      position,
      attempt - 1,
    );
  }

  /** How an attempt of a position ended that is not out any more: as it was answered, however late it is asked again. */
  outcomeOf(epoch: number, position: number, attempt: number): AckOutcome {
    const [kept] = this.#sql
      .exec<Kept & Record<string, SqlStorageValue>>(
        "SELECT attempt, place, endings FROM returned WHERE epoch = ? AND position = ?",
        epoch,
        position,
      )
      .toArray();
    if (kept === undefined) return "done";
    const isLast = attempt === kept.attempt;
    if (isLast && kept.place !== "waiting") return kept.place === "out" ? "done" : "given-up";
    const ended = kept.attempt - (kept.place === "out" ? 1 : 0);
    return OUTCOMES.get(kept.endings.charAt(kept.endings.length - 1 - (ended - attempt))) ?? "expired";
  }

  /** Positions of an epoch that wait, or were given up; ascending. */
  positions(epoch: number, place: "waiting" | "given-up"): number[] {
    return this.#sql
      .exec<{ position: number }>(
        "SELECT position FROM returned WHERE epoch = ? AND place = ? ORDER BY position",
        epoch,
        place,
      )
      .toArray()
      .map(({ position }) => position);
  }

  /** How often positions that are not settled have failed so far, where they have. */
  failures(epoch: number, open: ReadonlySet<number>, limit: number): [position: number, failures: number][] {
    const told: [number, number][] = [];
    const rows = this.#sql.exec<{ position: number; failures: number }>(
      "SELECT position, failures FROM returned WHERE epoch = ? AND failures > 0 AND place <> 'given-up' ORDER BY position",
      epoch,
    );
    for (const { position, failures } of rows) {
      if (told.length < limit && open.has(position)) told.push([position, failures]);
    }
    return told;
  }

  /** Takes over what an earlier job left: positions that wait, and what of them has failed; and what it gave up. */
  takeOver(
    epoch: number,
    { open, givenUp, failures }: { open: number[]; givenUp: number[]; failures: [number, number][] },
    unitAt: (position: number) => number,
  ): void {
    for (const [place, positions] of [["waiting", open] as const, ["given-up", givenUp] as const]) {
      for (let from = 0; from < positions.length; from += POSITIONS_AT_ONCE) {
        this.#sql.exec(
          `INSERT INTO returned (epoch, position, attempt, failures, place, endings, since)
             SELECT ?, value, 0, 0, ?, '', 0 FROM json_each(?)`,
          epoch,
          place,
          JSON.stringify(positions.slice(from, from + POSITIONS_AT_ONCE)),
        );
      }
    }
    for (const [position, times] of failures) {
      this.#sql.exec(
        "UPDATE returned SET attempt = ?1, failures = ?1 WHERE epoch = ?2 AND position = ?3",
        times,
        epoch,
        position,
      );
    }
    const reason = "given up before the job was resumed";
    for (const position of givenUp.slice(0, REPORTED_MAX)) {
      this.#report({ epoch, unit: unitAt(position), attempts: 0, node: "", reason });
    }
  }

  /** Forgets what came back in epochs long over, where that is much; returns the first epoch of which it is known still. */
  forget(knownFrom: number, epoch: number): number {
    let from = knownFrom;
    while (from < epoch - 1) {
      const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM returned WHERE epoch < ?", epoch).one();
      if (n <= ROWS_OF_BEFORE_MAX) break;
      const { oldest } = this.#sql
        .exec<{ oldest: number }>("SELECT min(epoch) AS oldest FROM returned WHERE epoch < ?", epoch)
        .one();
      if (oldest >= epoch - 1) break;
      this.#sql.exec("DELETE FROM returned WHERE epoch = ?", oldest);
      from = oldest + 1;
    }
    return from;
  }

  /** The first units that were given up, of all epochs. */
  reported(): FailedUnit[] {
    return this.#sql
      .exec<FailedUnit & Record<string, SqlStorageValue>>(
        "SELECT unit, epoch, node, reason, attempts FROM given_up ORDER BY seq",
      )
      .toArray();
  }
}
