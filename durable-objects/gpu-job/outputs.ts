import { type Failure, failure } from "../../workers/core/failure.ts";
import { quoted } from "../../workers/core/jobs/output-keys.ts";
import { OUTPUTS_EVER_MAX, OUTPUTS_MAX } from "../../workers/core/limits.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

/** An output that a PUT URL is asked for. */
export interface Output {
  key: string;
  size: number;
  contentType: string;
}

/** An output as a node announces it. */
export interface Announced extends Output {
  /** Hex; null: nobody said. */
  sha256: string | null;
  /** Bytes of every part but the last; null: it is put in one piece. */
  partBytes: number | null;
}

/**
 * `announced`  URLs were issued; whatever is at the key is not the manifest's as yet
 * `committed`  it was found as announced, and the manifest is told
 * `aborting`   it was given up; R2 is being cleaned of it
 * `aborted`    R2 is clean of it; what is put by an old URL is nobody's output, and stays out of the manifest
 * `deleting`   its checkpoint is one too many; until it is deleted, it is an object like any other
 * `deleted`    as `aborted`
 * `kept`       it was to be deleted, but a sealed version holds it, or somebody has changed it: it is no longer the job's
 */
export type OutputState = "announced" | "committed" | "aborting" | "aborted" | "deleting" | "deleted" | "kept";

export interface KnownOutput extends Announced {
  checkpoint: string | null;
  /** The multipart upload in R2, once it is known. */
  uploadId: string | null;
  state: OutputState;
  /** R2's, once it is committed. */
  etag: string | null;
  /** Of the announcement, counted by the job: what was put for an older one of the key is not this output. */
  generation: number;
}

/** An announced output that was found in R2. */
export interface Found {
  row: Row;
  /** Of the announcement that was looked for; another by now is another output. */
  generation: number;
  /** Whether the finder itself has put it together from its parts. */
  isCompleted: boolean;
}

/** An object in R2 at the ETag with which it was committed. */
export interface Retired {
  key: string;
  etag: string;
  generation: number;
}

const FIELDS = `key, size, content_type AS contentType, sha256, part_bytes AS partBytes, checkpoint,
  upload_id AS uploadId, state, etag, generation`;
/** A key in one of these states may be announced anew. */
const FREE: ReadonlySet<OutputState> = new Set<OutputState>(["aborted", "deleted"]);

/** In one of these what was committed is an object like any other. */
const IS_THERE: ReadonlySet<OutputState> = new Set<OutputState>(["committed", "deleting", "kept"]);

/** What URLs were issued for to be put, and what became of it. Whoever calls is in a transaction. */
export class Outputs {
  readonly #sql: SqlStorage;

