import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { generationOf } from "../../workers/core/jobs/output-mark.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";

/** Items of one run: seven requests each, at most, and the look-ups in versions, are within an invocation's 10,000. */
const AT_ONCE = 500;
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

/** What the manifest is asked and told of objects that are deleted. Each throws where that cannot be done now. */
export interface CleanManifest {
  /** Does `work` while no version begins, with the keys of these objects that a sealed version holds. */
  whileUnsealed(
    objects: readonly { key: string; etag: string }[],
    work: (sealed: ReadonlySet<string>) => Promise<void>,
  ): Promise<void>;
  /**
   * Nothing is at a key any more; may be told twice, and of what was never known.
   *
   * @param mayBeFound something was there that somebody may have found
   */
  gone(key: string, mayBeFound: boolean): Promise<void>;
}

/** Where a job's outputs are, and what they become. */
export interface CleanPlace {
  store: ObjectStore;
  manifest: CleanManifest;
  /** Called for a key at which nothing of the output is left. */
  done: (key: string, generation: number) => void;
  /** Called for an object that a sealed version holds: it stays. */
  kept: (key: string, generation: number, etag: string) => void;
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
      due_at INTEGER NOT NULL,      -- milliseconds since 1970
      is_claimed INTEGER NOT NULL DEFAULT 0
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
   * @param place null: the bucket's binding is not there
   */
  async run(spec: JobSpec, place: CleanPlace | null, now: number): Promise<void> {
    const there: Present[] = [];
    await forEachLimited(this.#claim(now), CONNECTIONS_MAX, async (item) => {
      if (place === null) return this.#putOff(item, failure("unknown-bucket"), spec, now);
      const looked = await look(item, spec, place.store);
      if (!looked.ok) this.#putOff(item, looked.failure, spec, now);
      else if (looked.value !== null) there.push({ ...item, etag: looked.value });
      else await this.#try(item, spec, now, () => this.#end(item, place, false));
    });
    if (place === null || there.length === 0) return;
    try {
      await place.manifest.whileUnsealed(there, (sealed) =>
        forEachLimited(there, CONNECTIONS_MAX, (item) =>
          this.#try(item, spec, now, () => this.#delete(item, spec, place, sealed.has(item.key))),
        ),
      );
    } catch (error) {
      for (const item of there) if (this.#isOpen(item)) this.#putOff(item, unanswered(error), spec, now);
    }
  }

  async #delete(item: Present, spec: JobSpec, place: CleanPlace, isSealed: boolean): Promise<void> {
    if (isSealed) {
      this.#settle(item);
      if (item.generation !== null) place.kept(item.key, item.generation, item.etag);
      return;
    }
    const deleted = await place.store.delete(spec.prefix + item.key);
    if (!deleted.ok) throw new Error(deleted.failure.detail);
    await this.#end(item, place, true);
  }

  /** @param wasThere it was deleted just now, or by an earlier try */
  async #end(item: Item, { manifest, done }: CleanPlace, wasThere: boolean): Promise<void> {
    const { key, generation, tries } = item;
    if (generation !== null) await manifest.gone(key, wasThere || tries > 0);
    this.#settle(item);
    if (generation !== null) done(key, generation);
  }

  #settle({ seq }: Item): void {
    this.#sql.exec("DELETE FROM cleanup WHERE seq = ?", seq);
  }

  #isOpen({ seq }: Item): boolean {
    return this.#sql.exec("SELECT 1 FROM cleanup WHERE seq = ?", seq).toArray().length > 0;
  }

  async #try(item: Item, spec: JobSpec, now: number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#putOff(item, unanswered(error), spec, now);
    }
  }

  /** What was claimed by an object that is no more is due at once. */
  unclaim(): void {
    this.#sql.exec("UPDATE cleanup SET due_at = 0, is_claimed = 0 WHERE is_claimed = 1");
  }

  /** Alarms and requests interleave: what one does, the other must not, or it deletes what was put anew since. */
  #claim(now: number): Item[] {
    return this.#sql
      .exec<Item & Record<string, SqlStorageValue>>(
        `UPDATE cleanup SET due_at = ?, is_claimed = 1 WHERE seq IN (SELECT seq FROM cleanup WHERE due_at <= ? ORDER BY due_at LIMIT ?)
           RETURNING seq, key, upload_id AS uploadId, generation, tries`,
        now + CLAIM_MS,
        now,
        AT_ONCE,
      )
      .toArray();
  }

  #putOff({ seq, tries }: Item, { code, detail }: Failure, { id }: JobSpec, now: number): void {
    console.error(JSON.stringify({ message: "output not cleaned up", job: id, code, detail, tries: tries + 1 }));
    this.#sql.exec(
      "UPDATE cleanup SET tries = tries + 1, due_at = ?, is_claimed = 0 WHERE seq = ?",
      now + Math.min(WAIT_MAX_SECONDS, 2 ** (tries + 1)) * 1000,
      seq,
    );
  }
}

interface Present extends Item {
  etag: string;
}

/** Aborts the upload, which may still be completed; then the ETag of what has come of it, where that is to be deleted. */
async function look(
  { key, uploadId, generation }: Item,
  spec: JobSpec,
  store: ObjectStore,
): Promise<Result<string | null>> {
  const whole = spec.prefix + key;
  if (uploadId !== null) {
    const aborted = await store.abortUpload(whole, uploadId);
    if (!aborted.ok) return aborted;
  }
  if (generation === null) return ok(null);
  const there = await store.head(whole);
  if (!there.ok) return there.failure.code === "object-not-found" ? ok(null) : there;
  const put = generationOf(there.value.custom, spec.id);
  // Older announcements of the key were given up before this one. What is another's, or was announced since, stays.
  return ok(put === null || put > generation ? null : there.value.etag);
}

const unanswered = (error: unknown): Failure => failure("store-unavailable", String(error).slice(0, 200));
