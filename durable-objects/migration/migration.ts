import { DurableObject } from "cloudflare:workers";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { BATCHES_IN_FLIGHT_MAX, TRIES_MAX } from "../../workers/core/limits.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import type {
  AbortMessage,
  CopyItem,
  CopyMessage,
  FinishMessage,
  ListMessage,
  ManifestMessage,
  MigrationMessage,
  PartMessage,
  Unsent,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import type { PartPlan } from "../../workers/core/migration/parts.ts";
import { planSeconds } from "../../workers/core/migration/backoff.ts";
import type { MigrationSpec, MigrationStatus, Operations } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { Outbox } from "../outbox.ts";
import { type KeyFailure, Ledger } from "./ledger.ts";
import { SCHEMA } from "./schema.ts";
import { type Claim, type Upload, Uploads } from "./uploads.ts";

const COPY_KEYS_MAX = 500;
const COPY_BYTES_MAX = 1024 ** 3;
/** Bytes of one part message: what a consumer carries well within its life. */
const PART_MESSAGE_BYTES = 512 * 1024 ** 2;

export interface ListedPage {
  after: string | null;
  upTo: string | null;
  isLast: boolean;
  skipped: { objects: number; bytes: number };
  /** Objects found equal that the manifest does not know yet. */
  found: Row[];
  small: CopyItem[];
  large: CopyItem[];
  failures: (KeyFailure & { size: number })[];
}

export interface BatchOutcome {
  copied: Row[];
  failures: KeyFailure[];
  /** Objects whose failure may pass; tried again in a batch of their own. */
  again: { item: CopyItem; failure: Failure }[];
}

/**
 * One migration: the lock on its pages, batches, uploads and parts, and the clock that finds what went silent.
 *
 * Work is handed out by an outbox row that stays until the work is settled; see `Outbox`. Each method below is one
 * transaction that (1) ignores work which was settled before, (2) records, (3) puts what follows from it into the
 * outbox. Only then, outside the transaction, are messages sent. The run is done when the listing is complete and the
 * outbox is empty: then every object is copied, skipped or failed, and every row is in the manifest.
 */