  static readonly SCHEMA = `
    CREATE TABLE IF NOT EXISTS output (
      key TEXT PRIMARY KEY,
      size INTEGER NOT NULL,
      content_type TEXT NOT NULL,
      sha256 TEXT,
      part_bytes INTEGER,
      checkpoint TEXT,
      upload_id TEXT,
      state TEXT NOT NULL,
      etag TEXT,                  -- once it was found in the bucket, as it was announced
      generation INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS output_generation (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL)`;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The outputs of these keys that there ever were, in the order of the keys. */
  of(keys: readonly string[]): KnownOutput[] {
    // A bound value is at most 2 MB.
    const known = pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#select("key IN (SELECT value FROM json_each(?))", JSON.stringify(some)),
    );
    const byKey = new Map(known.map((output) => [output.key, output]));
    return [...new Set(keys)].flatMap((key) => byKey.get(key) ?? []);
  }

  ofCheckpoint(name: string): KnownOutput[] {
    return this.#select("checkpoint = ?", name);
  }

  /** All that were announced and not committed. */
  get open(): KnownOutput[] {
    return this.#select("state = 'announced'");
  }

  /** Takes outputs, or what is the same as before; `output-taken` where a key is another output's. */
  announce(outputs: readonly Announced[], checkpoint: string | null): Result<KnownOutput[]> {
    const known = new Map(this.of(outputs.map(({ key }) => key)).map((output) => [output.key, output]));
    const fresh: Announced[] = [];
    for (const output of outputs) {
      const present = known.get(output.key);
      if (present === undefined || FREE.has(present.state)) fresh.push(output);
      else if (!isSame(present, output, checkpoint)) return fail(taken(present));
    }
    const full = this.#refuseMore(fresh.length, fresh.filter(({ key }) => !known.has(key)).length);
    if (full !== null) return fail(full);
    this.#write(fresh, checkpoint);
    return ok(this.of(outputs.map(({ key }) => key)));
  }

  /**
   * Records what PUT URLs are about to be issued for; the same key again, of another size or type, replaces the announcement.
   * Returns their generations, in their order.
   */
  announcePuts(outputs: readonly Output[]): Result<number[]> {
    const keys = outputs.map(({ key }) => key);
    const known = this.of(keys);
    const other = known.find((present) => !FREE.has(present.state) && !isPlainPut(present));
    if (other !== undefined) return fail(taken(other));
    const counted = known.filter(({ state }) => !FREE.has(state)).length;
    const asked = new Set(keys).size;
    const full = this.#refuseMore(asked - counted, asked - known.length);
    if (full !== null) return fail({ ...full, field: "objects" });
    const byKey = new Map(known.map((output) => [output.key, output]));
    // What a URL of the same announcement has put, or still puts, stays the output.
    const isSameAgain = ({ key, size, contentType }: Output) => {
      const present = byKey.get(key);
      return present?.state === "announced" && present.size === size && present.contentType === contentType;
    };
    const fresh = outputs.filter((output) => !isSameAgain(output));
    this.#write(
      fresh.map((output) => ({ ...output, sha256: null, partBytes: null })),
      null,
    );
    const now = new Map(this.of(keys).map(({ key, generation }) => [key, generation]));
    return ok(keys.map((key) => now.get(key) ?? 0));
  }

  /** Keeps the upload of an output that has none; returns the one that it has from now on. */
  recordUpload(key: string, generation: number, uploadId: string): Result<string> {
    const [present] = this.of([key]);
    if (present?.state !== "announced" || present.partBytes === null) return fail(notAnnounced(key));
    if (present.generation !== generation) return fail(announcedAnew(key));
    if (present.uploadId !== null) return ok(present.uploadId);
    this.#sql.exec("UPDATE output SET upload_id = ? WHERE key = ?", uploadId, key);
    return ok(uploadId);
  }

  /** Of these keys, which were announced and are committed now or were before; `output-not-announced` names another. */
  wanted(keys: readonly string[]): Result<KnownOutput[]> {
    const known = this.of(keys);
    const good = new Set(known.filter(({ state }) => isOpenOrCommitted(state)).map(({ key }) => key));
    const missing = keys.find((key) => !good.has(key));
    if (missing !== undefined) return fail(notAnnounced(missing));
    const grouped = known.find(({ checkpoint, state }) => checkpoint !== null && state === "announced");
    return grouped === undefined ? ok(known) : fail(inCheckpoint(grouped, "commit"));
  }

  /**
   * Commits what was found in the bucket; returns the rows that are news, the checkpoints that they belong to, and uploads of
   * which nobody knows that they were completed.
   */
  commit(found: readonly Found[]): Result<{ fresh: Row[]; checkpoints: string[]; uploads: Upload[] }> {
    const known = new Map(this.of(found.map(({ row }) => row.key)).map((output) => [output.key, output]));
    const fresh: Row[] = [];
    const uploads: Upload[] = [];
    const checkpoints = new Set<string>();
    for (const { row, generation, isCompleted } of found) {
      const present = known.get(row.key);
      if (present === undefined || !isOpenOrCommitted(present.state)) return fail(notAnnounced(row.key));
      if (present.generation !== generation) return fail(announcedAnew(row.key));
      if (present.state === "committed") continue;
      if (present.size !== row.size) return fail(otherSize(present, row.size));
      this.#sql.exec("UPDATE output SET state = 'committed', etag = ? WHERE key = ?", row.etag, row.key);
      fresh.push(row);
      if (!isCompleted && present.uploadId !== null) uploads.push({ key: row.key, uploadId: present.uploadId });
      if (present.checkpoint !== null) checkpoints.add(present.checkpoint);
    }
    return ok({ fresh, checkpoints: [...checkpoints], uploads });
  }

  /**
   * Gives outputs up, all of a checkpoint or (null) none of one. Returns those whose place in R2 is to be cleaned; what is
   * committed is refused.
   */
  abort(keys: readonly string[], checkpoint: string | null): Result<KnownOutput[]> {
    const known = this.of(keys);
    const [missing] = new Set(keys).difference(new Set(known.map(({ key }) => key)));
    if (missing !== undefined) return fail(notAnnounced(missing));
    // At a key that is free an old URL may have put something since.
    const other = known.find(({ state }) => state !== "announced" && state !== "aborting" && !FREE.has(state));
    if (other !== undefined) return fail(taken(other));
    // Without it the checkpoint would be committed as if it were whole.
    const grouped =
      checkpoint === null ? known.find((output) => output.checkpoint !== null && !FREE.has(output.state)) : undefined;
    if (grouped !== undefined) return fail(inCheckpoint(grouped, "abort"));
    const given = known.filter(({ state }) => state !== "aborting");
    for (const { key } of given) {
      this.#sql.exec("UPDATE output SET state = 'aborting', checkpoint = NULL, upload_id = NULL WHERE key = ?", key);
    }
    return ok(given);
  }

  /** R2 is clean of what was put for this announcement, and for older ones of the key. */
  aborted(key: string, generation: number): void {
    this.#sql.exec(
      "UPDATE output SET state = 'aborted' WHERE key = ? AND state = 'aborting' AND generation <= ?",
      key,
      generation,
    );
  }

  /** A sealed version holds what was put for this announcement: somebody found it, and it stays an object like any other. */
  sealed(key: string, generation: number, etag: string): void {
    this.#sql.exec(
      "UPDATE output SET state = 'kept', etag = ? WHERE key = ? AND state = 'aborting' AND generation <= ?",
      etag,
      key,
      generation,
    );
  }

  /** Gives up what is at a key and is not to be seen; null where it is an object like any other. */
  giveUp(key: string): KnownOutput | null {
    const [present] = this.of([key]);
    if (present === undefined || IS_THERE.has(present.state)) return null;
    this.#sql.exec("UPDATE output SET state = 'aborting', checkpoint = NULL, upload_id = NULL WHERE key = ?", key);
    return present;
  }

  /** Takes the uploads off outputs that were never committed, for they are to be aborted. */
  abandon(): Upload[] {
    const left = this.#select("state = 'announced' AND upload_id IS NOT NULL");
    if (left.length > 0) this.#sql.exec("UPDATE output SET upload_id = NULL WHERE state = 'announced'");
    return left.flatMap(({ key, uploadId }) => (uploadId === null ? [] : [{ key, uploadId }]));
  }

  /** Marks the outputs of a checkpoint as to be deleted. */
  retire(checkpoint: string): Retired[] {
    return this.#sql
      .exec<Retired & Record<string, SqlStorageValue>>(
        "UPDATE output SET state = 'deleting' WHERE checkpoint = ? AND state = 'committed' RETURNING key, etag, generation",
        checkpoint,
      )
      .toArray();
  }

  /** What became of outputs that were to be deleted. */
  retired(keys: readonly string[], state: "deleted" | "kept"): void {
    this.#sql.exec(
      `UPDATE output SET state = ? WHERE state = 'deleting' AND key IN (SELECT value FROM json_each(?))`,
      state,
      JSON.stringify(keys),
    );
  }

  /**
   * Of objects that say they are this job's, the keys of those that are not the manifest's: at a key that was ever announced,
   * all but the one that was committed, and is not deleted. An old URL may put where that was. Nobody can tell what such a URL
   * put from what a tool wrote that keeps metadata, so both stay hidden.
   */
  uncommittedAmong(objects: readonly { key: string; etag: string }[]): string[] {
    const etags = new Map(objects.map(({ key, etag }) => [key, etag]));
    const isHidden = ({ key, state, etag }: KnownOutput): boolean => !IS_THERE.has(state) || etag !== etags.get(key);
    return this.of([...etags.keys()])
      .filter(isHidden)
      .map(({ key }) => key);
  }

  get counts(): { announced: number; committed: number } {
    return this.#sql
      .exec<{ announced: number; committed: number }>(
        `SELECT count(*) FILTER (WHERE state IN ('announced', 'committed')) AS announced,
           count(*) FILTER (WHERE state = 'committed') AS committed FROM output`,
      )
      .one();
  }

  #select(where: string, ...bound: string[]): KnownOutput[] {
    return this.#sql
      .exec<KnownOutput & Record<string, SqlStorageValue>>(
        `SELECT ${FIELDS} FROM output WHERE ${where} ORDER BY key`,
        ...bound,
      )
      .toArray();
  }

  /** @param more outputs, and `rows` of them of keys that there never were: one that was freed has its row already */
  #refuseMore(more: number, rows: number): Failure | null {
    if (more <= 0) return null;
    const { live, ever } = this.#sql
      .exec<{ live: number; ever: number }>(
        "SELECT count(*) FILTER (WHERE state IN ('announced', 'aborting', 'deleting')) AS live, count(*) AS ever FROM output",
      )
      .one();
    const [most, over] =
      live + more > OUTPUTS_MAX
        ? [OUTPUTS_MAX, "that are not committed"]
        : [OUTPUTS_EVER_MAX, "in all, with those that are gone"];
    if (live + more <= OUTPUTS_MAX && (rows <= 0 || ever + rows <= OUTPUTS_EVER_MAX)) return null;
    return failure("invalid-body", `A job may have ${most} outputs ${over}.`, { field: "outputs" });
  }

  /** Each announcement has the next generation of the job. */
  #write(outputs: readonly Announced[], checkpoint: string | null): void {
    if (outputs.length === 0) return;
    const { last } = this.#sql
      .exec<{ last: number }>(
        `INSERT INTO output_generation (id, last) VALUES (1, ?1)
           ON CONFLICT (id) DO UPDATE SET last = last + ?1 RETURNING last`,
        outputs.length,
      )
      .one();
    for (const [index, { key, size, contentType, sha256, partBytes }] of outputs.entries()) {
      this.#sql.exec(
        `INSERT OR REPLACE INTO output (key, size, content_type, sha256, part_bytes, checkpoint, state, generation)
           VALUES (?, ?, ?, ?, ?, ?, 'announced', ?)`,
        key,
        size,
        contentType,
        sha256,
        partBytes,
        checkpoint,
        last - outputs.length + 1 + index,
      );
    }
  }
}

