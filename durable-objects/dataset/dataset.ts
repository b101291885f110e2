import { DurableObject } from "cloudflare:workers";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { CONSUMER_MAX_SECONDS, MANIFEST_MAX_BYTES } from "../../workers/core/limits.ts";
import {
  changedDataset,
  type DatasetChanges,
  type DatasetConfig,
  DEFAULT_RESOLVE_ORDER,
  type ReaderView,
} from "../../workers/core/manifest/dataset.ts";
import { DEFAULT_RULES, placeOf, type PlaceRule } from "../../workers/core/manifest/place.ts";
import { EVERYTHING, type ManifestQuery, type Position, type RowPage } from "../../workers/core/manifest/query.ts";
import type { AskedEntry, FoundEntry } from "../../workers/core/manifest/registry-diff.ts";
import type { Resolution } from "../../workers/core/manifest/resolve.ts";
import type { Place, Proof, Row, Stage } from "../../workers/core/manifest/row.ts";
import type {
  SealBody,
  SealedFile,
  SealedIndex,
  VersionInfo,
  VersionName,
} from "../../workers/core/manifest/version.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { r2StoreOf } from "../../workers/adapters/r2-stores.ts";
import type {
  ReconcileMessage,
  Side,
  UnhashedRow,
  WalkCounts,
  WalkedRow,
  WalkStatus,
} from "../../workers/core/manifest/reconcile.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import type { Remembered } from "../../workers/core/migration/join.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Access } from "./access.ts";
import { type Answered, type Asked, type FeedCounts, Feeds, type Hint } from "./feeds.ts";
import { type ComputedChecksums, type Observation, type Question, Rows, type SaidChecksums } from "./rows.ts";
import { Chores } from "./chores.ts";
import { TombstoneExpiry } from "./expiry.ts";
import { type KeptEntry, Names } from "./names.ts";
import { Placing } from "./placing.ts";
import { Queries } from "./queries.ts";
import { Pieces, PIECES_SCHEMA } from "./pieces.ts";
import { SCHEMA } from "./schema.ts";
import { Sealing, type SealingStores } from "./sealing.ts";
import { Shadow } from "./shadow.ts";
import { countsByStage, type StageCount, totalsOf } from "./totals.ts";
import { upgrade } from "./upgrade.ts";
import { VERSION_SCHEMA, Versions } from "./versions.ts";
import { rowsBeside, rowsUnhashed } from "./walk-rows.ts";
import { Walk, type WalkStep } from "./walk.ts";

/** A version, and where it is kept. */
export interface SealedVersion {
  datasetId: string;
  info: VersionInfo;
  index: SealedIndex | null;
  files: SealedFile[];
  /** Of version.json. */
  document: { bytes: number; etag: string; sha256: string } | null;
}

/** What the manifest knows of a key, for whoever plans with it. */
export type RememberedRow = Remembered & { key: string; size: number; proof: Proof | null };

export interface ManifestSummary {
  objects: number;
  bytes: number;
  proofs: Partial<Record<Proof, number>>;
  stages: StageCount[];
  feeds: FeedCounts;
  seq: number;
}

/** What became of rows: how many were written, and what has to be asked of R2. */
export interface Applied {
  written: number;
  questions: Question[];
  refused: Refused | null;
}

/** Keys for which a full manifest has no room. */
export interface Refused {
  keys: string[];
  failure: Failure;
}

/** Rows below a prefix that one call places. */
const PLACED_AT_ONCE = 1000;

/**
 * One dataset: its configuration, and the live manifest of which it is the only writer. Keyed by name; rows and the
 * migration lock are accepted only with the dataset's id, so that nothing meant for an older dataset of the same
 * name can arrive here.
 */
