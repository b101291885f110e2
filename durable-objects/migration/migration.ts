import { DurableObject } from "cloudflare:workers";
import { configOf } from "../../workers/adapters/config.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { MIGRATION_MAX_BYTES } from "../../workers/core/limits.ts";
import { isNoTry, triesMax, TURN_SECONDS, waitMs } from "../../workers/core/migration/backoff.ts";
import { DEFAULT_PRICES } from "../../workers/core/migration/estimate.ts";
import type {
  DeleteMessage,
  FinishMessage,
  KeysMessage,
  ListMessage,
  MigrationMessage,
  PartMessage,
  ReportMessage,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import type { ReportLine } from "../../workers/core/migration/report-line.ts";
import type { MigrationSpec, MigrationStatus, Operations } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Outbox } from "../outbox.ts";
import { Dispatch } from "./dispatch.ts";
import { Course } from "./course.ts";
import { type KeyFailure, Ledger } from "./ledger.ts";
import { type BatchOutcome, type ListedPage, Pages } from "./pages.ts";
import { Report } from "./report.ts";
import { SCHEMA } from "./schema.ts";
import { Tidings } from "./tidings.ts";
import { Totals } from "./totals.ts";
import { type FinishedUpload, type OpenedUpload, type Restart, Uploading } from "./uploading.ts";
import { type Claim, type DonePart, type SentPart, type Upload, Uploads } from "./uploads.ts";

/** What a consumer works with; `wantsCut`: the range that it lists should be cut in two. */
export interface Begun {
  spec: MigrationSpec;
  wantsCut: boolean;
}

/**
 * One migration: the lock on its pages, batches, uploads and parts, and the clock that finds what went silent.
 *
 * Work is handed out by an outbox row that stays until the work is settled; see `Outbox`. Each method below is one
 * transaction that (1) ignores work which was settled before, (2) records, (3) puts what follows from it into the
 * outbox, (4) takes the run on where nothing is left to do (`Course`). Only then, outside the transaction, are messages
 * sent. A consumer whose run was paused or has ended settles what it has begun, and begins nothing more.
 */
