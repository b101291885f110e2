import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { type JobSpec, OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";

/** Items of one run: three requests each are within an invocation's 10,000. */
const AT_ONCE = 1000;
/** Milliseconds for which an item that is being done is nobody else's: as long as an alarm may live. */
const CLAIM_MS = 900_000;
/** Seconds between two tries, at most: nobody waits for it. */
const WAIT_MAX_SECONDS = 3600;

interface Item {
  seq: number;
  key: string;
  uploadId: string | null;
  deletes: number;
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
      deletes INTEGER NOT NULL,     -- 1: what is at the key goes too, if the job put it
      tries INTEGER NOT NULL DEFAULT 0,
      due_at INTEGER NOT NULL       -- milliseconds since 1970
    )`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Call inside a transaction. */
  add(key: string, uploadId: string | null, deletes: boolean, now: number): void {
    this.#sql.exec(
      "INSERT INTO cleanup (key, upload_id, deletes, due_at) VALUES (?, ?, ?, ?)",
      key,
      uploadId,
      deletes ? 1 : 0,
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
   * @param done called for a key at which nothing of the output is left
   */
  async run(spec: JobSpec, store: ObjectStore | null, now: number, done: (key: string) => void): Promise<void> {
    await forEachLimited(this.#claim(now), CONNECTIONS_MAX, async (item) => {
      const failed = store === null ? failure("unknown-bucket") : await this.#doOne(item, spec, store);
      if (failed !== null) return this.#putOff(item, failed, spec, now);
      this.#sql.exec("DELETE FROM cleanup WHERE seq = ?", item.seq);
      if (item.deletes === 1) done(item.key);
    });
  }

  /** Alarms and requests interleave: what one does, the other must not, or it deletes what was put anew since. */
  #claim(now: number): Item[] {
    return this.#sql
      .exec<Item & Record<string, SqlStorageValue>>(
        `UPDATE cleanup SET due_at = ? WHERE seq IN (SELECT seq FROM cleanup WHERE due_at <= ? ORDER BY due_at LIMIT ?)
           RETURNING seq, key, upload_id AS uploadId, deletes, tries`,
        now + CLAIM_MS,
        now,
        AT_ONCE,
      )
      .toArray();
  }

  /** First the upload, which may still be completed; then what has come of it. */
  async #doOne({ key, uploadId, deletes }: Item, spec: JobSpec, store: ObjectStore): Promise<Failure | null> {
    const whole = spec.prefix + key;
    if (uploadId !== null) {
      const aborted = await store.abortUpload(whole, uploadId);
      if (!aborted.ok) return aborted.failure;
    }
    if (deletes === 0) return null;
    const there = await store.head(whole);
    if (!there.ok) return there.failure.code === "object-not-found" ? null : there.failure;
    if (there.value.custom[OUTPUT_JOB] !== spec.id) return null;
    const deleted = await store.delete(whole);
    return deleted.ok ? null : deleted.failure;
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