export class Dataset extends DurableObject<Env> {
  readonly #sql: SqlStorage;
  readonly #access: Access;
  readonly #rows: Rows;
  readonly #queries: Queries;
  readonly #names: Names;
  readonly #placing: Placing;
  /** The present rules of places; null until they are asked for. */
  #rules: readonly PlaceRule[] | null = null;
  readonly #feeds: Feeds;
  readonly #versions: Versions;
  readonly #pieces: Pieces;
  readonly #walk: Walk;
  readonly #chores: Chores;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#access = new Access(this.#sql);
    this.#rows = new Rows(
      this.#sql,
      (key) => placeOf(key, (this.#rules ??= this.#config?.places ?? DEFAULT_RULES)),
      () => this.#versions.last,
    );
    this.#feeds = new Feeds(this.#sql, this.#rows, this.#access);
    this.#versions = new Versions(this.#sql);
    this.#pieces = new Pieces(this.#sql);
    this.#placing = new Placing(ctx.storage, this.#rows, () => this.#full() !== null);
    this.#walk = new Walk(this.#sql, (step) => this.#sendStep(step), env.SILENCE_SECONDS);
    this.#chores = new Chores(ctx.storage, [
      this.#walk,
      new TombstoneExpiry(this.#sql, this.#access, env.TOMBSTONE_DAYS),
      this.#placing,
      new Sealing(
        this.#versions,
        ctx.storage,
        () => this.#config,
        () => this.#stores(),
      ),
    ]);
    this.#queries = new Queries(this.#sql);
    this.#names = new Names(this.#sql, this.#rows);
    void ctx.blockConcurrencyWhile(async () => {
      ctx.storage.transactionSync(() => {
        const recount = upgrade(this.#sql);
        for (const statement of [...SCHEMA, ...VERSION_SCHEMA, ...PIECES_SCHEMA]) this.#sql.exec(statement);
        recount();
      });
    });
  }

  async configure(config: DatasetConfig): Promise<Result<DatasetConfig>> {
    const present = this.#config;
    const kept = present?.id === config.id ? { ...config, createdAt: present.createdAt } : config;
    this.#sql.exec("INSERT OR REPLACE INTO config (id, config) VALUES (1, ?)", JSON.stringify(kept));
    await this.#followRules(present, kept);
    return ok(kept);
  }

  /** Changes what may change, in one step: what a PUT at the same time writes is kept where it is not named here. */
  async patch(changes: DatasetChanges): Promise<Result<DatasetConfig>> {
    const present = this.#config;
    if (present === null) return fail(unknown(this.ctx.id.name));
    const changed = changedDataset(present, changes, new Date().toISOString());
    if (!changed.ok) return changed;
    this.#sql.exec("UPDATE config SET config = ?", JSON.stringify(changed.value));
    await this.#followRules(present, changed.value);
    return changed;
  }