/** A multipart upload in R2. */
export interface Upload {
  key: string;
  uploadId: string;
}

const isOpenOrCommitted = (state: OutputState): boolean => state === "announced" || state === "committed";

/** Announced by `urls`, or as that does: it may be announced anew. */
const isPlainPut = ({ state, partBytes, checkpoint }: KnownOutput): boolean =>
  state === "announced" && partBytes === null && checkpoint === null;

const isSame = (present: KnownOutput, { size, contentType, sha256, partBytes }: Announced, checkpoint: string | null) =>
  present.state === "announced" &&
  present.size === size &&
  present.contentType === contentType &&
  present.sha256 === sha256 &&
  (present.partBytes === null) === (partBytes === null) &&
  present.checkpoint === checkpoint;

function taken({ key, state }: KnownOutput): Failure {
  if (state === "aborting") {
    const detail = `${quoted(key)} is being aborted; ask again in a moment.`;
    return failure("store-unavailable", detail, { retryAfterSeconds: 2 });
  }
  const said: Partial<Record<OutputState, string>> = {
    announced: "was announced otherwise; announce it as it was, or abort it first",
    deleting: "is being deleted with its checkpoint; choose another key",
  };
  return failure("output-taken", `${quoted(key)} ${said[state] ?? "is committed, and stays; choose another key"}.`);
}

const notAnnounced = (key: string): Failure =>
  failure("output-not-announced", `No URL was issued for ${quoted(key)}, or it was aborted; announce it first.`, {
    field: "outputs",
  });

const announcedAnew = (key: string): Failure =>
  failure("output-not-announced", `${quoted(key)} was aborted and announced anew meanwhile; put that, and ask again.`, {
    field: "outputs",
  });

const inCheckpoint = ({ key, checkpoint }: KnownOutput, wayOut: "commit" | "abort"): Failure => {
  const detail = `${quoted(key)} belongs to the checkpoint "${checkpoint ?? ""}"; ${wayOut} that.`;
  return failure("output-in-checkpoint", detail, { field: wayOut === "commit" ? "outputs" : "keys" });
};

const otherSize = ({ key, size }: Pick<Output, "key" | "size">, found: number): Failure =>
  failure("output-mismatch", `${quoted(key)} has ${found} bytes; ${size} were announced.`, { field: "outputs" });