export class Migration extends DurableObject<Env> {
  readonly #ledger: Ledger;
  readonly #uploads: Uploads;
  readonly #uploading: Uploading;
  readonly #pages: Pages;
  readonly #dispatch: Dispatch;
  readonly #report: Report;
  readonly #totals: Totals;
  readonly #course: Course;
  readonly #tidings: Tidings;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const sql = ctx.storage.sql;
    const queues = { migration: env.MIGRATION_QUEUE, manifest: env.MANIFEST_QUEUE };
    this.#ledger = new Ledger(sql);
    this.#uploads = new Uploads(sql);
    this.#dispatch = new Dispatch(new Outbox(sql, queues, env.SILENCE_SECONDS), this.#ledger);
    this.#uploading = new Uploading(this.#ledger, this.#uploads, this.#dispatch);
    this.#pages = new Pages(sql, this.#ledger, this.#uploads, this.#dispatch);
    this.#report = new Report(sql);
    this.#totals = new Totals(sql, this.#ledger);
    this.#course = new Course(this.#ledger, this.#dispatch, this.#pages, this.#uploading, this.#report);
    this.#tidings = new Tidings(ctx.storage, env, this.#ledger, this.#pages, this.#dispatch.outbox);
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) sql.exec(statement);
    });
  }

  /** Starts the run; starting it again answers what it is. */
  async start(spec: MigrationSpec): Promise<Result<MigrationStatus>> {
    await this.#commit((now) => {
      if (this.#ledger.run !== null) return;
      this.#ledger.create(spec, now);
      this.#pages.begin(spec, now);
    });
    return this.status();
  }

  async status(): Promise<Result<MigrationStatus>> {
    const config = configOf(this.env);
    const prices = config.ok ? config.value.prices : DEFAULT_PRICES;
    const status = this.#totals.status(Date.now(), this.#course.isListed, prices);
    return status === null ? fail(failure("unknown-migration")) : ok(status);
  }

  /** Whether the run has ended and nothing of it is under way: what its consumers had begun is settled, and in its report. */
  async isSettled(): Promise<boolean> {
    const { run, isRunning } = this.#ledger;
    return run !== null && !isRunning && this.#dispatch.outbox.isEmpty && !this.#report.hasRest;
  }

  /** What the run works with, for another one that follows it. */
  async spec(): Promise<MigrationSpec | null> {
    return this.#ledger.spec;
  }

  /** Refused with `unknown-migration` and `migration-ended`, as the two below. Pausing what is paused changes nothing. */
  async pause(): Promise<Result<MigrationStatus>> {
    return this.#control((now) => this.#course.pause(now));
  }

  async resume(): Promise<Result<MigrationStatus>> {
    return this.#control((now) => this.#course.resume(now));
  }

  /** Ends the run; what R2 holds open of it is aborted. What consumers have begun they settle. */
  async cancel(): Promise<Result<MigrationStatus>> {
    return this.#control((now, spec) => this.#course.end("cancelled", spec, now));
  }

  /**
   * What a consumer works with, or null when there is nothing to do: the work of this message is settled, the run is
   * paused, or it has ended.
   */
  async begin(message: MigrationMessage): Promise<Begun | null> {
    const { spec } = this.#ledger;
    if (spec === null || !this.#dispatch.outbox.isOpen(message.seq)) return null;
    if (!this.#ledger.isRunning) {
      if (LAST_WORK.has(message.type)) return { spec, wantsCut: false };
      await this.#commit((now) => this.#closeLate(message.seq, now));
      return null;
    }
    if (this.#ledger.isPaused && message.type !== "abort") return null;
    return { spec, wantsCut: message.type === "list" && this.#pages.wantsCut(message, spec) };
  }

  /** Records a page. With `isGoingOn` the answer may be the next page, for the same consumer to go on with. */
  async recordPage(
    seq: number,
    page: ListedPage,
    operations: Partial<Operations>,
    isGoingOn: boolean,
  ): Promise<(Begun & { seq: number }) | null> {
    let next: number | null = null;
    await this.#settle(seq, operations, (now, spec) => {
      if (!this.#ledger.isRunning) return;
      if (this.ctx.storage.sql.databaseSize > MIGRATION_MAX_BYTES) {
        this.#ledger.setProblem(failure("manifest-full", TOO_LARGE), now);
        this.#course.end("failed", spec, now);
      } else next = this.#pages.record(seq, page, isGoingOn, spec, now);
    });
    const { spec } = this.#ledger;
    return next === null || spec === null ? null : { seq: next, spec, wantsCut: false };
  }

  /** It is not the time for this message, which comes again later. No try is burnt. */
  async putOff(seq: number, seconds: number): Promise<void> {
    await this.#commit((now) => this.#dispatch.outbox.postpone(seq, now + seconds * 1000, 0));
  }

  /**
   * What may go better later is sent again, with growing delays. After too many tries a listing fails the run, and a
   * finish its object.
   */
  async postpone(
    message: ListMessage | KeysMessage | DeleteMessage | FinishMessage,
    problem: Failure,
    operations: Partial<Operations>,
  ): Promise<void> {
    const tries = this.#dispatch.outbox.triesOf(message.seq);
    if (tries === null) return;
    if (isNoTry(problem.code)) return this.putOff(message.seq, TURN_SECONDS);
    if (tries + 1 >= triesMax(problem.code)) {
      if (message.type !== "finish") return this.failRun(message.seq, problem, operations);
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
      // One that was cancelled meanwhile has ended, and not by this.
      if (!this.#ledger.isRunning) return;
      this.#ledger.setProblem(problem, now);
      this.#course.end("failed", spec, now);
    });
  }

  async settleBatch(
    message: { seq: number; tries: number },
    outcome: BatchOutcome,
    operations: Partial<Operations>,
  ): Promise<void> {
    let isSettled = true;
    await this.#settle(message.seq, operations, (now, spec) => {
      isSettled = false;
      this.#pages.settle(message.seq, message.tries, outcome, spec, now);
    });
    // Another delivery was first. What this one copied is in R2 all the same, and the Dataset knows which row is younger.
    const { spec } = this.#ledger;
    if (isSettled && spec !== null) await this.#commit((now) => this.#dispatch.publish(outcome.rows, spec, now));
  }

  /** Whether the work of this message is still to be done by whoever has it. */
  async isOpen(seq: number): Promise<boolean> {
    return this.#dispatch.outbox.isOpen(seq);
  }

  /** Objects whose message the queue gave up; their lines are in no part of the report as yet. */
  async failItems(seq: number, failures: KeyFailure[]): Promise<void> {
    await this.#settle(seq, {}, () => this.#pages.fail(seq, failures));
  }

  /** Records an upload that a consumer has created. Where another was first, or the run has ended, it is aborted. */
  async openUpload(message: UploadMessage, opened: OpenedUpload, operations: Partial<Operations>): Promise<void> {
    let accepted = false;
    await this.#settle(message.seq, operations, (now, spec) => {
      accepted = this.#ledger.isRunning && this.#uploading.open(message.generation, opened, spec, now);
    });
    const { spec } = this.#ledger;
    if (!accepted && spec !== null) {
      await this.#commit((now) => this.#uploading.abort(spec, opened.item.key, opened.uploadId, now));
    }
  }

  /** The upload and the parts of the message that its consumer may send now. */
  async claimParts(message: PartMessage): Promise<{ upload: Upload; claims: Claim[] } | null> {
    const { key, generation, first, last } = message;
    const upload = this.#uploads.find(key, generation);
    if (upload?.state !== "open") return null;
    const now = Date.now();
    // Over before the message is sent again, and not before its consumer is dead.
    const until = now + this.env.SILENCE_SECONDS * 750;
    const { claims, heldUntil } = this.ctx.storage.transactionSync(() => {
      const heldBefore = this.#uploads.heldUntil(key, first, last, now);
      return { claims: this.#uploads.claim(key, first, last, now, until), heldUntil: heldBefore };
    });
    // All that is left is another's, who may be dead: it is asked again when that claim has run out.
    if (claims.length === 0 && heldUntil !== null) {
      await this.#commit(() => this.#dispatch.outbox.postpone(message.seq, heldUntil, 0));
    }
    return { upload, claims };
  }

  async settlePart(message: PartMessage, claim: Claim, part: SentPart, operations: Partial<Operations>): Promise<void> {
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

  async uploadToFinish(message: FinishMessage): Promise<{ upload: Upload; parts: DonePart[] } | null> {
    const upload = this.#uploads.find(message.key, message.generation);
    return upload?.state === "finishing" ? { upload, parts: this.#uploads.parts(message.key) } : null;
  }

  async settleUpload(message: FinishMessage, finished: FinishedUpload, operations: Partial<Operations>): Promise<void> {
    await this.#settle(message.seq, operations, (now, spec) => this.#uploading.finish(message, finished, spec, now));
  }

  /**
   * An object cannot go on as it is. What may pass is started again as a new generation, with the item as it is now
   * where the source changed; anything else, and too many tries, is a failure.
   */
  async giveUpUpload(
    message: UploadMessage | PartMessage | FinishMessage,
    problem: Failure,
    restart: Restart | null,
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

  /** Rows that could not be written: the objects are copied, and yet the run has failed, for the manifest lacks them. */
  async deadRows(seq: number, keys: string[], problem: Failure): Promise<void> {
    await this.#settle(seq, {}, (now) => {
      this.#ledger.setProblem(problem, now);
      this.#ledger.addFailures(
        keys.map((key) => ({ key, failure: problem })),
        false,
      );
    });
  }

  /** Names of the parts of the report, in their order, and lines that are in none of them as yet. */
  async reportNames(after: string | null, limit: number): Promise<string[]> {
    return this.#report.names(after, limit);
  }

  async unreported(after: string | null, limit: number): Promise<ReportLine[]> {
    return this.#report.rest(after, limit, this.#ledger.spec?.task ?? "copy");
  }

  /** A part of the report was written, with lines of these keys. False: another has one of them, and this one does not count. */
  async addReport({ seq }: ReportMessage, name: string, keys: string[]): Promise<boolean> {
    let isAdded = false;
    await this.#commit(() => {
      isAdded = this.#dispatch.outbox.isOpen(seq) && this.#report.add(name, keys);
    });
    return isAdded;
  }

  async endReport({ seq }: ReportMessage, operations: Partial<Operations>): Promise<void> {
    await this.#settle(seq, operations, () => undefined);
  }

  /** Called by the cron for runs that should be running: an alarm that kept throwing is gone for good. */
  async rearm(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.#tidings.arm();
  }

  override async alarm(): Promise<void> {
    // First the next alarm, then the work, and nothing escapes: an alarm that keeps throwing is gone for good.
    // Killed in between, the object is woken as soon as a silent message would be sent again.
    await this.ctx.storage.setAlarm(Date.now() + Math.min(60, this.env.SILENCE_SECONDS) * 1000);
    try {
      await this.#dispatch.outbox.flush(Date.now());
      await this.#tidings.tell();
    } catch (error) {
      console.error(JSON.stringify({ message: "migration alarm failed", error: String(error) }));
    }
    await this.#tidings.arm();
  }

  /**
   * A message of a run that has ended. Another delivery of it may be with a consumer that began before the end, and is to
   * settle it: it is closed only when it comes once more after the silence.
   */
  #closeLate(seq: number, now: number): void {
    const { outbox } = this.#dispatch;
    if (!outbox.putOffOnce(seq, now + this.env.SILENCE_SECONDS * 1000)) this.#dispatch.close(seq, now);
  }

  async #control(work: (now: number, spec: MigrationSpec) => void): Promise<Result<MigrationStatus>> {
    const { spec } = this.#ledger;
    if (spec === null) return fail(failure("unknown-migration"));
    if (!this.#ledger.isRunning) return fail(failure("migration-ended", `It is ${this.#ledger.run?.state ?? ""}.`));
    await this.#commit((now) => work(now, spec));
    return this.status();
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
      record(now, spec);
    });
  }

  /** Runs `record` as one transaction, in which the run goes on or ends by what was settled; then sends what is due. */
  async #commit(record: (now: number) => void): Promise<void> {
    const now = Date.now();
    try {
      this.ctx.storage.transactionSync(() => {
        record(now);
        this.#course.goOn(now);
      });
    } catch (error) {
      this.#dispatch.outbox.discard();
      throw error;
    }
    await this.#dispatch.outbox.flush(now);
    await this.#tidings.tell();
    await this.#tidings.arm();
  }
}

const TOO_LARGE =
  "The run's own records are at their limit of 8 GB; migrate the rest by prefix, one run after the other.";

/** What is done also after the end of a run. */
const LAST_WORK: ReadonlySet<string> = new Set(["abort", "report"]);
