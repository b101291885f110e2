import { failure } from "../../workers/core/failure.ts";
import { NODES_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

/** A node as the job knows it. Times are milliseconds since 1970. */
export interface NodeRow {
  name: string;
  firstHeardAt: number;
  lastHeardAt: number;
  /** What it has acknowledged as done, the bytes that it says it read for that, and how long it had them in all. */
  done: number;
  bytes: number;
  busyMs: number;
}

/** The nodes of a job: a row each, since each is heard by itself. */
export class Nodes {
  readonly #sql: SqlStorage;
  /** Undefined: not known since an eviction. Each request asks for it, and there may be thousands of nodes. */
  #lastHeardAt: number | null | undefined;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS node (
      name TEXT PRIMARY KEY,
      first_heard_at INTEGER NOT NULL,
      last_heard_at INTEGER NOT NULL,
      done INTEGER NOT NULL DEFAULT 0,
      bytes INTEGER NOT NULL DEFAULT 0,
      busy_ms INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Notes that a node was heard, by whatever it asked. */
  hear(name: string, now: number): Result<null> {
    if (this.#lastHeardAt !== undefined) this.#lastHeardAt = Math.max(this.#lastHeardAt ?? now, now);
    const known = this.#sql.exec("UPDATE node SET last_heard_at = ? WHERE name = ? RETURNING name", now, name);
    if (known.toArray().length > 0) return ok(null);
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM node").one();
    if (n >= NODES_MAX) return fail(failure("invalid-body", `A job may have ${NODES_MAX} nodes.`, { field: "node" }));
    this.#sql.exec("INSERT INTO node (name, first_heard_at, last_heard_at) VALUES (?, ?, ?)", name, now, now);
    return ok(null);
  }

  /** Counts what a node has acknowledged as done. */
  credit(name: string, done: number, bytes: number, busyMs: number): void {
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
        `SELECT name, first_heard_at AS firstHeardAt, last_heard_at AS lastHeardAt, done, bytes, busy_ms AS busyMs
           FROM node ORDER BY name`,
      )
      .toArray();
  }
}
