import { DurableObject } from "cloudflare:workers";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { r2StoreOf } from "../../workers/adapters/r2-stores.ts";
import { failure } from "../../workers/core/failure.ts";
import type { Said } from "../../workers/core/jobs/series.ts";
import type { Ack, AckAnswer, FailedUnit, LeaseAnswer, Progress } from "../../workers/core/jobs/lease.ts";
import { formatState, type Resume } from "../../workers/core/jobs/resume.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { Reading } from "../../workers/core/metering/read-counts.ts";
import type { Tally } from "../../workers/core/metering/tally.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Outbox } from "../outbox.ts";
import { cleanManifestOf } from "./clean-manifest.ts";
import type { Checkpoint, CheckpointSummary } from "./checkpoints.ts";
import { Commits } from "./commits.ts";
import { Finishes } from "./finishes.ts";
import { JobOutputs, type ToCommit } from "./job-outputs.ts";
import { Leases } from "./leases.ts";
import { Life } from "./life.ts";
import { Nodes } from "./nodes.ts";
import type { Announced, Found, KnownOutput, Output } from "./outputs.ts";
import { Rates } from "./rates.ts";
import { ReadingTable } from "./readings.ts";
import { Series, type SeriesView } from "./series.ts";
import { Sockets } from "./sockets.ts";
import { isEnded, type JobState } from "./state.ts";
import { summaryOf, type WatchSummary } from "./summary.ts";
import { UnitList } from "./unit-list.ts";
import { type Standing, Watch } from "./watch.ts";

export interface JobStatus extends Standing {
  spec: JobSpec;
  state: JobState;
  outputs: { announced: number; committed: number };
  /** What isolates have reported so far of the reads with its capability. */
  reads: Tally;
  endedAt: number | null;
  /** The first units that were given up. */
  failedUnits: FailedUnit[];
}

/** Milliseconds for which a look is as good as another. */
const LOOK_KEPT_MS = 1000;

const SCHEMA = [
  Life.SCHEMA,
  Nodes.SCHEMA,
  Rates.SCHEMA,
  Series.SCHEMA,
  Leases.SCHEMA,
  ...JobOutputs.SCHEMA,
  Finishes.SCHEMA,
  Outbox.SCHEMA,
  ReadingTable.SCHEMA,
  UnitList.SCHEMA,
];

/**
 * One GPU job: a lock, a clock and tables. Transitions are in `state.ts`; nodes, outputs and reads are tables of their own.
 *
 * Whatever is asked of it happens in one transaction, after the time that has passed: who comes after a timeout finds it
 * kept, alarm or no alarm. What is refused has changed nothing.
 */
