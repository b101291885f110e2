import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { generationOf } from "../../workers/core/jobs/output-mark.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";

/** Items of one run: seven requests each, at most, are within an invocation's 10,000. */
const AT_ONCE = 1000;
/** Milliseconds for which an item that is being done is nobody else's: as long as an alarm may live. */
const CLAIM_MS = 900_000;
/** Seconds between two tries, at most: nobody waits for it. */
const WAIT_MAX_SECONDS = 3600;

interface Item {
  seq: number;
  key: string;
  uploadId: string | null;
  generation: number | null;
  tries: number;
}

/**
 * What R2 has to be rid of: uploads that were never committed, and what was put for an output that was given up. An item
 * is written in the transaction that decides it, done after that, and stays until R2 has said that it is done: after a
 * silence, or with growing delays after a failure, it is done again. Each is safe to do twice.
 */
export class Cleanup {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS cleanup (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      key TEXT NOT NULL,
      upload_id TEXT,               -- to be aborted
      generation INTEGER,           -- what was put for this announcement of the key, or an older one, goes too
      tries INTEGER NOT NULL DEFAULT 0,
      due_at INTEGER NOT NULL       -- milliseconds since 1970
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * Call inside a transaction.
   *
   * @param generation of the announcement that was given up; null: nothing at the key is to be deleted
   */
  add(key: string, uploadId: string | null, generation: number | null, now: number): void {
    this.#sql.exec(
      "INSERT INTO cleanup (key, upload_id, generation, due_at) VALUES (?, ?, ?, ?)",
      key,
      uploadId,
      generation,
      now,
    );
  }

  /** Milliseconds since 1970; null: R2 is clean. */
  get nextDueAt(): number | null {
    return this.#sql.exec<{ at: number | null }>("SELECT min(due_at) AS at FROM cleanup").one().at;
  }

  /**
   * Does what is due. Never throws: what failed is due again later.
   *
   * @param store null: the bucket's binding is not there
   * @param tell that nothing is at a key any more; may be told twice, and of what it never knew
   * @param done called for a key at which nothing of the output is left
   */
  async run(
    spec: JobSpec,
    store: ObjectStore | null,
    now: number,
    { tell, done }: { tell: (key: string) => Promise<void>; done: (key: string, generation: number) => void },
  ): Promise<void> {
    await forEachLimited(this.#claim(now), CONNECTIONS_MAX, async (item) => {
      const failed = store === null ? failure("unknown-bucket") : await this.#doOne(item, spec, store, tell);
      if (failed !== null) return this.#putOff(item, failed, spec, now);
      this.#sql.exec("DELETE FROM cleanup WHERE seq = ?", item.seq);
      if (item.generation !== null) done(item.key, item.generation);
    });
  }

  /** Alarms and requests interleave: what one does, the other must not, or it deletes what was put anew since. */
  #claim(now: number): Item[] {
    return this.#sql
      .exec<Item & Record<string, SqlStorageValue>>(
        `UPDATE cleanup SET due_at = ? WHERE seq IN (SELECT seq FROM cleanup WHERE due_at <= ? ORDER BY due_at LIMIT ?)
           RETURNING seq, key, upload_id AS uploadId, generation, tries`,
        now + CLAIM_MS,
        now,
        AT_ONCE,
      )
      .toArray();
  }

  /** First the upload, which may still be completed; then what has come of it. */
  async #doOne(
    { key, uploadId, generation }: Item,
    spec: JobSpec,
    store: ObjectStore,
    tell: (key: string) => Promise<void>,
  ): Promise<Failure | null> {
    const whole = spec.prefix + key;
    if (uploadId !== null) {
      const aborted = await store.abortUpload(whole, uploadId);
      if (!aborted.ok) return aborted.failure;
    }
    if (generation === null) return null;
    const there = await store.head(whole);
    if (!there.ok && there.failure.code !== "object-not-found") return there.failure;
    if (there.ok) {
      const put = generationOf(there.value.custom, spec.id);
      // Older announcements of the key were given up before this one. What is another's, or was announced since, stays.
      if (put === null || put > generation) return null;
      const deleted = await store.delete(whole);
      if (!deleted.ok) return deleted.failure;
    }
    try {
      await tell(key);
      return null;
    } catch (error) {
      return failure("store-unavailable", `The manifest was not told: ${String(error).slice(0, 200)}`);
    }
  }

  #putOff({ seq, tries }: Item, { code, detail }: Failure, { id }: JobSpec, now: number): void {
    console.error(JSON.stringify({ message: "output not cleaned up", job: id, code, detail, tries: tries + 1 }));
    this.#sql.exec(
      "UPDATE cleanup SET tries = tries + 1, due_at = ? WHERE seq = ?",
      now + Math.min(WAIT_MAX_SECONDS, 2 ** (tries + 1)) * 1000,
      seq,
    );
  }
}
