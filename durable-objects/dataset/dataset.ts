import { DurableObject } from "cloudflare:workers";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { MANIFEST_MAX_BYTES } from "../../workers/core/limits.ts";
import {
  changedDataset,
  type DatasetChanges,
  type DatasetConfig,
  type ReaderView,
} from "../../workers/core/manifest/dataset.ts";
import { PROOFS, type Proof, type Row } from "../../workers/core/manifest/row.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import { compareUtf8, prefixEnd } from "../../workers/core/migration/utf8-order.ts";
import type { Remembered } from "../../workers/core/migration/join.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Access } from "./access.ts";

export interface ManifestPage {
  rows: StoredRow[];
  /** The last key of a page that has a next one. */
  next: string | null;
}

export type StoredRow = Row & { stage: string | null; category: string | null; updatedAt: number; seq: number };

/** What the manifest knows of a key, for whoever plans with it. */
export type RememberedRow = Remembered & { key: string; size: number; proof: Proof | null };

export interface ManifestSummary {
  objects: number;
  bytes: number;
  proofs: Partial<Record<Proof, number>>;
  seq: number;
}

const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS config (id INTEGER PRIMARY KEY CHECK (id = 1), config TEXT NOT NULL)`,
  // seq counts the changes of this dataset; migration is the running one, and since when.
  `CREATE TABLE IF NOT EXISTS head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    migration TEXT,
    migration_since INTEGER
  )`,
  // Keys that cut the last whole listing into ranges, as JSON.
  `CREATE TABLE IF NOT EXISTS listing (id INTEGER PRIMARY KEY CHECK (id = 1), cuts TEXT NOT NULL)`,
  `INSERT OR IGNORE INTO head (id, seq) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS object (
    key TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    uploaded_at INTEGER NOT NULL,
    content_type TEXT,
    proof TEXT,
    source_etag TEXT,
    source_modified_at INTEGER,
    writer TEXT NOT NULL,
    stage TEXT,
    category TEXT,
    updated_at INTEGER NOT NULL,
    seq INTEGER NOT NULL
  ) WITHOUT ROWID`,
  // Objects and bytes by proof ('' for none), kept beside the rows: counting ten million of them is no read.
  `CREATE TABLE IF NOT EXISTS total (proof TEXT PRIMARY KEY, objects INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID`,
  ...Access.SCHEMA,
];

const UPSERT = `
  INSERT INTO object SELECT value ->> 'key', value ->> 'size', value ->> 'etag', value ->> 'uploadedAt',
      value ->> 'contentType', value ->> 'proof', value ->> 'sourceEtag', value ->> 'sourceModifiedAt',
      value ->> 'writer', value ->> 'stage', value ->> 'category', ?, ? FROM json_each(?) AS written
    WHERE NOT EXISTS (SELECT 1 FROM tombstone AS grave
      WHERE grave.key = written.value ->> 'key' AND grave.at >= written.value ->> 'uploadedAt')
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, etag = excluded.etag, uploaded_at = excluded.uploaded_at,
      content_type = excluded.content_type, proof = excluded.proof, source_etag = excluded.source_etag,
      source_modified_at = excluded.source_modified_at, writer = excluded.writer, stage = excluded.stage,
      category = excluded.category, updated_at = excluded.updated_at, seq = excluded.seq
    WHERE excluded.uploaded_at > object.uploaded_at
      OR (excluded.uploaded_at = object.uploaded_at AND excluded.etag <> object.etag) RETURNING key`;

/**
 * One dataset: its configuration, and the live manifest of which it is the only writer. Keyed by name; rows and the
 * migration lock are accepted only with the dataset's id, so that nothing meant for an older dataset of the same
 * name can arrive here.
 */
export class Dataset extends DurableObject<Env> {
  readonly #sql: SqlStorage;
  readonly #access: Access;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#access = new Access(this.#sql);
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) this.#sql.exec(statement);
    });
  }

  async configure(config: DatasetConfig): Promise<Result<DatasetConfig>> {
    const present = this.#config;
    const kept = present?.id === config.id ? { ...config, createdAt: present.createdAt } : config;
    this.#sql.exec("INSERT OR REPLACE INTO config (id, config) VALUES (1, ?)", JSON.stringify(kept));
    return ok(kept);
  }

  /** Changes what may change, in one step: what a PUT at the same time writes is kept where it is not named here. */
  async patch(changes: DatasetChanges): Promise<Result<DatasetConfig>> {
    const present = this.#config;
    if (present === null) return fail(unknown(this.ctx.id.name));
    const changed = changedDataset(present, changes, new Date().toISOString());
    if (changed.ok) this.#sql.exec("UPDATE config SET config = ?", JSON.stringify(changed.value));
    return changed;
  }

  async describe(): Promise<Result<{ config: DatasetConfig; summary: ManifestSummary; migration: string | null }>> {
    const config = this.#config;
    if (config === null) return fail(unknown(this.ctx.id.name));
    const { seq, migration } = this.#head;
    const totals = this.#sql
      .exec<{ proof: string; objects: number; bytes: number }>("SELECT proof, objects, bytes FROM total")
      .toArray();
    const proofs: Partial<Record<Proof, number>> = {};
    for (const proof of PROOFS) {
      const { objects = 0 } = totals.find((total) => total.proof === proof) ?? {};
      if (objects > 0) proofs[proof] = objects;
    }
    const objects = totals.reduce((sum, total) => sum + total.objects, 0);
    const bytes = totals.reduce((sum, total) => sum + total.bytes, 0);
    return ok({ config, migration, summary: { objects, bytes, proofs, seq } });
  }

  async config(): Promise<Result<DatasetConfig>> {
    const config = this.#config;
    return config === null ? fail(unknown(this.ctx.id.name)) : ok(config);
  }

  async readerView(): Promise<Result<ReaderView>> {
    const config = this.#config;
    if (config === null) return fail(unknown(this.ctx.id.name));
    const nowSeconds = Math.floor(Date.now() / 1000);
    return ok({ config, revoked: this.#access.revocations, nowSeconds, hasTombstones: this.#access.hasTombstones });
  }

  /** Revokes a capability without a job by its id, or all that were minted so far (null). */
  async revokeCapability(jti: string | null): Promise<Result<null>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    const nowSeconds = Math.floor(Date.now() / 1000);
    if (jti === null) this.#access.revokeAll(nowSeconds);
    const refused = jti === null ? null : this.#access.revoke(jti, nowSeconds);
    return refused === null ? ok(null) : fail(refused);
  }

  /** Marks keys as deleted on purpose: they are not read through, though the source may still have them. */
  async bury(datasetId: string, keys: string[]): Promise<void> {
    if (this.#config?.id === datasetId) this.#access.bury(keys, Date.now());
  }

  async isBuried(key: string): Promise<boolean> {
    return this.#access.isBuried(key);
  }

  /** Takes the dataset for a migration; one at a time. */
  async beginMigration(datasetId: string, id: string, now: number): Promise<Result<null>> {
    if (this.#config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    const running = this.#head.migration;
    if (running !== null && running !== id) {
      return fail(failure("migration-running", `Migration ${running} is running; wait for it to end.`));
    }
    this.#sql.exec("UPDATE head SET migration = ?, migration_since = ?", id, now);
    return ok(null);
  }

  async heldMigration(): Promise<{ id: string; since: number } | null> {
    return (
      this.#sql
        .exec<{ id: string; since: number }>(
          "SELECT migration AS id, migration_since AS since FROM head WHERE migration IS NOT NULL",
        )
        .toArray()[0] ?? null
    );
  }

  /** Gives the dataset free, if it is held by this run. `cuts` are where the next listing may be cut into ranges. */
  async endMigration(datasetId: string, id: string, cuts: string[] | null): Promise<void> {
    if (this.#config?.id !== datasetId) return;
    const held = this.#sql.exec("UPDATE head SET migration = NULL WHERE migration = ? RETURNING id", id).toArray();
    if (held.length === 0 || cuts === null) return;
    this.#sql.exec("INSERT OR REPLACE INTO listing (id, cuts) VALUES (1, ?)", JSON.stringify(cuts));
  }

  /** Keys at which the last whole listing could be cut into ranges of equal length. */
  async migrationCuts(): Promise<string[]> {
    const [listing] = this.#sql.exec<{ cuts: string }>("SELECT cuts FROM listing").toArray();
    return listing === undefined ? [] : (JSON.parse(listing.cuts) as string[]);
  }

  /**
   * Writes rows. Safe to run twice: a row that is already there changes nothing, and one that is older by R2's time
   * of upload is dropped.
   */
  async applyRows(
    datasetId: string,
    rows: (Row & { stage: string | null; category: string | null })[],
  ): Promise<Result<number>> {
    if (this.#config?.id !== datasetId) return ok(0);
    if (this.#sql.databaseSize > MANIFEST_MAX_BYTES) {
      return fail(failure("manifest-full", `The manifest has ${this.#sql.databaseSize} bytes; it takes 10 GB.`));
    }
    const json = JSON.stringify(rows);
    return ok(
      this.ctx.storage.transactionSync(() => {
        const seq = this.#head.seq + 1;
        this.#addTotals(json, -1);
        const written = this.#sql.exec(UPSERT, Date.now(), seq, json).toArray().length;
        this.#addTotals(json, 1);
        this.#access.unbury(json);
        if (written > 0) this.#sql.exec("UPDATE head SET seq = ?", seq);
        return written;
      }),
    );
  }

  /** Takes the rows of these keys off the totals, or adds them. */
  #addTotals(json: string, sign: 1 | -1): void {
    this.#sql.exec(
      `INSERT INTO total (proof, objects, bytes)
         SELECT coalesce(object.proof, ''), ?1 * count(*), ?1 * sum(object.size)
           FROM json_each(?2) AS asked JOIN object ON object.key = asked.value ->> 'key' WHERE true GROUP BY 1
         ON CONFLICT (proof) DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes`,
      sign,
      json,
    );
  }

  /** Rows by key, for the signing of URLs; keys without a row are absent. */
  async remember(keys: string[]): Promise<RememberedRow[]> {
    // A bound value is at most 2 MB: ten thousand long keys are more.
    return pack(keys, { items: keys.length, weight: Number.POSITIVE_INFINITY }, () => 0).flatMap((some) =>
      this.#sql
        .exec<Record<string, SqlStorageValue> & RememberedRow>(
          `SELECT object.key, object.size, object.etag, object.source_etag AS sourceEtag,
               object.source_modified_at AS sourceModifiedAt, object.writer, object.proof
             FROM json_each(?) AS asked JOIN object ON object.key = asked.value`,
          JSON.stringify(some),
        )
        .toArray(),
    );
  }

  /** What is known of these keys, for the planning of a page: rows, and when keys were deleted on purpose. */
  async recall(keys: string[]): Promise<{ rows: RememberedRow[]; buried: { key: string; at: number }[] }> {
    return { rows: await this.remember(keys), buried: this.#access.buriedAt(keys) };
  }

  /**
   * Takes out of the manifest what a migration is about to delete in R2, and marks the keys as deleted. A row at another
   * ETag than these stays.
   */
  async remove(datasetId: string, objects: { key: string; etag: string }[]): Promise<void> {
    if (this.#config?.id !== datasetId || objects.length === 0) return;
    this.ctx.storage.transactionSync(() => {
      for (const some of pack(objects, { items: objects.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
        const rows = this.#sql
          .exec<{ key: string }>(
            `SELECT object.key FROM json_each(?) AS asked JOIN object ON object.key = asked.value ->> 'key'
               WHERE object.etag = asked.value ->> 'etag'`,
            JSON.stringify(some),
          )
          .toArray();
        const json = JSON.stringify(rows);
        this.#addTotals(json, -1);
        const gone = this.#sql
          .exec("DELETE FROM object WHERE key IN (SELECT value ->> 'key' FROM json_each(?)) RETURNING key", json)
          .toArray();
        if (gone.length > 0) this.#sql.exec("UPDATE head SET seq = seq + 1");
        this.#access.bury(
          some.map(({ key }) => key),
          Date.now(),
        );
      }
    });
  }

  /** One page of the live manifest, ascending by the keys' UTF-8 bytes (SQLite's BINARY collation). */
  async page(prefix: string, after: string | null, limit: number): Promise<Result<ManifestPage>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    // One range of the primary key: what a page costs does not depend on where it is.
    const isFirst = after === null || compareUtf8(after, prefix) < 0;
    const end = prefixEnd(prefix);
    const rows = this.#sql
      .exec<StoredRow & Record<string, SqlStorageValue>>(
        `SELECT key, size, etag, uploaded_at AS uploadedAt, content_type AS contentType, proof,
             source_etag AS sourceEtag, source_modified_at AS sourceModifiedAt, writer, stage, category,
             updated_at AS updatedAt, seq FROM object
           WHERE key ${isFirst ? ">=" : ">"} ?1 ${end === null ? "" : "AND key < ?3"} ORDER BY key LIMIT ?2`,
        isFirst ? prefix : after,
        limit + 1,
        ...(end === null ? [] : [end]),
      )
      .toArray();
    const more = rows.length > limit;
    const shown = more ? rows.slice(0, limit) : rows;
    return ok({ rows: shown, next: more ? (shown.at(-1)?.key ?? null) : null });
  }

  get #config(): DatasetConfig | null {
    const row = this.#sql.exec<{ config: string }>("SELECT config FROM config").toArray()[0];
    return row === undefined ? null : (JSON.parse(row.config) as DatasetConfig);
  }

  get #head(): { seq: number; migration: string | null } {
    return this.#sql.exec<{ seq: number; migration: string | null }>("SELECT seq, migration FROM head").one();
  }
}

const unknown = (name: string | undefined): Failure =>
  failure("unknown-dataset", `There is no dataset named "${name ?? ""}".`, { field: "dataset" });
