import { SEND_BATCH_MAX_BYTES, SEND_BATCH_MAX_MESSAGES } from "../workers/core/limits.ts";

/** Seconds after which a failed send is tried again. */
const RESEND_SECONDS = 5;

/** Tries of a message that was put off once, above which its sends are counted that were before: more than any has. */
const PUT_OFF = 1_000_000;

interface Sendable {
  seq: number;
  queue: string;
  body: string;
}

/**
 * Messages that an object has decided to send, kept until their work is settled.
 *
 * A row is written in the transaction that decides it, sent afterwards, and deleted only when the receiver says that
 * the work is done. So a send that fails, a message that the queue loses, and a consumer that is killed are one case:
 * the row falls due again after the silence threshold and is sent once more. Receivers are safe to run twice.
 *
 * What is due at once is written as sent, and is sent by the `flush` that follows the transaction: a row is billed each
 * time it is written. If the object dies in between, the row falls due later: late, never lost. There is no index by time
 * for the same reason; who adds keeps the number of rows small.
 */
export class Outbox {
  readonly #sql: SqlStorage;
  readonly #queues: Readonly<Record<string, Queue>>;
  readonly #silenceMs: number;
  /** Written as sent, and not sent yet. */
  #fresh: Sendable[] = [];

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS outbox (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      queue TEXT NOT NULL,
      type TEXT NOT NULL,
      due_at INTEGER,            -- milliseconds since 1970; NULL while held back
      sends INTEGER NOT NULL DEFAULT 0,
      tries INTEGER NOT NULL DEFAULT 0,  -- failures in a row that its receiver reported
      body TEXT NOT NULL
    )`;

  constructor(sql: SqlStorage, queues: Readonly<Record<string, Queue>>, silenceSeconds: number) {
    this.#sql = sql;
    this.#queues = queues;
    this.#silenceMs = silenceSeconds * 1000;
  }

  /**
   * Adds a message that is due at `dueAt` (milliseconds; null: when released); returns its `seq`. Call inside a
   * transaction, and `flush` after it, or `discard` where it was rolled back.
   */
  add(queue: string, message: { type: string }, dueAt: number | null, now: number): number {
    const body = JSON.stringify(message);
    const isDue = dueAt !== null && dueAt <= now;
    const seq = this.#insert(queue, message.type, body, isDue ? now + this.#silenceMs : dueAt, isDue ? 1 : 0);
    if (isDue) this.#fresh.push({ seq, queue, body });
    return seq;
  }

  /** Adds a message that is not sent: its work is under way where it was asked for. If that stays silent, it is sent. */
  addUnderWay(queue: string, message: { type: string }, now: number): number {
    return this.#insert(queue, message.type, JSON.stringify(message), now + this.#silenceMs, 0);
  }

  #insert(queue: string, type: string, body: string, dueAt: number | null, sends: number): number {
    return this.#sql
      .exec<{ seq: number }>(
        "INSERT INTO outbox (queue, type, due_at, sends, body) VALUES (?, ?, ?, ?, ?) RETURNING seq",
        queue,
        type,
        dueAt,
        sends,
        body,
      )
      .one().seq;
  }

  /** Forgets what was added in a transaction that was rolled back. */
  discard(): void {
    this.#fresh = [];
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
    this.#fresh = this.#fresh.filter((fresh) => fresh.seq !== seq);
    return row?.sends ?? null;
  }

  /** Has the message sent again at `dueAt`; `failures` of its receiver are counted. */
  postpone(seq: number, dueAt: number, failures: 0 | 1): void {
    this.#sql.exec("UPDATE outbox SET due_at = ?, tries = tries + ? WHERE seq = ?", dueAt, failures, seq);
  }

  /**
   * Has the message sent again at `dueAt`, once. False: it was sent again since; until then what comes of it are deliveries
   * of before.
   */
  putOffOnce(seq: number, dueAt: number): boolean {
    const put = this.#sql.exec(
      `UPDATE outbox SET due_at = iif(tries < ?2, ?1, due_at), tries = ?2 + sends
         WHERE seq = ?3 AND (tries < ?2 OR tries = ?2 + sends) RETURNING seq`,
      dueAt,
      PUT_OFF,
      seq,
    );
    return put.toArray().length > 0;
  }

  /** Some of the message's work was done: failures count anew. */
  progress(seq: number): void {
    this.#sql.exec("UPDATE outbox SET tries = 0 WHERE seq = ? AND tries > 0", seq);
  }

  /** Lets go of what was held back; of these types only where some are named. */
  release(now: number, types?: readonly string[]): void {
    this.#sql.exec(
      "UPDATE outbox SET due_at = ?1 WHERE due_at IS NULL AND (?2 IS NULL OR type IN (SELECT value FROM json_each(?2)))",
      now,
      types === undefined ? null : JSON.stringify(types),
    );
  }

  /** Holds everything back that is meant for this queue, but for messages of the type `keep`. */
  hold(queue: string, keep: string): void {
    const unsent = this.#fresh.filter((fresh) => fresh.queue === queue).map(({ seq }) => seq);
    this.#fresh = this.#fresh.filter((fresh) => fresh.queue !== queue);
    this.#sql.exec(
      `UPDATE outbox SET due_at = iif(type = ?2, 0, NULL),
         sends = sends - (seq IN (SELECT value FROM json_each(?3)))
         WHERE queue = ?1 AND ((type <> ?2 AND due_at IS NOT NULL) OR seq IN (SELECT value FROM json_each(?3)))`,
      queue,
      keep,
      JSON.stringify(unsent),
    );
  }

  /** What is held back and was sent before may be with a consumer still: it is sent again if that stays silent. */
  awaitHeld(now: number): void {
    this.#sql.exec("UPDATE outbox SET due_at = ? WHERE due_at IS NULL AND sends > 0", now + this.#silenceMs);
  }

  /** Takes off what is meant for this queue, was never sent, and is of none of the types `keep`. */
  clearUnsent(queue: string, keep: readonly string[]): void {
    this.#sql.exec(
      "DELETE FROM outbox WHERE queue = ? AND sends = 0 AND type NOT IN (SELECT value FROM json_each(?))",
      queue,
      JSON.stringify(keep),
    );
  }

  /** Whether at least `limit` messages are unsettled, of those that are not held back. */
  isFull(limit: number): boolean {
    const { n } = this.#sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM (SELECT 1 FROM outbox WHERE due_at >= 0 LIMIT ?)", limit)
      .one();
    return n >= limit;
  }

  /** The messages of these types, as they were added. */
  ofTypes(types: readonly string[]): { seq: number; body: string }[] {
    return this.#sql
      .exec<{ seq: number; body: string }>(
        "SELECT seq, body FROM outbox WHERE type IN (SELECT value FROM json_each(?)) ORDER BY seq",
        JSON.stringify(types),
      )
      .toArray();
  }

  has(types: readonly string[]): boolean {
    return (
      this.#sql
        .exec("SELECT 1 FROM outbox WHERE type IN (SELECT value FROM json_each(?)) LIMIT 1", JSON.stringify(types))
        .toArray().length > 0
    );
  }

  /** Whether a message waits that has this `hold`. */
  hasHold(hold: string): boolean {
    return this.#sql.exec("SELECT 1 FROM outbox WHERE body ->> '$.hold' = ? LIMIT 1", hold).toArray().length > 0;
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
    const fresh = this.#fresh;
    this.#fresh = [];
    await this.#send(fresh, now);
    for (;;) {
      const rows = this.#sql
        .exec<{ seq: number; queue: string; body: string }>(
          "SELECT seq, queue, body FROM outbox WHERE due_at <= ? ORDER BY seq LIMIT ?",
          now,
          SEND_BATCH_MAX_MESSAGES,
        )
        .toArray();
      if (rows.length === 0) return;
      // Marked before they are sent: two flushes may interleave at the awaited send, and then hold different rows.
      this.#mark(rows, now + this.#silenceMs, 1);
      await this.#send(rows, now);
    }
  }

  async #send(rows: readonly Sendable[], now: number): Promise<void> {
    for (const [queue, sendable] of groups(rows)) {
      if (await this.#trySend(queue, sendable)) continue;
      // One that the queue refuses must not keep its neighbours back.
      for (const row of sendable) {
        if (sendable.length > 1 && (await this.#trySend(queue, [row]))) continue;
        this.#mark([row], now + RESEND_SECONDS * 1000, -1);
      }
    }
  }

  async #trySend(queue: string, rows: readonly Sendable[]): Promise<boolean> {
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

  /** What was held back while it was being sent stays held back. */
  #mark(rows: readonly { seq: number }[], dueAt: number, sends: number): void {
    this.#sql.exec(
      "UPDATE outbox SET due_at = iif(due_at IS NULL, NULL, ?), sends = sends + ? WHERE seq IN (SELECT value FROM json_each(?))",
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
      if (group.length > 0 && (bytes + size > SEND_BATCH_MAX_BYTES || group.length >= SEND_BATCH_MAX_MESSAGES)) {
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
