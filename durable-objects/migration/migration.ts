import { DurableObject } from "cloudflare:workers";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { triesMax, waitMs } from "../../workers/core/migration/backoff.ts";
import type {
  CopyItem,
  FinishMessage,
  ListMessage,
  MigrationMessage,
  PartMessage,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import type { MigrationSpec, MigrationStatus, Operations } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Outbox } from "../outbox.ts";
import { Dispatch } from "./dispatch.ts";
import { Ledger } from "./ledger.ts";
import { type BatchOutcome, type ListedPage, Pages } from "./pages.ts";
import { SCHEMA } from "./schema.ts";
import { type OpenedUpload, Uploading } from "./uploading.ts";
import { type Claim, type Upload, Uploads } from "./uploads.ts";

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
  readonly #uploading: Uploading;
  readonly #pages: Pages;
  readonly #dispatch: Dispatch;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const sql = ctx.storage.sql;
    const queues = { migration: env.MIGRATION_QUEUE, manifest: env.MANIFEST_QUEUE };
    this.#ledger = new Ledger(sql);
    this.#uploads = new Uploads(sql);
    this.#dispatch = new Dispatch(new Outbox(sql, queues, env.SILENCE_SECONDS), this.#ledger);
    this.#uploading = new Uploading(this.#ledger, this.#uploads, this.#dispatch);
    this.#pages = new Pages(sql, this.#ledger, this.#uploads, this.#dispatch);
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) sql.exec(statement);
    });
  }

  /** Starts the run; starting it again answers what it is. */
  async start(spec: MigrationSpec): Promise<Result<MigrationStatus>> {
    await this.#commit((now) => {
      if (this.#ledger.run !== null) return;
      this.#ledger.create(spec, now);
      this.#dispatch.send<ListMessage>({ v: 1, migration: spec.id, type: "list", after: null }, now);
    });
    return this.status();
  }

  async status(): Promise<Result<MigrationStatus>> {
    const status = this.#ledger.status(Date.now());
    return status === null ? fail(failure("unknown-migration")) : ok(status);
  }

  /** What a consumer works with, or null when the work of this message is settled or the run is over. */
  async begin(seq: number): Promise<MigrationSpec | null> {
    return this.#ledger.isRunning && this.#dispatch.outbox.isOpen(seq) ? this.#ledger.spec : null;
  }

  /** Where the dataset is in R2; also after the run. */
  async place(): Promise<{ bucket: string; prefix: string } | null> {
    return this.#ledger.spec;
  }

  async recordPage(seq: number, page: ListedPage, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => this.#pages.record(seq, page, spec, now));
  }

  /**
   * What may go better later is sent again, with growing delays. After too many tries a listing fails the run, and a
   * finish its object.
   */
  async postpone(
    message: ListMessage | FinishMessage,
    problem: Failure,
    operations: Partial<Operations>,
  ): Promise<void> {
    const tries = this.#dispatch.outbox.triesOf(message.seq);
    if (tries === null) return;
    if (tries + 1 >= triesMax(problem.code)) {
      if (message.type === "list") return this.failRun(message.seq, problem, operations);
      return this.giveUpUpload(message, problem, null, operations);
    }
    await this.#commit((now) => {
      this.#ledger.addOperations(operations, now);
      this.#dispatch.outbox.postpone(message.seq, now + waitMs(tries + 1, problem), 1);
    });
  }

  /** The listing cannot go on: the run has failed, and what is open in R2 is aborted. */
  async failRun(seq: number, problem: Failure, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => {
      this.#ledger.setState("failed", now);
      this.#ledger.setProblem(problem, now);
      this.#dispatch.outbox.clear("migration", "abort");
      this.#uploading.abandonAll(spec, now);
    });
  }

  async settleBatch(seq: number, batch: number, outcome: BatchOutcome, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, (now, spec) => this.#pages.settle(batch, outcome, spec, now));
  }

  /** Records an upload that a consumer has created. False: another was first, and this one is to be aborted. */
  async openUpload(
    seq: number,
    generation: number,
    opened: OpenedUpload,
    operations: Partial<Operations>,
  ): Promise<boolean> {
    let accepted = false;
    await this.#settle(seq, operations, (now, spec) => {
      accepted = this.#uploading.open(generation, opened, spec, now);
    });
    return accepted;
  }

  /** The upload and the parts of the message that its consumer may send now. */
  async claimParts(message: PartMessage): Promise<{ upload: Upload; claims: Claim[] } | null> {
    const { key, generation, first, last } = message;
    const upload = this.#uploads.find(key, generation);
    if (upload?.state !== "open") return null;
    const now = Date.now();
    // Over before the message is sent again, and not before its consumer is dead.
    const until = now + this.env.SILENCE_SECONDS * 750;
    const claims = this.ctx.storage.transactionSync(() => this.#uploads.claim(key, first, last, now, until));
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
      this.#uploading.settlePart(message, claim, part, now);
    });
  }

  /**
   * A consumer gives parts back that it could not send, or (no problem) had no time for. They are sent again, later
   * where there was a problem; the object fails when this message made no progress for too many tries.
   */
  async releaseParts(
    message: PartMessage,
    claims: Claim[],
    problem: Failure | null,
    operations: Partial<Operations>,
  ): Promise<void> {
    await this.#commit((now) => {
      this.#ledger.addOperations(operations, now);
      this.#uploading.release(message, claims, problem, now);
    });
  }

  async uploadToFinish(
    message: FinishMessage,
  ): Promise<{ upload: Upload; parts: { partNumber: number; etag: string; md5: string }[] } | null> {
    const upload = this.#uploads.find(message.key, message.generation);
    return upload?.state === "finishing" ? { upload, parts: this.#uploads.parts(message.key) } : null;
  }

  async settleUpload(message: FinishMessage, row: Row, operations: Partial<Operations>): Promise<void> {
    await this.#settle(message.seq, operations, (now, spec) => this.#uploading.finish(message, row, spec, now));
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
      this.#uploading.giveUp(message, problem, restart, now);
    });
  }

  /** Takes a message off whose work is done and recorded elsewhere: rows in the manifest, an abandoned upload. */
  async settleMessage(seq: number): Promise<void> {
    await this.#settle(seq, {}, () => undefined);
  }

  /** What the queue gave up after its last retry becomes failures, with the keys named. */
  async deadLetter(message: MigrationMessage): Promise<void> {
    const problem = failure("dead-letter", `The ${message.type} message was given up by the queue.`);
    switch (message.type) {
      case "list":
        return this.failRun(message.seq, problem, {});
      case "copy": {
        const failures = message.items.map(({ key }) => ({ key, failure: problem }));
        return this.settleBatch(
          message.seq,
          message.batch,
          { copied: [], grownBytes: 0, again: [], late: [], failures },
          {},
        );
      }
      case "upload":
      case "part":
      case "finish":
        return this.giveUpUpload(message, problem, null, {});
      case "abort":
        // R2 aborts it by itself after seven days.
        return this.settleMessage(message.seq);
    }
  }

  /** Rows that could not be written: the objects are copied, and yet the run has failed, for the manifest lacks them. */
  async deadRows(seq: number, keys: string[], problem: Failure): Promise<void> {
    await this.#commit((now) => {
      if (!this.#dispatch.outbox.isOpen(seq)) return;
      this.#dispatch.close(seq, now);
      this.#ledger.setProblem(problem, now);
      this.#ledger.addFailures(keys.map((key) => ({ key, failure: problem })));
    });
  }

  /** Called by the cron for runs that should be running: an alarm that kept throwing is gone for good. */
  async rearm(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.#arm();
  }

  override async alarm(): Promise<void> {
    // First the next alarm, then the work, and nothing escapes: an alarm that keeps throwing is gone for good.
    await this.ctx.storage.setAlarm(Date.now() + 60_000);
    try {
      await this.#dispatch.outbox.flush(Date.now());
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
      const { spec } = this.#ledger;
      if (spec === null) return;
      this.#ledger.addOperations(operations, now);
      if (!this.#dispatch.outbox.isOpen(seq)) return;
      this.#dispatch.close(seq, now);
      if (this.#ledger.isRunning) record(now, spec);
    });
  }

  /**
   * Runs `record` as one transaction, in which the listing may go on and the run may end by what was settled; then
   * sends what is due.
   */
  async #commit(record: (now: number) => void): Promise<void> {
    const now = Date.now();
    this.ctx.storage.transactionSync(() => {
      record(now);
      this.#pages.goOn(now);
      const { run } = this.#ledger;
      if (run?.state !== "copying" || !this.#dispatch.outbox.isEmpty) return;
      this.#ledger.setState(run.problem === null ? "done" : "failed", now);
    });
    await this.#dispatch.outbox.flush(now);
    await this.#tell();
    await this.#arm();
  }

  /**
   * Tells the Directory that there is this run, and it and the Dataset that the run has ended, each once. What fails
   * is tried again by the alarm: no other place knows of a run that was started and not listed.
   */
  async #tell(): Promise<void> {
    const { run, spec } = this.#ledger;
    if (run === null || spec === null) return;
    try {
      if (run.told === 0) {
        await directoryOf(this.env).add("migration", spec.id, { dataset: spec.dataset });
        this.#ledger.setTold(1);
      }
      if (run.finished_at !== null && run.told < 2) {
        await datasetOf(this.env, spec.dataset).endMigration(spec.datasetId, spec.id);
        await directoryOf(this.env).setState("migration", spec.id, run.state);
        this.#ledger.setTold(2);
      }
    } catch (error) {
      console.error(JSON.stringify({ message: "run not told", migration: spec.id, error: String(error) }));
    }
  }

  /** Sets the alarm for the next due message; keeps an earlier one. */
  async #arm(): Promise<void> {
    const { run } = this.#ledger;
    const isUntold = run !== null && run.told < (run.finished_at === null ? 1 : 2);
    const dueAt = earliest(this.#dispatch.outbox.nextDueAt, isUntold ? Date.now() + 5000 : null);
    const set = await this.ctx.storage.getAlarm();
    if (dueAt === null) {
      if (set !== null) await this.ctx.storage.deleteAlarm();
    } else if (set === null || set > dueAt) await this.ctx.storage.setAlarm(dueAt);
  }
}

function earliest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
