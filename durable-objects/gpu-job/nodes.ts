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

/** The row of all whose own rows made room for others: no node has this name. */
const GONE = "";
/** What is counted on of a row that is folded. */
type Folded = Pick<NodeRow, "firstHeardAt" | "lastHeardAt" | "done" | "bytes" | "busyMs"> &
  Record<string, SqlStorageValue>;
const FOLDED = "first_heard_at AS firstHeardAt, last_heard_at AS lastHeardAt, done, bytes, busy_ms AS busyMs";

const TOO_MANY =
  `node: the job has ${NODES_MAX} nodes that are heard or hold units, and may have no more; let a machine that comes back ` +
  `keep its name, or wait until one has been silent for the job's heartbeatTimeoutSeconds.`;

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
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS nameless (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      heard_at INTEGER NOT NULL   -- milliseconds since 1970: when a node asked something, and did not say which it is
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#rates = new Rates(sql);
  }

  /**
   * Notes that a node was heard, by whatever it asked. Where the job has as many as it may, a new one takes the place of the one
   * that was silent longest, and has nothing out: what that did is counted on, under no name.
   *
   * @param silentSince who was heard last then, or before, is silent: milliseconds since 1970
   * @param said by a heartbeat: what it leaves out stays as it was; a loss of null says that there is none
   */
  hear(name: string, now: number, silentSince: number, said: Said = {}): Result<null> {
    if (this.#lastHeardAt !== undefined) this.#lastHeardAt = Math.max(this.#lastHeardAt ?? now, now);
    if (this.#heardAgain(name, now, said)) return ok(null);
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM node WHERE name <> ?", GONE).one();
    if (n >= NODES_MAX && !this.#foldOne(silentSince))
      return fail(failure("invalid-body", TOO_MANY, { field: "node" }));
    this.#sql.exec("INSERT INTO node (name, first_heard_at, last_heard_at) VALUES (?, ?, ?)", name, now, now);
    this.#heardAgain(name, now, said);
    return ok(null);
  }

  /**
   * Notes that some node was heard that did not say which it is.
   *
   * @param everyMs for which one word is as good as another: these cost a row then, and not with each request
   */
  hearNameless(now: number, everyMs: number): void {
    if (now < (this.lastHeardAt ?? -Infinity) + everyMs) return;
    this.#sql.exec("INSERT OR REPLACE INTO nameless (id, heard_at) VALUES (1, ?)", now);
    this.#lastHeardAt = now;
  }

  /** Makes room for a node; false: all are heard still, or hold units. */
  #foldOne(silentSince: number): boolean {
    const [gone] = this.#sql
      .exec<Folded & { name: string }>(
        `DELETE FROM node WHERE name = (
             SELECT name FROM node WHERE name <> ? AND last_heard_at <= ? AND name NOT IN (SELECT node FROM lease_grant)
             ORDER BY last_heard_at LIMIT 1)
           RETURNING ${FOLDED}`,
        GONE,
        silentSince,
      )
      .toArray();
    if (gone === undefined) return false;
    this.#sql.exec(
      `INSERT INTO node (name, first_heard_at, last_heard_at, done, bytes, busy_ms) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET first_heard_at = min(first_heard_at, excluded.first_heard_at),
           last_heard_at = max(last_heard_at, excluded.last_heard_at), done = done + excluded.done,
           bytes = bytes + excluded.bytes, busy_ms = busy_ms + excluded.busy_ms`,
      GONE,
      gone.firstHeardAt,
      gone.lastHeardAt,
      gone.done,
      gone.bytes,
      gone.busyMs,
    );
    return true;
  }

  /** What those did together whose rows were folded; null: none were. */
  get gone(): Folded | null {
    return this.#sql.exec<Folded>(`SELECT ${FOLDED} FROM node WHERE name = ?`, GONE).toArray()[0] ?? null;
  }

  /** Whether no other node was heard after that. */
  isAlone(name: string, silentSince: number): boolean {
    const others = this.#sql.exec(
      "SELECT 1 FROM node WHERE name NOT IN (?, ?) AND last_heard_at > ? LIMIT 1",
      name,
      GONE,
      silentSince,
    );
    return others.toArray().length === 0;
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
      .exec<{ at: number | null }>(
        "SELECT max(at) AS at FROM (SELECT max(last_heard_at) AS at FROM node UNION ALL SELECT heard_at FROM nameless)",
      )
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
           FROM node WHERE name <> ? ORDER BY name`,
        GONE,
      )
      .toArray();
  }
}