export class Migration extends DurableObject<Env> {
  readonly #ledger: Ledger;
  readonly #uploads: Uploads;
  readonly #outbox: Outbox;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const sql = ctx.storage.sql;
    this.#ledger = new Ledger(sql);
    this.#uploads = new Uploads(sql);
    this.#outbox = new Outbox(
      sql,
      { migration: env.MIGRATION_QUEUE, manifest: env.MANIFEST_QUEUE },
      Number(env.SILENCE_SECONDS),
    );
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) sql.exec(statement);
    });
  }

  /** Starts the run; starting it again answers what it is. */
  async start(spec: MigrationSpec): Promise<Result<MigrationStatus>> {
    await this.#commit((now) => {
      if (this.#ledger.run !== null) return;
      this.#ledger.create(spec, now);
      this.#send<ListMessage>({ v: 1, migration: spec.id, type: "list", after: null }, now);
    });
    return this.status();
  }

  async status(): Promise<Result<MigrationStatus>> {
    const status = this.#ledger.status(Date.now());
    return status === null ? fail(failure("unknown-migration")) : ok(status);
  }

  /** What a consumer works with, or null when the work of this message is settled or the run is over. */
  async begin(seq: number): Promise<MigrationSpec | null> {
    return this.#ledger.isRunning && this.#outbox.isOpen(seq) ? this.#ledger.spec : null;
  }

  /** Where the dataset is in R2; also after the run. */
  async place(): Promise<{ bucket: string; prefix: string } | null> {
    return this.#ledger.spec;
  }

  async recordPage(seq: number, page: ListedPage, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => {
      const { objects, bytes } = page.skipped;
      const failedBytes = page.failures.reduce((sum, { size }) => sum + size, 0);
      this.ctx.storage.sql.exec(
        "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?)",
        page.after ?? "",
        page.upTo,
        page.isLast ? 1 : 0,
        objects,
        bytes,
        page.failures.length,
        failedBytes,
      );
      this.#ledger.addFailures(page.failures);
      this.#publish(page.found, spec, now);
      this.#addBatches(page.small, page.after ?? "", 0, spec, now);
      this.#uploads.plan(page.large);
      for (const item of page.large) {
        this.#send<UploadMessage>({ v: 1, migration: spec.id, type: "upload", generation: 1, item }, now);
      }
      if (page.isLast) this.#ledger.setState("copying", now);
      else {
        // Held back while enough is in flight: the outbox, which holds the keys in flight, stays small.
        const dueAt = this.#inFlight() >= BATCHES_IN_FLIGHT_MAX ? null : now;
        this.#send<ListMessage>({ v: 1, migration: spec.id, type: "list", after: page.upTo }, dueAt);
      }
    });
  }

  /** The listing cannot go on: the run has failed. */
  async failRun(seq: number, problem: Failure, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => this.#fail(problem, spec, now));
  }

  async settleBatch(seq: number, batch: number, outcome: BatchOutcome, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => {
      const row = this.ctx.storage.sql
        .exec<{ after: string; tries: number; settled: number }>(
          "SELECT after, tries, settled FROM batch WHERE id = ?",
          batch,
        )
        .one();
      if (row.settled === 1) return;
      const givenUp = row.tries + 1 >= TRIES_MAX ? outcome.again : [];
      const again = givenUp.length > 0 ? [] : outcome.again.map(({ item }) => item);
      const failures = [
        ...outcome.failures,
        ...givenUp.map(({ item, failure: last }) => ({ key: item.key, failure: last })),
      ];
      const proofs: Partial<Record<Proof, number>> = {};
      for (const { proof } of outcome.copied) if (proof !== null) proofs[proof] = (proofs[proof] ?? 0) + 1;
      this.ctx.storage.sql.exec(
        `UPDATE batch SET settled = 1, objects = objects - ?, bytes = bytes - ?, copied_objects = ?, copied_bytes = ?,
           failed_objects = ?, proofs = ? WHERE id = ?`,
        again.length,
        total(again),
        outcome.copied.length,
        total(outcome.copied),
        failures.length,
        JSON.stringify(proofs),
        batch,
      );
      this.#ledger.addFailures(failures);
      this.#publish(outcome.copied, spec, now);
      const wait = Math.max(
        planSeconds(row.tries + 1),
        ...outcome.again.map(({ failure: last }) => last.retryAfterSeconds ?? 0),
      );
      this.#addBatches(again, row.after, row.tries + 1, spec, now + wait * 1000);
      if (this.#inFlight() < BATCHES_IN_FLIGHT_MAX) this.#outbox.release(now);
    });
  }

  /** Records an upload that a consumer has created. False: another was first, and this one is to be aborted. */
  async openUpload(
    seq: number,
    generation: number,
    opened: { uploadId: string; plan: PartPlan; item: CopyItem },
    operations: Partial<Operations>,
  ): Promise<boolean> {
    let accepted = false;
    const key = opened.item.key;
    await this.#settle(seq, operations, (now, spec) => {
      accepted = this.#uploads.open(key, generation, opened);
      if (!accepted) return;
      const { partBytes, parts } = opened.plan;
      const perMessage = Math.max(1, Math.floor(PART_MESSAGE_BYTES / partBytes));
      for (let first = 1; first <= parts; first += perMessage) {
        const last = Math.min(first + perMessage - 1, parts);
        this.#send<PartMessage>({ v: 1, migration: spec.id, type: "part", key, generation, first, last }, now);
      }
    });
    return accepted;
  }

  /** The upload and the parts of the message that its consumer may send now. */
  async claimParts(message: PartMessage): Promise<{ upload: Upload; claims: Claim[] } | null> {
    const upload = this.#uploads.find(message.key, message.generation);
    if (upload === null || upload.state !== "open") return null;
    const now = Date.now();
    const until = now + Number(this.env.SILENCE_SECONDS) * 1000;
    const claims = this.ctx.storage.transactionSync(() =>
      this.#uploads.claim(message.key, message.first, message.last, now, until),
    );
    return { upload, claims };
  }

  async settlePart(
    message: PartMessage,
    claim: Claim,
    part: { etag: string; md5: string },
    operations: Partial<Operations>,
  ): Promise<void> {
    await this.#commit((now) => {
      this.#ledger.addOperations(operations, now);
      const { key, generation, first, last, seq } = message;
      const upload = this.#uploads.find(key, generation);
      if (upload?.state !== "open") return;
      this.#uploads.settlePart(key, claim, part.etag, part.md5);
      if (this.#uploads.settledIn(key, first, last) === last - first + 1) this.#close(seq, now);
      if (this.#uploads.settledIn(key, 1, upload.plan.parts) < upload.plan.parts) return;
      this.#uploads.setFinishing(key);
      this.#send<FinishMessage>({ v: 1, migration: message.migration, type: "finish", key, generation }, now);
    });
  }

  /** A consumer could not send these parts; they are sent again later, or the object fails after too many tries. */
  async releaseParts(
    message: PartMessage,
    claims: Claim[],
    problem: Failure,
    operations: Partial<Operations>,
  ): Promise<void> {
    await this.#commit((now) => {
      this.#ledger.addOperations(operations, now);
      const { key, generation, seq } = message;
      const upload = this.#uploads.find(key, generation);
      if (upload?.state !== "open") return;
      this.#uploads.release(key, claims);
      const tries = this.#uploads.countTry(key);
      const wait = Math.max(planSeconds(tries), problem.retryAfterSeconds ?? 0);
      if (tries < TRIES_MAX) this.#outbox.postpone(seq, now + wait * 1000);
      else this.#failUpload(upload, problem, now);
    });
  }

  async uploadToFinish(
    message: FinishMessage,
  ): Promise<{ upload: Upload; parts: { partNumber: number; etag: string; md5: string }[] } | null> {
    const upload = this.#uploads.find(message.key, message.generation);
    return upload?.state === "finishing" ? { upload, parts: this.#uploads.parts(message.key) } : null;
  }

  async settleUpload(message: FinishMessage, row: Row, operations: Partial<Operations>): Promise<void> {
    await this.#settle(message.seq, operations, (now, spec) => {
      if (this.#uploads.find(message.key, message.generation)?.state !== "finishing") return;
      this.#uploads.end(message.key, "copied", row.proof);
      this.#publish([row], spec, now);
    });
  }

  /**
   * An object cannot go on as it is. What may pass is started again as a new generation, with the item as it is now
   * where the source changed; anything else, and too many tries, is a failure.
   */
  async giveUpUpload(
    message: UploadMessage | PartMessage | FinishMessage,
    problem: Failure,
    restart: { item: CopyItem } | null,
    operations: Partial<Operations>,
  ): Promise<void> {
    await this.#commit((now) => {
      this.#ledger.addOperations(operations, now);
      const key = message.type === "upload" ? message.item.key : message.key;
      const upload = this.#uploads.find(key, message.generation);
      if (upload === null || upload.state === "copied" || upload.state === "failed") return;
      if (restart === null || upload.tries + 1 >= TRIES_MAX) {
        this.#failUpload(upload, problem, now);
        return;
      }
      this.#abandon(upload, now);
      this.#uploads.restart(key, restart.item);
      const wait = Math.max(planSeconds(upload.tries + 1), problem.retryAfterSeconds ?? 0);
      const generation = upload.generation + 1;
      const spec = this.#ledger.spec;
      if (spec === null) return;
      this.#send<UploadMessage>(
        { v: 1, migration: spec.id, type: "upload", generation, item: restart.item },
        now + wait * 1000,
      );
    });
  }

  /** Takes a message off whose work is done and recorded elsewhere: rows in the manifest, an abandoned upload. */
  async settleMessage(seq: number, operations: Partial<Operations> = {}): Promise<void> {
    await this.#settle(seq, operations, () => undefined);
  }

  /** What the queue gave up after its last retry becomes failures, with the keys named. */
  async deadLetter(message: MigrationMessage): Promise<void> {
    const problem = failure("dead-letter", `The ${message.type} message was given up by the queue.`);
    switch (message.type) {
      case "list":
        return this.failRun(message.seq, problem, {});
      case "copy":
        return this.settleBatch(message.seq, message.batch, deadBatch(message, problem), {});
      case "upload":
      case "part":
      case "finish":
        return this.giveUpUpload(message, problem, null, {});
      case "abort":
        // R2 aborts it by itself after seven days.
        return this.settleMessage(message.seq);
    }
  }

  /** Manifest rows that could not be written: their objects are copied, and still a failure of this run. */
  async deadRows(seq: number, keys: string[]): Promise<void> {
    await this.#settle(seq, {}, () => {
      const problem = failure("dead-letter", "The object was copied, but its manifest row could not be written.");
      this.#ledger.addFailures(keys.map((key) => ({ key, failure: problem })));
    });
  }

  /** Called by the cron for runs that should be running: an alarm that kept throwing is gone for good. */
  async rearm(): Promise<void> {
    await this.#arm();
  }

  override async alarm(): Promise<void> {
    // First the next alarm, then the work, and nothing escapes: see the design's rule for alarms.
    await this.ctx.storage.setAlarm(Date.now() + 60_000);
    try {
      await this.#outbox.flush(Date.now());
      await this.#tell();
    } catch (error) {
      console.error(JSON.stringify({ message: "migration alarm failed", error: String(error) }));
    }
    await this.#arm();
  }

  /** One transaction that settles a message; nothing happens if it was settled before, but operations are counted. */
  async #settle(
    seq: number,
    operations: Partial<Operations>,
    record: (now: number, spec: MigrationSpec) => void,
  ): Promise<void> {
    await this.#commit((now) => {
      const spec = this.#ledger.spec;
      if (spec === null) return;
      this.#ledger.addOperations(operations, now);
      if (!this.#outbox.isOpen(seq)) return;
      this.#close(seq, now);
      if (this.#ledger.isRunning) record(now, spec);
    });
  }

  /** Runs `record` as one transaction, then ends the run if nothing is left, then sends what is due. */
  async #commit(record: (now: number) => void): Promise<void> {
    const now = Date.now();
    this.ctx.storage.transactionSync(() => {
      record(now);
      if (this.#ledger.run?.state === "copying" && this.#outbox.isEmpty) this.#ledger.setState("done", now);
    });
    await this.#outbox.flush(now);
    await this.#tell();
    await this.#arm();
  }

  #close(seq: number, now: number): void {
    const sends = this.#outbox.settle(seq);
    // A message costs a write, a read and a delete, each time it is sent.
    if (sends !== null) this.#ledger.addOperations({ queue: 3 * sends }, now);
  }

  #send<T extends MigrationMessage>(message: Unsent<T>, dueAt: number | null): void {
    this.#outbox.add<T>("migration", message, dueAt);
  }

  #addBatches(items: readonly CopyItem[], after: string, tries: number, spec: MigrationSpec, dueAt: number): void {
    let from = after;
    for (const some of pack(items, { items: COPY_KEYS_MAX, weight: COPY_BYTES_MAX }, ({ size }) => size)) {
      const upTo = some.at(-1)?.key ?? from;
      const { id } = this.ctx.storage.sql
        .exec<{ id: number }>(
          "INSERT INTO batch (after, up_to, tries, objects, bytes) VALUES (?, ?, ?, ?, ?) RETURNING id",
          from,
          upTo,
          tries,
          some.length,
          total(some),
        )
        .one();
      this.#send<CopyMessage>({ v: 1, migration: spec.id, type: "copy", batch: id, tries, items: some }, dueAt);
      from = upTo;
    }
  }

  #publish(rows: readonly Row[], spec: MigrationSpec, now: number): void {
    for (const some of pack(rows, { items: 1000, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#outbox.add<ManifestMessage>(
        "manifest",
        {
          v: 1,
          type: "rows",
          dataset: spec.dataset,
          datasetId: spec.datasetId,
          sender: { kind: "migration", id: spec.id },
          rows: some,
        },
        now,
      );
    }
  }

  #failUpload(upload: Upload, problem: Failure, now: number): void {
    this.#abandon(upload, now);
    this.#uploads.end(upload.item.key, "failed", null);
    this.#ledger.addFailures([{ key: upload.item.key, failure: problem }]);
  }

  /** Takes the upload's messages off, and has R2's side of it aborted. */
  #abandon(upload: Upload, now: number): void {
    const spec = this.#ledger.spec;
    if (spec === null) return;
    const rows = this.ctx.storage.sql.exec<{ seq: number }>(
      `SELECT seq FROM outbox WHERE queue = 'migration' AND body ->> 'type' IN ('upload', 'part', 'finish')
         AND coalesce(body ->> 'key', body ->> '$.item.key') = ? AND body ->> 'generation' = ?`,
      upload.item.key,
      upload.generation,
    );
    for (const { seq } of rows.toArray()) this.#close(seq, now);
    if (upload.uploadId === "") return;
    const { key } = upload.item;
    this.#send<AbortMessage>({ v: 1, migration: spec.id, type: "abort", key, uploadId: upload.uploadId }, now);
  }

  #fail(problem: Failure, spec: MigrationSpec, now: number): void {
    this.#ledger.setState("failed", now, problem);
    this.#outbox.clear("migration");
    const open = this.ctx.storage.sql.exec<{ key: string; upload_id: string }>(
      "SELECT key, upload_id FROM upload WHERE state IN ('open', 'finishing') AND upload_id IS NOT NULL",
    );
    for (const { key, upload_id: uploadId } of open.toArray()) {
      this.#send<AbortMessage>({ v: 1, migration: spec.id, type: "abort", key, uploadId }, now);
    }
  }

  #inFlight(): number {
    return this.ctx.storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox WHERE due_at IS NOT NULL").one()
      .n;
  }

  /** Tells the Dataset and the Directory, once, that the run has ended. A failure is tried again by the alarm. */
  async #tell(): Promise<void> {
    const run = this.#ledger.run;
    if (run === null || run.told === 1 || run.finished_at === null) return;
    const spec = JSON.parse(run.spec) as MigrationSpec;
    try {
      await datasetOf(this.env, spec.dataset).endMigration(spec.datasetId, spec.id);
      await directoryOf(this.env).setState("migration", spec.id, run.state);
      this.#ledger.setTold();
    } catch (error) {
      console.error(JSON.stringify({ message: "migration end not told", migration: spec.id, error: String(error) }));
    }
  }

  /** Sets the alarm for the next due message; keeps an earlier one. */
  async #arm(): Promise<void> {
    const run = this.#ledger.run;
    const untold = run !== null && run.finished_at !== null && run.told === 0 ? Date.now() + 5000 : null;
    const dueAt = earliest(this.#outbox.nextDueAt, untold);
    const set = await this.ctx.storage.getAlarm();
    if (dueAt === null) {
      if (set !== null) await this.ctx.storage.deleteAlarm();
    } else if (set === null || set > dueAt) await this.ctx.storage.setAlarm(dueAt);
  }
}

function deadBatch(message: CopyMessage, problem: Failure): BatchOutcome {
  return { copied: [], again: [], failures: message.items.map(({ key }) => ({ key, failure: problem })) };
}

const total = (items: readonly { size: number }[]): number => items.reduce((sum, { size }) => sum + size, 0);

function earliest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
