import { sha256 } from "@noble/hashes/sha2.js";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { Progress } from "../../workers/core/jobs/lease.ts";
import { createOrder, type Order, orderText } from "../../workers/core/jobs/order.ts";

/** How far the job is. It is read, changed and written back within one transaction. */
export interface Standing {
  epoch: number;
  /** The first position of the epoch that was never handed out. */
  next: number;
  /** Positions in nodes' hands; those that came back, and wait; those that were given up. */
  leased: number;
  waiting: number;
  givenUp: number;
  /** Grants so far: the number of the last one. */
  grants: number;
  /** Of earlier epochs than this it is no longer known what came back. */
  knownFrom: number;
  /** All epochs are over; the counts are the last one's. */
  isOver: boolean;
  /** When the epoch began, milliseconds since 1970. */
  startedAt: number;
}

type Row = Omit<Standing, "isOver"> & { isOver: number };

/**
 * Where a job is in its epochs, as one row, and a row for each epoch that is over. A unit that went as it should leaves no
 * row anywhere: it is done when it was handed out, and is neither out, nor waiting, nor given up.
 */
export class Epochs {
  readonly #sql: SqlStorage;
  #order: { epoch: number; order: Order } | null = null;
  #ticketKey: number[] | null = null;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS lease_standing (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      epoch INTEGER NOT NULL,
      next INTEGER NOT NULL,
      leased INTEGER NOT NULL DEFAULT 0,
      waiting INTEGER NOT NULL DEFAULT 0,
      given_up INTEGER NOT NULL DEFAULT 0,
      grants INTEGER NOT NULL DEFAULT 0,
      known_from INTEGER NOT NULL,
      is_over INTEGER NOT NULL DEFAULT 0,
      started_at INTEGER NOT NULL,
      ticket_key TEXT NOT NULL      -- what the checksums of tickets hang on: a JSON array of 32-bit words
    );
    CREATE TABLE IF NOT EXISTS epoch_over (
      epoch INTEGER PRIMARY KEY,
      done INTEGER NOT NULL,
      given_up INTEGER NOT NULL,
      started_at INTEGER NOT NULL,
      ended_at INTEGER NOT NULL
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Begins at an epoch. False: it was begun before. */
  begin(spec: JobSpec, epoch: number, next: number, ticketKey: readonly number[], now: number): boolean {
    const begun = this.#sql.exec(
      `INSERT OR IGNORE INTO lease_standing (id, epoch, next, known_from, is_over, started_at, ticket_key)
         VALUES (1, ?1, ?2, ?1, ?3, ?4, ?5) RETURNING id`,
      epoch,
      next,
      spec.unitList.count === 0 ? 1 : 0,
      now,
      JSON.stringify(ticketKey),
    );
    return begun.toArray().length > 0;
  }

  get standing(): Standing {
    const row = this.#sql
      .exec<Row & Record<string, SqlStorageValue>>(
        `SELECT epoch, next, leased, waiting, given_up AS givenUp, grants, known_from AS knownFrom, is_over AS isOver,
           started_at AS startedAt FROM lease_standing`,
      )
      .one();
    return { ...row, isOver: row.isOver === 1 };
  }

  save({ epoch, next, leased, waiting, givenUp, grants, knownFrom, isOver, startedAt }: Standing): void {
    this.#sql.exec(
      `UPDATE lease_standing SET epoch = ?, next = ?, leased = ?, waiting = ?, given_up = ?, grants = ?, known_from = ?,
         is_over = ?, started_at = ?`,
      epoch,
      next,
      leased,
      waiting,
      givenUp,
      grants,
      knownFrom,
      isOver ? 1 : 0,
      startedAt,
    );
  }

  /** Ends the epoch where all of its units are settled, and begins the next; returns whether it did. */
  turn(at: Standing, { unitList, units }: JobSpec, now: number): boolean {
    if (at.isOver || at.next < unitList.count || at.leased > 0 || at.waiting > 0) return false;
    this.#sql.exec(
      "INSERT INTO epoch_over (epoch, done, given_up, started_at, ended_at) VALUES (?, ?, ?, ?, ?)",
      at.epoch,
      unitList.count - at.givenUp,
      at.givenUp,
      at.startedAt,
      now,
    );
    if (at.epoch + 1 >= units.epochs) at.isOver = true;
    else {
      at.epoch += 1;
      at.next = 0;
      at.givenUp = 0;
      at.startedAt = now;
    }
    return true;
  }

  /** The progress of an epoch: the present one's, or as an earlier one ended; of those before a resumed job began, all is done. */
  progressOf(epoch: number, at: Standing, { unitList: { count: units } }: JobSpec): Progress {
    if (epoch >= at.epoch) {
      const done = at.next - at.leased - at.waiting - at.givenUp;
      const waiting = units - done - at.leased - at.givenUp;
      return { units, done, leased: at.leased, waiting, failed: at.givenUp };
    }
    const [ended] = this.#sql
      .exec<{ done: number; failed: number }>("SELECT done, given_up AS failed FROM epoch_over WHERE epoch = ?", epoch)
      .toArray();
    return { units, done: ended?.done ?? units, leased: 0, waiting: 0, failed: ended?.failed ?? 0 };
  }

  /** The order of an epoch: no state of its own. */
  orderOf(epoch: number, { units: { seed, shuffle }, unitList }: JobSpec): Order {
    if (this.#order?.epoch === epoch) return this.#order.order;
    // Synchronous, for an epoch may begin within a transaction: WebCrypto would answer after it.
    const digest = sha256(new TextEncoder().encode(orderText(seed, epoch, unitList.digest)));
    const view = new DataView(digest.buffer, digest.byteOffset, digest.byteLength);
    const words = Array.from({ length: 8 }, (_, index) => view.getUint32(4 * index));
    const order = createOrder(unitList.count, words, shuffle);
    this.#order = { epoch, order };
    return order;
  }

  get ticketKey(): readonly number[] {
    if (this.#ticketKey !== null) return this.#ticketKey;
    const { key } = this.#sql.exec<{ key: string }>("SELECT ticket_key AS key FROM lease_standing").one();
    return (this.#ticketKey = JSON.parse(key) as number[]);
  }
}
