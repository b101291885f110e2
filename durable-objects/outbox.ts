import { SEND_BATCH_MAX_BYTES, SEND_BATCH_MAX_MESSAGES } from "../workers/core/limits.ts";
import type { Unsent } from "../workers/core/migration/message.ts";

/** Seconds after which a failed send is tried again. */
const RESEND_SECONDS = 5;

/**
 * Messages that an object has decided to send, kept until their work is settled.
 *
 * A row is written in the transaction that decides it, sent afterwards, and deleted only when the receiver says that
 * the work is done. So a send that fails, a message that the queue loses, and a consumer that is killed are one case:
 * the row falls due again after the silence threshold and is sent once more. Receivers are safe to run twice.
 *
 * `flush` marks rows as sent before it sends them. Two flushes may interleave at the awaited send; they then hold
 * different rows. If the object dies in between, the rows were not sent and fall due later: late, never lost.
 */
export class Outbox {
  readonly #sql: SqlStorage;
  readonly #queues: Readonly<Record<string, Queue>>;
  readonly #silenceSeconds: number;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS outbox (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      queue TEXT NOT NULL,
      body TEXT NOT NULL,
      due_at INTEGER,            -- milliseconds since 1970; NULL while held back
      sends INTEGER NOT NULL DEFAULT 0,
      tries INTEGER NOT NULL DEFAULT 0  -- failures in a row that its receiver reported
    );
    CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at)`;

  constructor(sql: SqlStorage, queues: Readonly<Record<string, Queue>>, silenceSeconds: number) {
    this.#sql = sql;
    this.#queues = queues;
    this.#silenceSeconds = silenceSeconds;
  }

  /** Adds a message that is due at `dueAt` (milliseconds; null: when released). Call inside a transaction. */
  add<T extends { seq: number }>(queue: string, message: Unsent<T>, dueAt: number | null): void {
    this.#sql.exec("INSERT INTO outbox (queue, body, due_at) VALUES (?, ?, ?)", queue, JSON.stringify(message), dueAt);
  }

  /** Whether the work of this message is still wanted. */
  isOpen(seq: number): boolean {
    return this.#sql.exec("SELECT 1 FROM outbox WHERE seq = ?", seq).toArray().length > 0;
  }

  /** Failures in a row; null when the message is settled. */
  triesOf(seq: number): number | null {
    return this.#sql.exec<{ tries: number }>("SELECT tries FROM outbox WHERE seq = ?", seq).toArray()[0]?.tries ?? null;
  }

  /** Takes the message off; returns how often it was sent, or null when it was settled before. */
  settle(seq: number): number | null {
    const row = this.#sql.exec<{ sends: number }>("DELETE FROM outbox WHERE seq = ? RETURNING sends", seq).toArray()[0];
    return row?.sends ?? null;
  }

  /** Has the message sent again at `dueAt`; `failures` of its receiver are counted. */
  postpone(seq: number, dueAt: number, failures: 0 | 1): void {
    this.#sql.exec("UPDATE outbox SET due_at = ?, tries = tries + ? WHERE seq = ?", dueAt, failures, seq);
  }

  /** Some of the message's work was done: failures count anew. */
  progress(seq: number): void {
    this.#sql.exec("UPDATE outbox SET tries = 0 WHERE seq = ? AND tries > 0", seq);
  }

  /** Lets go of what was held back. */
  release(now: number): void {
    this.#sql.exec("UPDATE outbox SET due_at = ? WHERE due_at IS NULL", now);
  }

  /** Takes off everything that is meant for this queue, but for messages of the type `keep`. */
  clear(queue: string, keep: string): void {
    this.#sql.exec("DELETE FROM outbox WHERE queue = ? AND body ->> '$.type' <> ?", queue, keep);
  }

  /** Whether at least `limit` messages are sent or due. */
  isFull(limit: number): boolean {
    const { n } = this.#sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM (SELECT 1 FROM outbox WHERE due_at >= 0 LIMIT ?)", limit)
      .one();
    return n >= limit;
  }

  get isEmpty(): boolean {
    return this.#sql.exec("SELECT 1 FROM outbox LIMIT 1").toArray().length === 0;
  }

  /** When the next message falls due, milliseconds since 1970. */
  get nextDueAt(): number | null {
    return this.#sql.exec<{ at: number | null }>("SELECT min(due_at) AS at FROM outbox").one().at;
  }

  /** Sends what is due. Never throws: what could not be sent is due again shortly. */
  async flush(now: number): Promise<void> {
    for (;;) {
      const rows = this.#sql
        .exec<{ seq: number; queue: string; body: string }>(
          "SELECT seq, queue, body FROM outbox WHERE due_at <= ? ORDER BY seq LIMIT ?",
          now,
          SEND_BATCH_MAX_MESSAGES,
        )
        .toArray();
      if (rows.length === 0) return;
      this.#mark(rows, now + this.#silenceSeconds * 1000, 1);
      for (const [queue, sendable] of groups(rows)) {
        if (await this.#trySend(queue, sendable)) continue;
        // One that the queue refuses must not keep its neighbours back.
        for (const row of sendable) {
          if (sendable.length > 1 && (await this.#trySend(queue, [row]))) continue;
          this.#mark([row], now + RESEND_SECONDS * 1000, -1);
        }
      }
    }
  }

  async #trySend(queue: string, rows: readonly { seq: number; body: string }[]): Promise<boolean> {
    try {
      await this.#queues[queue]?.sendBatch(
        rows.map(({ seq, body }) => ({ body: { ...(JSON.parse(body) as object), seq } })),
      );
      return true;
    } catch (error) {
      console.error(JSON.stringify({ message: "queue send failed", queue, rows: rows.length, error: String(error) }));
      return false;
    }
  }

  #mark(rows: readonly { seq: number }[], dueAt: number, sends: number): void {
    this.#sql.exec(
      "UPDATE outbox SET due_at = ?, sends = sends + ? WHERE seq IN (SELECT value FROM json_each(?))",
      dueAt,
      sends,
      JSON.stringify(rows.map((row) => row.seq)),
    );
  }
}

/** Cuts rows into groups that one `sendBatch` takes, each for one queue. */
function* groups<T extends { queue: string; body: string }>(rows: readonly T[]): Generator<[string, T[]]> {
  for (const [queue, ofQueue] of Map.groupBy(rows, (row) => row.queue)) {
    let group: T[] = [];
    let bytes = 0;
    for (const row of ofQueue) {
      // JSON of keys in other scripts is up to three bytes a UTF-16 unit.
      const size = new TextEncoder().encode(row.body).length + 64;
      if (group.length > 0 && bytes + size > SEND_BATCH_MAX_BYTES) {
        yield [queue, group];
        group = [];
        bytes = 0;
      }
      group.push(row);
      bytes += size;
    }
    yield [queue, group];
  }
}
