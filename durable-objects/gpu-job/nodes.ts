import { failure } from "../../workers/core/failure.ts";
import type { Said } from "../../workers/core/jobs/series.ts";
import { NODES_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Rates } from "./rates.ts";

/** A node as the job knows it. Times are milliseconds since 1970. */
export interface NodeRow {
  name: string;
  firstHeardAt: number;
  lastHeardAt: number;
  /** What it has acknowledged as done, the bytes that it says it read for that, and how long it had them in all. */
  done: number;
  bytes: number;
  busyMs: number;
  /** What its latest heartbeats said, and when it last said something of its loss. */
  step: number | null;
  epoch: number | null;
  loss: number | null;
  lossAt: number | null;
}

/** The nodes of a job: a row each, since each is heard by itself. */
export class Nodes {
  readonly #sql: SqlStorage;
  readonly #rates: Rates;
  /** Undefined: not known since an eviction. Each request asks for it, and there may be thousands of nodes. */
  #lastHeardAt: number | null | undefined;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS node (
      name TEXT PRIMARY KEY,
      first_heard_at INTEGER NOT NULL,
      last_heard_at INTEGER NOT NULL,
      done INTEGER NOT NULL DEFAULT 0,
      bytes INTEGER NOT NULL DEFAULT 0,
      busy_ms INTEGER NOT NULL DEFAULT 0,
      step INTEGER,
      epoch INTEGER,
      loss REAL,
      loss_at INTEGER
    ) WITHOUT ROWID`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#rates = new Rates(sql);
  }

  /**
   * Notes that a node was heard, by whatever it asked.
   *
   * @param said by a heartbeat: what it leaves out stays as it was; a loss of null says that there is none
   */
  hear(name: string, now: number, said: Said = {}): Result<null> {
    if (this.#lastHeardAt !== undefined) this.#lastHeardAt = Math.max(this.#lastHeardAt ?? now, now);
    if (this.#heardAgain(name, now, said)) return ok(null);
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM node").one();
    if (n >= NODES_MAX) return fail(failure("invalid-body", `A job may have ${NODES_MAX} nodes.`, { field: "node" }));
    this.#sql.exec("INSERT INTO node (name, first_heard_at, last_heard_at) VALUES (?, ?, ?)", name, now, now);
    this.#heardAgain(name, now, said);
    return ok(null);
  }

  /** One row written, whatever it said: a job of 500 nodes hears some 17 of them a second. */
  #heardAgain(name: string, now: number, { step, epoch, loss }: Said): boolean {
    const lossAt = loss === undefined ? null : now;
    const known = this.#sql.exec(
      `UPDATE node SET last_heard_at = ?, step = coalesce(?, step), epoch = coalesce(?, epoch),
         loss = iif(? IS NULL, loss, ?), loss_at = coalesce(?, loss_at)
         WHERE name = ? RETURNING name`,
      now,
      step ?? null,
      epoch ?? null,
      lossAt,
      loss ?? null,
      lossAt,
      name,
    );
    return known.toArray().length > 0;
  }

  /** Counts what a node has acknowledged as done. */
  credit(name: string, done: number, bytes: number, busyMs: number, now: number = Date.now()): void {
    this.#rates.add(now, done, bytes);
    this.#sql.exec(
      "UPDATE node SET done = done + ?, bytes = bytes + ?, busy_ms = busy_ms + ? WHERE name = ?",
      done,
      bytes,
      busyMs,
      name,
    );
  }

  /** When any node was heard last; null: none was. */
  get lastHeardAt(): number | null {
    if (this.#lastHeardAt !== undefined) return this.#lastHeardAt;
    return (this.#lastHeardAt = this.#sql
      .exec<{ at: number | null }>("SELECT max(last_heard_at) AS at FROM node")
      .one().at);
  }

  /** A transaction was rolled back: what is known is what is kept. */
  forget(): void {
    this.#lastHeardAt = undefined;
  }

  list(): NodeRow[] {
    return this.#sql
      .exec<NodeRow & Record<string, SqlStorageValue>>(
        `SELECT name, first_heard_at AS firstHeardAt, last_heard_at AS lastHeardAt, done, bytes, busy_ms AS busyMs,
             step, epoch, loss, loss_at AS lossAt
           FROM node ORDER BY name`,
      )
      .toArray();
  }
}