export class GpuJob extends DurableObject<Env> {
  readonly #sql: SqlStorage;
  readonly #outbox: Outbox;
  readonly #readings: ReadingTable;
  readonly #nodes: Nodes;
  readonly #series: Series;
  readonly #watch: Watch;
  readonly #sockets: Sockets;
  readonly #leases: Leases;
  readonly #outputs: JobOutputs;
  readonly #commits: Commits;
  readonly #finishes: Finishes;
  readonly #unitList: UnitList;
  readonly #life: Life;
  /** The last look of who watches, and when it was: milliseconds since 1970. */
  #watched: { at: number; summary: WatchSummary } | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#outbox = new Outbox(this.#sql, { manifest: env.MANIFEST_QUEUE }, env.SILENCE_SECONDS);
    this.#readings = new ReadingTable(ctx.storage);
    this.#nodes = new Nodes(this.#sql);
    this.#series = new Series(this.#sql);
    this.#leases = new Leases(this.#sql, () => this.#life.spec);
    this.#watch = new Watch(this.#sql, this.#nodes, this.#leases);
    this.#sockets = new Sockets(ctx, () => this.#status(Date.now()));
    this.#outputs = new JobOutputs(this.#sql);
    this.#commits = new Commits(this.#outputs, this.#outbox);
    this.#finishes = new Finishes(this.#sql);
    this.#unitList = new UnitList(this.#sql);
    this.#life = new Life(ctx, env, {
      nodes: this.#nodes,
      leases: this.#leases,
      outputs: this.#outputs,
      finishes: this.#finishes,
      outbox: this.#outbox,
      sockets: this.#sockets,
      unitList: this.#unitList,
    });
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) this.#sql.exec(statement);
      this.#outputs.cleanAgain();
    });
  }

  /** @param resume where an earlier job was, of the same units in the same order; null: at the beginning */
  async create(spec: JobSpec, resume: Resume | null = null): Promise<Result<JobStatus>> {
    this.ctx.storage.transactionSync(() => {
      this.#life.begin(spec);
      this.#leases.begin(resume, [...crypto.getRandomValues(new Int32Array(4))], Date.now());
    });
    await this.#life.tell();
    await this.#life.arm();
    return this.status();
  }

  async status(): Promise<Result<JobStatus>> {
    const now = Date.now();
    this.#life.tick(now);
    const status = this.#status(now);
    return status === null ? fail(failure("unknown-job")) : ok(status);
  }

  #status(now: number): JobStatus | null {
    const [job, spec] = [this.#life.job, this.#life.spec];
    if (job === null || spec === null) return null;
    const { state, endedAt } = job;
    const [outputs, reads] = [this.#outputs.counts, this.#readings.total];
    const { failedUnits } = this.#leases;
    return { spec, state, endedAt, ...this.#watch.look(spec, endedAt, now), failedUnits, outputs, reads };
  }

  /**
   * As much of the status as who watches is told.
   *
   * @param mayBeOld by a second, but for the job's state: a look goes over all nodes, and many may look once a second
   */
  async watch(mayBeOld = false): Promise<Result<WatchSummary>> {
    const now = Date.now();
    this.#life.tick(now);
    const kept = this.#watched;
    const isFresh = kept !== null && now >= kept.at && now - kept.at < LOOK_KEPT_MS;
    if (mayBeOld && isFresh && kept.summary.state === this.#life.job?.state) return ok(kept.summary);
    const status = this.#status(now);
    if (status === null) return fail(failure("unknown-job"));
    this.#watched = { at: now, summary: summaryOf(status) };
    return ok(this.#watched.summary);
  }

  /** What heartbeats said of these names, or of all, over the job's life. */
  async series(names: string[] | null): Promise<Result<SeriesView>> {
    return this.#life.job === null ? fail(failure("unknown-job")) : ok(this.#series.view(names));
  }

  /**
   * Another WebSocket that watches. The gateway alone can ask this, and has looked at who is there; no token comes here.
   *
   * @returns 101 with the WebSocket, or the `Failure` as JSON, which the gateway puts into words
   */
  override async fetch(): Promise<Response> {
    const now = Date.now();
    this.#life.tick(now);
    const accepted = this.#sockets.accept(now);
    if (!accepted.ok) return Response.json(accepted.failure);
    await this.#life.arm();
    return new Response(null, { status: 101, webSocket: accepted.value });
  }

  override webSocketMessage(socket: WebSocket): void {
    this.#sockets.heard(socket);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#sockets.closed(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.closed(socket);
  }

  /** What never changes of it. */
  async spec(): Promise<Result<JobSpec>> {
    const spec = this.#life.spec;
    return spec === null ? fail(failure("unknown-job")) : ok(spec);
  }

  /** Whether its tokens are revoked; a job that is not there has none. */
  async hasEnded(): Promise<boolean> {
    this.#life.tick(Date.now());
    const job = this.#life.job;
    return job === null || isEnded(job.state);
  }

  /** A node asks for what needs nothing of the job but that it has not ended; it is heard by that. */
  async admit(): Promise<Result<null>> {
    return this.#life.act(null, () => ok(null));
  }

  /** @returns the state that the job is in, its epoch, and, where there are some, metrics that its series has no room for */
  async heartbeat(
    node: string,
    said: Said = {},
  ): Promise<Result<{ state: JobState; epoch: number; dropped?: string[] }>> {
    return this.#life.act({ type: "heartbeat" }, ({ now, state }) => {
      const heard = this.#nodes.hear(node, now, this.#silentSince(now), said);
      if (!heard.ok) return heard;
      const dropped = this.#series.add(said, now);
      return ok({ state, epoch: this.#watch.epoch, ...(dropped.length === 0 ? {} : { dropped }) });
    });
  }

  /** Units for a node, which is heard by that. */
  async lease(
    node: string,
    asked: { request: string; count: number; epoch: number | null },
  ): Promise<Result<LeaseAnswer>> {
    return this.#life.act({ type: "heartbeat" }, ({ now, state }) => {
      if (state === "finishing")
        return fail(failure("job-finishing", "The job is being finished: nothing is handed out."));
      const silentSince = this.#silentSince(now);
      const heard = this.#nodes.hear(node, now, silentSince);
      const isAlone = () => this.#nodes.isAlone(node, silentSince);
      return heard.ok ? this.#leases.lease({ node, ...asked, isAlone }, now) : heard;
    });
  }

  /** Leases of one answer of `lease`, of which the node was not told: they are as if they had not been given. */
  async giveBack(node: string, leases: string[]): Promise<Result<Progress>> {
    return this.#life.act(null, ({ now }) => this.#leases.giveBack(node, leases, now));
  }

  /** What came of a node's leases; it is heard by that. */
  async ack(node: string, acks: readonly Ack[]): Promise<Result<AckAnswer>> {
    return this.#life.act({ type: "heartbeat" }, ({ now }) => {
      const heard = this.#nodes.hear(node, now, this.#silentSince(now));
      if (!heard.ok) return heard;
      const acknowledged = this.#leases.ack(node, acks, now);
      if (!acknowledged.ok) return acknowledged;
      const { answer, credit } = acknowledged.value;
      if (credit.done > 0) this.#nodes.credit(node, credit.done, credit.bytes, credit.busyMs);
      return ok(answer);
    });
  }

  /** Where it is, as text that another job may begin from, and how far. */
  async resumeState(): Promise<Result<{ state: string; epoch: number; progress: Progress }>> {
    return this.#life.act(null, ({ spec }) =>
      ok({ state: formatState(spec, this.#leases.checkpoint()), ...this.#leases.standing }),
    );
  }

  /** Notes what an isolate has counted. A job that has ended takes it too: its last reads are reported after its end. */
  async recordReading(reading: Reading): Promise<Result<null>> {
    if (this.#life.job === null) return fail(failure("unknown-job"));
    this.#readings.record(reading, Date.now());
    this.#life.show(Date.now());
    if (this.#sockets.nextDueAt !== null) await this.#life.arm();
    return ok(null);
  }

  async cancel(): Promise<Result<JobState>> {
    return this.#life.act({ type: "cancel" }, ({ state }) => ok(state));
  }

  /** Records what PUT URLs are about to be issued for; returns the generations of the announcements, in their order. */
  async announce(outputs: Output[]): Promise<Result<number[]>> {
    return this.#announcing(() => this.#outputs.announcePuts(outputs));
  }

  /** What a finish that is under way does not look at any more is not announced meanwhile. */
  async #announcing<T>(announce: () => Result<T>): Promise<Result<T>> {
    return this.#life.act(null, ({ state }) => (state === "finishing" ? fail(NOT_ANNOUNCED) : announce()));
  }

  /** What is known of these keys; those that were never announced are absent. */
  async knownOutputs(keys: string[]): Promise<Result<KnownOutput[]>> {
    return this.#life.act(null, () => ok(this.#outputs.of(keys)));
  }

  /** Takes outputs that are about to be put, all of one checkpoint (null: of none). The same again changes nothing. */
  async announceOutputs(outputs: Announced[], checkpoint: string | null): Promise<Result<KnownOutput[]>> {
    return this.#announcing(() => this.#outputs.announce(outputs, checkpoint));
  }

  /**
   * Keeps the upload that was created for an output; returns the one that the output has. Of two that were created for
   * one output the first stays. The other is aborted, as is one that comes when nobody wants it any more: it is of an
   * announcement that was given up.
   */
  async recordUpload(key: string, generation: number, uploadId: string): Promise<Result<string>> {
    const kept = await this.#announcing(() => this.#outputs.recordUpload(key, generation, uploadId));
    if (kept.ok && kept.value === uploadId) return kept;
    if (this.#life.job !== null) this.#outputs.dropUpload(key, uploadId, Date.now());
    await this.#life.arm();
    return kept;
  }

  /** The outputs that are to be committed: of these keys, or all of a checkpoint, with those that are committed already. */
  async toCommit(keys: string[], checkpoint: string | null): Promise<Result<ToCommit>> {
    return this.#life.act(null, () => this.#outputs.toCommit(keys, checkpoint));
  }

  /** Commits outputs that were found in the bucket, with whole checkpoints, and has the manifest say so. */
  async commitOutputs(found: Found[]): Promise<Result<null>> {
    return this.#committing(found, (hold) =>
      this.#life.act(null, ({ now, spec }) => this.#commits.commit(spec, found, hold, now)),
    );
  }

  /** Gives up outputs that are not committed, of these keys or of a checkpoint; R2 is cleaned of them. */
  async abortOutputs(keys: string[], checkpoint: string | null): Promise<Result<string[]>> {
    const aborted = await this.#life.act(null, ({ now }) => this.#outputs.abort(keys, checkpoint, now));
    if (!aborted.ok) return aborted;
    // At once, so that the keys are free when it is answered; what fails, or is more than some hundreds, the alarm does.
    await this.#clean();
    await this.#life.arm();
    return aborted;
  }

  /** Of these objects of a dataset that say they are this job's, the keys of those that were not committed. */
  async uncommittedAmong(datasetId: string, objects: { key: string; etag: string }[]): Promise<string[]> {
    return this.#life.spec?.datasetId === datasetId ? this.#outputs.uncommittedAmong(objects) : [];
  }

  /**
   * Another job wants a key of the dataset at which this one, when it has ended, has left what it never committed: nobody can
   * commit that any more, nor see it. Returns whether the key is free.
   */
  async giveUpOutput(datasetId: string, key: string): Promise<boolean> {
    this.#life.tick(Date.now());
    const job = this.#life.job;
    if (this.#life.spec?.datasetId !== datasetId || job === null || !isEnded(job.state)) return false;
    if (!this.ctx.storage.transactionSync(() => this.#outputs.giveUp(key, Date.now()))) return false;
    await this.#clean();
    await this.#life.arm();
    return this.#outputs.of([key])[0]?.state === "aborted";
  }

  /** Those that are committed and stay, newest first. */
  async checkpoints(): Promise<Result<CheckpointSummary[]>> {
    return this.#life.job === null ? fail(failure("unknown-job")) : ok(this.#outputs.checkpoints());
  }

  /** One that is committed, with its outputs; null: the latest. */
  async checkpoint(name: string | null): Promise<Result<{ checkpoint: Checkpoint; outputs: KnownOutput[] }>> {
    return this.#life.job === null ? fail(failure("unknown-job")) : this.#outputs.checkpoint(name);
  }

  /**
   * The message's outputs are deleted, and the manifest knows it; or they stay, and are no longer the job's. Returns whether
   * no other message waits for the same `hold`.
   */
  async settleRetired(
    seq: number,
    became: { deleted: string[]; kept: string[] },
    hold: string | null = null,
  ): Promise<boolean> {
    this.ctx.storage.transactionSync(() => {
      // One that was settled before says nothing: its keys may be another message's by now.
      if (this.#outbox.settle(seq) !== null) this.#outputs.settleRetired(became);
    });
    await this.#life.arm();
    return hold === null || !this.#outbox.hasHold(hold);
  }

  /** Whether the message's outputs are still to be deleted: once they are settled, their keys are free. */
  async owesRetired(seq: number): Promise<boolean> {
    return this.#outbox.triesOf(seq) !== null;
  }

  /** The message's outputs could not be deleted, which is tried again; returns whether that was often enough. */
  async failRetired(seq: number): Promise<boolean> {
    this.#outbox.postpone(seq, Date.now() + this.env.SILENCE_SECONDS * 1000, 1);
    return (this.#outbox.triesOf(seq) ?? 0) >= RETIRE_TRIES_MAX;
  }

  /** What a finish has to look at: these outputs, or (null) all that are not committed. */
  async announced(keys: string[] | null): Promise<Result<KnownOutput[]>> {
    return this.#life.act(null, () => this.#outputs.toFinish(keys));
  }

  /**
   * From now on nothing new is handed out, while outputs are looked at. A job is not done while nodes hold units:
   * `units-out`; of one that has failed they are taken back. Returns the number of this attempt, of which several may be
   * under way.
   */
  async beginFinish(outcome: "done" | "failed"): Promise<Result<{ state: JobState; attempt: number }>> {
    return this.#life.act({ type: "begin-finish" }, ({ now, state }) => {
      const out = outcome === "done" ? this.#leases.out() : null;
      if (out !== null) return fail(out);
      this.#leases.withdraw(now);
      return ok({ state, attempt: this.#finishes.begin(now) });
    });
  }

  /** What this attempt looked at is not as it should be: the job goes on, unless another attempt is still under way. */
  async goOn(attempt: number): Promise<Result<JobState>> {
    const isLast = this.#finishes.isLast(attempt, Date.now());
    return this.#life.act(isLast ? { type: "go-on" } : null, ({ state }) => {
      this.#finishes.end(attempt);
      return ok(state);
    });
  }

  /** Ends the job with outputs that were found in the bucket, and has the manifest say so. */
  async finish(outcome: "done" | "failed", found: Found[], attempt: number): Promise<Result<JobState>> {
    return this.#committing(found, (hold) =>
      this.#life.act({ type: "finish", outcome }, ({ now, spec, state }) => {
        if (!this.#finishes.counts(attempt, now)) return fail(TOOK_TOO_LONG);
        const committed = this.#commits.commit(spec, found, hold, now);
        return committed.ok ? ok(state) : committed;
      }),
    );
  }

  async #committing<T>(found: readonly Found[], commit: (hold: string) => Promise<Result<T>>): Promise<Result<T>> {
    const spec = this.#life.spec;
    if (spec === null) return fail(failure("unknown-job"));
    return this.#commits.whileHeld(datasetOf(this.env, spec.datasetName), spec, found, commit);
  }

  /** The manifest has the rows of this message. Returns whether no other message waits for the same `hold`. */
  async settleMessage(seq: number, hold: string | null = null): Promise<boolean> {
    this.#outbox.settle(seq);
    await this.#life.arm();
    return hold === null || !this.#outbox.hasHold(hold);
  }

  /** Called by the cron while the job runs; writes nothing where there is an alarm. */
  async rearm(): Promise<void> {
    await this.#life.rearm();
  }

  override async alarm(): Promise<void> {
    await this.#life.alarm(async () => {
      await this.#clean();
      await this.#unitList.clean(this.env, this.#life.spec?.id ?? "", this.#life.job?.endedAt ?? null, Date.now());
    });
  }

  /** Who was heard last then, or before, is silent now: milliseconds since 1970. */
  #silentSince(now: number): number {
    return now - (this.#life.spec?.heartbeatTimeoutSeconds ?? 0) * 1000;
  }

  async #clean(): Promise<void> {
    const spec = this.#life.spec;
    if (spec === null) return;
    const [store, dataset] = [r2StoreOf(this.env, spec.bucket), datasetOf(this.env, spec.datasetName)];
    const place = store === null ? null : { store, manifest: cleanManifestOf(this.env, dataset, spec, store) };
    await this.#outputs.clean(spec, place, Date.now());
  }
}

const TOOK_TOO_LONG = failure(
  "job-finishing",
  "This finish took so long that the job has gone on since; finish it again, with fewer outputs that are not committed.",
);
const NOT_ANNOUNCED = failure(
  "job-finishing",
  "The job is being finished: nothing new is announced; announce it before.",
);
/** Tries to delete the outputs of one message, after which what is left of them is kept: a bucket lock refuses for ever. */
const RETIRE_TRIES_MAX = 8;