  async describe(): Promise<Result<{ config: DatasetConfig; summary: ManifestSummary; migration: string | null }>> {
    const config = this.#config;
    if (config === null) return fail(unknown(this.ctx.id.name));
    const { seq, migration } = this.#head;
    const { objects, bytes, proofs } = totalsOf(this.#sql);
    const stages = countsByStage(this.#sql, null);
    return ok({ config, migration, summary: { objects, bytes, proofs, stages, feeds: this.#feeds.counts, seq } });
  }

  async config(): Promise<Result<DatasetConfig>> {
    const config = this.#config;
    return config === null ? fail(unknown(this.ctx.id.name)) : ok(config);
  }

  async readerView(): Promise<Result<ReaderView>> {
    const config = this.#config;
    if (config === null) return fail(unknown(this.ctx.id.name));
    const nowSeconds = Math.floor(Date.now() / 1000);
    return ok({ config, revoked: this.#access.revocations, nowSeconds, hasTombstones: this.#access.hasBuried });
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
    if (this.#config?.id !== datasetId) return;
    this.ctx.storage.transactionSync(() => {
      this.#rows.forgetAsked(keys);
      this.#access.bury(keys, Date.now(), this.#rows.bump(), true);
    });
    await this.#chores.arm();
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
   * Writes rows of what somebody has put. Safe to run twice: a row that is already there changes nothing. Where the manifest
   * has another object at the key, or knows it as deleted, or is asking about it, nobody here can tell which was later:
   * those keys come back as questions, to be answered by `answerRows` with what R2 has after this.
   */
  async applyRows(datasetId: string, rows: Row[]): Promise<Result<Applied>> {
    if (this.#config?.id !== datasetId) return ok({ written: 0, questions: [], refused: null });
    const { taken, refused } = this.#fitting(rows, () => false);
    const applied = this.ctx.storage.transactionSync(() => this.#feeds.apply(taken, Date.now()));
    return ok({ ...applied, refused });
  }

  /** What a full manifest takes: it goes on with the rows that it has, and with what is gone. */
  #fitting<T extends { key: string }>(
    items: T[],
    isGone: (item: T) => boolean,
  ): { taken: T[]; refused: Refused | null } {
    const failed = this.#full();
    if (failed === null) return { taken: items, refused: null };
    const known = this.#rows.mapOf(items);
    const isTaken = (item: T) => isGone(item) || known.has(item.key);
    const keys = items.filter((item) => !isTaken(item)).map(({ key }) => key);
    return { taken: items.filter(isTaken), refused: keys.length === 0 ? null : { keys, failure: failed } };
  }

  /**
   * Takes hints that something happened at these keys. One with the row's own ETag changes nothing; every other is a
   * question to be asked of R2, and its answer given to `answerRows`. `isNotified`: it came from R2's notifications.
   */
  async hint(
    datasetId: string,
    hints: Hint[],
    isNotified = false,
  ): Promise<Result<{ echoes: number; questions: Question[] }>> {
    if (this.#config?.id !== datasetId) return ok({ echoes: 0, questions: [] });
    return ok(this.ctx.storage.transactionSync(() => this.#feeds.hint(hints, isNotified)));
  }

  /** Begins a walk through the bucket that mends the manifest, or answers the one that runs. */
  async beginWalk(checksums: boolean): Promise<Result<{ status: WalkStatus; begun: boolean }>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    const begun = this.#walk.begin(newId("walk", Date.now()), checksums, Date.now());
    await this.#sendOn();
    const { status } = this.#walk;
    return status === null ? fail(failure("internal")) : ok({ status, begun });
  }

  /** The walk that runs, or ran last; null: none yet. */
  async walkStatus(): Promise<Result<WalkStatus | null>> {
    return this.#config === null ? fail(unknown(this.ctx.id.name)) : ok(this.#walk.status);
  }

  /**
   * Begins a walk where the last one has ended so long ago as the dataset wants it; returns when to ask next, milliseconds
   * since 1970, or null for never.
   */
  async walkWhenDue(now: number): Promise<number | null> {
    const seconds = this.#config?.reconcileSeconds ?? null;
    if (seconds === null) return null;
    const { status } = this.#walk;
    await this.#chores.arm();
    if (status?.state !== "running") {
      const due = (status?.endedAt ?? 0) + seconds * 1000;
      if (due > now) return due;
      await this.beginWalk(false);
    }
    return now + this.env.SILENCE_SECONDS * 1000;
  }

  /** What this step of a walk has to do; null where it has ended. */
  async walkStep(datasetId: string, walk: string, step: number): Promise<WalkStep | null> {
    return this.#config?.id === datasetId ? this.#walk.step(walk, step) : null;
  }

  /** The rows beside a listing: after a key, up to another (null: to the end). */
  async walkRows(after: string | null, upTo: string | null): Promise<Side<WalkedRow>> {
    return rowsBeside(this.#sql, after, upTo);
  }

  /** Rows after a key that lack a SHA-256. */
  async walkUnhashed(after: string | null): Promise<Side<UnhashedRow>> {
    return rowsUnhashed(this.#sql, after);
  }

  /** Ends a step at this key (null: with its phase), and sends the next one. */
  async walked(walk: string, step: number, after: string | null, counts: Partial<WalkCounts>): Promise<void> {
    if (this.#walk.advance(walk, step, after, counts, Date.now())) await this.#sendOn();
  }

  async failWalk(walk: string, step: number, problem: Failure): Promise<void> {
    this.#walk.fail(walk, step, problem, Date.now());
  }

  /**
   * Takes checksums that somebody has computed, or said, of objects: pinned to an ETag, or to a size and a time where they were
   * only said; returns how many keys have no row as yet, and how many rows are of something else.
   */
  async takeChecksums(
    datasetId: string,
    said: (ComputedChecksums | SaidChecksums)[],
  ): Promise<Result<{ missing: number; other: number }>> {
    if (this.#config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    const full = this.#full();
    if (full !== null) return fail(full);
    return ok(this.ctx.storage.transactionSync(() => this.#rows.takeChecksums(said, Date.now())));
  }

  async #sendOn(): Promise<void> {
    await this.#walk.run(Date.now());
    await this.#chores.arm();
  }

  async #sendStep(step: Pick<ReconcileMessage, "walk" | "step">): Promise<void> {
    const { id, name } = this.#config ?? {};
    if (id === undefined || name === undefined) return;
    const message: ReconcileMessage = { v: 1, type: "reconcile", dataset: name, datasetId: id, ...step };
    await this.env.MANIFEST_QUEUE.send(message);
  }

  /** Takes what R2 had at keys that it was asked about; what came too late comes back as the next questions. */
  async answerRows(
    datasetId: string,
    answers: Observation[],
    asked: Asked = {},
  ): Promise<Result<Answered & { refused: Refused | null }>> {
    if (this.#config?.id !== datasetId) return ok({ added: 0, changed: 0, removed: 0, questions: [], refused: null });
    const { taken, refused } = this.#fitting(answers, ({ row }) => row === null);
    const answered = this.ctx.storage.transactionSync(() => {
      // Nor does a full manifest keep questions: a walk asks them anew when there is room.
      this.#rows.forgetAsked(refused?.keys ?? []);
      return this.#feeds.answer(taken, Date.now(), asked);
    });
    // A deletion has left a tombstone, which is to expire.
    if (taken.some(({ row }) => row === null)) await this.#chores.arm();
    return ok({ ...answered, refused });
  }

  /** Seals what is there, in steps; of two that ask at once, both get one version. */
  async seal(
    datasetId: string,
    { note, aliases }: SealBody,
  ): Promise<Result<{ version: VersionInfo; created: boolean }>> {
    if (this.#config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    const held = this.#versions.heldBy(Date.now());
    if (held !== null) {
      const detail = `${held} is deleting objects, or adding a checkpoint; seal again when that is done.`;
      return fail(failure("version-sealing", detail));
    }
    if (this.#placing.dueAt() !== null) {
      await this.#chores.arm();
      const full = this.#full();
      if (full !== null) return fail({ ...full, detail: `${full.detail} ${UNPLACED}` });
      const detail =
        "The rules of places have changed, and rows are being held against them; seal again when that is done.";
      return fail(failure("version-sealing", detail));
    }
    const salt = crypto.getRandomValues(new Uint8Array(16)).toHex();
    const begun = this.ctx.storage.transactionSync(() =>
      this.#versions.begin(this.#head.seq, note, aliases, salt, Date.now()),
    );
    // Also where it is refused: whoever waits for a version sees to it that it goes on.
    await this.#chores.arm();
    if (!begun.ok) return begun;
    const version = this.#versions.get(begun.value.number);
    if (version === null) return fail(failure("internal"));
    return ok({ version: this.#versions.info(version), created: begun.value.created });
  }

  /**
   * No version begins while `who` deletes, for it would seal what is there no more, or adds a checkpoint by parts. Holds until it is released, or until whoever
   * holds has certainly been killed and its message has come again. False where it held already.
   */
  async holdSealing(datasetId: string, who: string): Promise<boolean> {
    const until = Date.now() + (this.env.SILENCE_SECONDS + CONSUMER_MAX_SECONDS) * 1000;
    return this.#config?.id === datasetId && this.#versions.hold(who, until);
  }

  async releaseSealing(who: string): Promise<void> {
    this.#versions.release(who);
  }

  /** Versions from the newest on, before a number; `next` is what to pass for the next page. */
  async versions(
    before: number | null,
    limit: number,
  ): Promise<Result<{ versions: VersionInfo[]; next: number | null }>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    const page = this.#versions.page(before, limit + 1);
    const { aliases } = this.#versions;
    const shown = page.slice(0, limit).map((version) => this.#versions.info(version, aliases));
    return ok({ versions: shown, next: page.length > limit ? (shown.at(-1)?.number ?? null) : null });
  }

  /** One version, sealed or not, and its files. */
  async version(name: Exclude<VersionName, { kind: "live" }>): Promise<Result<SealedVersion>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    const number = name.kind === "number" ? name.number : this.#versions.aliases.get(name.alias);
    const version = number === undefined ? null : this.#versions.get(number);
    if (version === null) return fail(this.#versions.unknown(name, null));
    // Whoever waits for it sees to it that it goes on.
    if (version.step !== null) await this.#chores.arm();
    const { document, derived } = version;
    const files = this.#pieces.files(version.number);
    const index = version.index === null ? null : { ...version.index, derived };
    return ok({ datasetId: this.#config.id, info: this.#versions.info(version), index, files, document });
  }

  /** What it takes to look keys up in a sealed version. */
  async sealedIndex(datasetId: string, number: number): Promise<Result<SealedIndex>> {
    if (this.#config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    const version = this.#versions.find({ kind: "number", number });
    if (!version.ok) return version;
    const { index, derived } = version.value;
    return index === null ? fail(failure("internal")) : ok({ ...index, derived });
  }

  /**
   * Which of these objects the last version holds, sealed or being sealed, and the older versions that have to be asked about
   * the others.
   */
  async sealedAmong(
    datasetId: string,
    objects: { key: string; etag: string }[],
  ): Promise<{ sealed: string[]; versions: number[] }> {
    const { last } = this.#versions;
    if (this.#config?.id !== datasetId || last === null) return { sealed: [], versions: [] };
    const known = this.#rows.mapOf(objects);
    const sealed = objects.filter(({ key, etag }) => {
      const row = known.get(key);
      return row?.etag === etag && row.seq <= last.seq;
    });
    const changed = objects.filter((object) => !sealed.includes(object));
    return {
      sealed: [...sealed.map(({ key }) => key), ...new Shadow(this.#sql).among(last.version, changed)],
      versions: this.#versions.sealedBefore(last.version),
    };
  }

  /** Moves an alias to a sealed version, or takes it away (null). */
  async setAlias(alias: string, number: number | null): Promise<Result<null>> {
    if (this.#config === null) return fail(unknown(this.ctx.id.name));
    if (number === null) {
      const detail = `The dataset has no alias "${alias}".`;
      return this.#versions.removeAlias(alias)
        ? ok(null)
        : fail(failure("unknown-version", detail, { field: "alias" }));
    }
    const version = this.#versions.find({ kind: "number", number });
    if (version.ok) this.#versions.setAlias(alias, number);
    return version.ok ? ok(null) : fail({ ...version.failure, field: "version" });
  }

  override async alarm(): Promise<void> {
    await this.#chores.alarm();
  }

  /** Re-arms the alarm where there is work and none is set; whether there is any. */
  async rearm(): Promise<boolean> {
    await this.#chores.arm();
    return this.#chores.isBusy(Date.now());
  }

  #stores(): Result<SealingStores> {
    const bucket = this.#config?.bucket ?? "";
    const data = r2StoreOf(this.env, bucket);
    if (data === null) return fail(failure("misconfigured", `The R2 binding "${bucket}" is not there any more.`));
    return ok({ system: createR2Store(this.env.SYSTEM), data });
  }

  #full(): Failure | null {
    const { databaseSize } = this.#sql;
    if (databaseSize <= MANIFEST_MAX_BYTES) return null;
    const detail = `The manifest of "${this.ctx.id.name ?? ""}" has ${databaseSize} bytes, and takes no new rows beyond ${MANIFEST_MAX_BYTES}.`;
    return failure("manifest-full", detail);
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

  /** One page of the live manifest; see `Queries`. */
  async query(query: ManifestQuery, after: Position | null, limit: number): Promise<Result<RowPage>> {
    return this.#config === null ? fail(unknown(this.ctx.id.name)) : this.#queries.page(query, after, limit);
  }

  /** By which a listing that is known is known to be the same. */
  async manifestHead(): Promise<Result<{ datasetId: string; seq: number }>> {
    const config = this.#config;
    return config === null ? fail(unknown(this.ctx.id.name)) : ok({ datasetId: config.id, seq: this.#head.seq });
  }

  /** Objects and bytes by stage, of a category or of all (null). */
  async countsByStage(category: string | null): Promise<Result<StageCount[]>> {
    return this.#config === null ? fail(unknown(this.ctx.id.name)) : ok(countsByStage(this.#sql, category));
  }

  /** Sets stage and category by the owner's word, or has the rules say them again (null); returns how many rows changed. */
  async place(keys: string[], place: Place | null): Promise<Result<{ known: number; changed: number }>> {
    const refused = this.#config === null ? unknown(this.ctx.id.name) : this.#full();
    if (refused !== null) return fail(refused);
    return ok(
      this.ctx.storage.transactionSync(() => ({
        known: this.#rows.of(keys).length,
        changed: this.#rows.place(
          keys.map((key) => ({ key, place })),
          Date.now(),
        ),
      })),
    );
  }

  /** The same of some of the keys below a prefix, after one of them; `next` is null at the end. */
  async placeBelow(
    prefix: string,
    after: string | null,
    place: Place | null,
  ): Promise<Result<{ known: number; changed: number; next: string | null }>> {
    const refused = this.#config === null ? unknown(this.ctx.id.name) : this.#full();
    if (refused !== null) return fail(refused);
    return ok(
      this.ctx.storage.transactionSync(() => {
        const position = after === null ? null : { key: after, seq: 0 };
        const page = this.#queries.page({ ...EVERYTHING, prefix }, position, PLACED_AT_ONCE);
        const { rows, next } = page.ok ? page.value : { rows: [], next: null };
        const placed = rows.map(({ key }) => ({ key, place }));
        return { known: rows.length, changed: this.#rows.place(placed, Date.now()), next: next?.key ?? null };
      }),
    );
  }

  /** What goes by a name here, by the given order of stages or the dataset's own. */
  async resolve(
    name: string,
    category: string | null,
    order: Stage[] | null,
  ): Promise<Result<Resolution & { config: DatasetConfig }>> {
    const config = this.#config;
    if (config === null) return fail(unknown(this.ctx.id.name));
    const stages = order ?? config.resolveOrder ?? DEFAULT_RESOLVE_ORDER;
    return ok({ config, ...this.#names.resolve(name, category, stages) });
  }

  /** What the entries of a registry file are here. */
  async findEntries(datasetId: string, asked: AskedEntry[]): Promise<Result<FoundEntry[]>> {
    const config = this.#config;
    if (config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    return ok(this.#names.find(asked, config.resolveOrder ?? DEFAULT_RESOLVE_ORDER));
  }

  /** Keeps a registry in the place of the one there was. */
  async setRegistry(datasetId: string, entries: KeptEntry[]): Promise<Result<null>> {
    if (this.#config?.id !== datasetId) return fail(unknown(this.ctx.id.name));
    this.ctx.storage.transactionSync(() => this.#names.setRegistry(entries));
    return ok(null);
  }

  async registry(): Promise<Result<KeptEntry[]>> {
    return this.#config === null ? fail(unknown(this.ctx.id.name)) : ok(this.#names.registry);
  }

  /** Where the rules of places are others than before, the rows that are there are held against them. */
  async #followRules(before: DatasetConfig | null, after: DatasetConfig): Promise<void> {
    if (JSON.stringify(before?.places ?? null) === JSON.stringify(after.places ?? null)) return;
    this.#rules = null;
    this.#placing.begin(Date.now());
    await this.#chores.arm();
  }

  get #config(): DatasetConfig | null {
    const row = this.#sql.exec<{ config: string }>("SELECT config FROM config").toArray()[0];
    return row === undefined ? null : (JSON.parse(row.config) as DatasetConfig);
  }

  get #head(): { seq: number; migration: string | null } {
    return this.#sql.exec<{ seq: number; migration: string | null }>("SELECT seq, migration FROM head").one();
  }
}

const UNPLACED = "No version begins before its rows were held against the new rules of places.";

const unknown = (name: string | undefined): Failure =>
  failure("unknown-dataset", `There is no dataset named "${name ?? ""}".`, { field: "dataset" });
