import { DurableObject } from "cloudflare:workers";
import { directoryOf } from "../../workers/adapters/objects.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import type { Reading } from "../../workers/core/metering/read-counts.ts";
import type { Tally } from "../../workers/core/metering/tally.ts";
import { type SentManifestMessage, sentRows, type Unsent } from "../../workers/core/migration/message.ts";
import { NODES_MAX, OUTPUTS_MAX } from "../../workers/core/limits.ts";
import { packRows } from "../../workers/core/migration/pack.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { Outbox } from "../outbox.ts";
import { ReadingTable } from "./readings.ts";
import { applyJobEvent, isEnded, type JobEvent, type JobState, nextTickAt } from "./state.ts";

export interface JobStatus {
  spec: JobSpec;
  state: JobState;
  nodes: { name: string; lastHeartbeatAt: number }[];
  outputs: { announced: number; committed: number };
  /** What isolates have reported so far of the reads with its capability. */
  reads: Tally;
  endedAt: number | null;
}

export interface Output {
  key: string;
  size: number;
  contentType: string;
}

const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    ended_at INTEGER,
    told INTEGER NOT NULL DEFAULT 0        -- 1 once the Directory lists the job, 2 once it knows that it ended
  )`,
  `CREATE TABLE IF NOT EXISTS node (name TEXT PRIMARY KEY, last_heartbeat_at INTEGER NOT NULL) WITHOUT ROWID`,
  // What PUT URLs were issued for; etag once finish has found it in the bucket.
  `CREATE TABLE IF NOT EXISTS output (
    key TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    etag TEXT
  ) WITHOUT ROWID`,
  Outbox.SCHEMA,
  ReadingTable.SCHEMA,
];

/** One GPU job: its state, its nodes' heartbeats, its reads, and the outputs it announced. Transitions are in `state.ts`. */
export class GpuJob extends DurableObject<Env> {
  readonly #sql: SqlStorage;
  readonly #outbox: Outbox;
  readonly #readings: ReadingTable;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#outbox = new Outbox(this.#sql, { manifest: env.MANIFEST_QUEUE }, env.SILENCE_SECONDS);
    this.#readings = new ReadingTable(ctx.storage);
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) this.#sql.exec(statement);
    });
  }

  async create(spec: JobSpec): Promise<Result<JobStatus>> {
    this.#sql.exec("INSERT OR IGNORE INTO job (id, spec, state) VALUES (1, ?, 'pending')", JSON.stringify(spec));
    await this.#tell();
    await this.#arm();
    return this.status();
  }

  async status(): Promise<Result<JobStatus>> {
    this.#tick(Date.now());
    const job = this.#job;
    if (job === null) return fail(failure("unknown-job"));
    const nodes = this.#sql
      .exec<{ name: string; lastHeartbeatAt: number }>(
        "SELECT name, last_heartbeat_at AS lastHeartbeatAt FROM node ORDER BY name",
      )
      .toArray();
    const outputs = this.#sql
      .exec<{ announced: number; committed: number }>(
        "SELECT count(*) AS announced, count(etag) AS committed FROM output",
      )
      .one();
    return ok({ ...job, nodes, outputs, reads: this.#readings.total });
  }

  /** Whether its tokens are revoked; a job that is not there has none. */
  async hasEnded(): Promise<boolean> {
    return this.#refuseEnded() !== null;
  }

  async heartbeat(node: string): Promise<Result<JobState>> {
    const others = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM node WHERE name <> ?", node).one().n;
    if (others >= NODES_MAX) {
      return fail(failure("invalid-body", `A job may have ${NODES_MAX} nodes.`, { field: "node" }));
    }
    return this.#apply({ type: "heartbeat" }, (now) =>
      this.#sql.exec("INSERT OR REPLACE INTO node (name, last_heartbeat_at) VALUES (?, ?)", node, now),
    );
  }

  /** Notes what an isolate has counted. A job that has ended takes it too: its last reads are reported after its end. */
  async recordReading(reading: Reading): Promise<Result<null>> {
    if (this.#job === null) return fail(failure("unknown-job"));
    this.#readings.record(reading, Date.now());
    return ok(null);
  }

  async cancel(): Promise<Result<JobState>> {
    return this.#apply({ type: "cancel" }, () => undefined);
  }

  /** Records what PUT URLs are about to be issued for; a URL for the same key again replaces the announcement. */
  async announce(outputs: Output[]): Promise<Result<null>> {
    const refused = this.#refuseEnded();
    if (refused !== null) return fail(refused);
    const known = this.#sql.exec<{ key: string }>("SELECT key FROM output").toArray();
    const keys = new Set([...known, ...outputs].map(({ key }) => key));
    if (keys.size > OUTPUTS_MAX) {
      return fail(failure("invalid-body", `A job may have ${OUTPUTS_MAX} outputs.`, { field: "objects" }));
    }
    this.ctx.storage.transactionSync(() => {
      for (const { key, size, contentType } of outputs) {
        this.#sql.exec(
          `INSERT INTO output (key, size, content_type) VALUES (?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET size = excluded.size, content_type = excluded.content_type`,
          key,
          size,
          contentType,
        );
      }
    });
    return ok(null);
  }

  /** The announced outputs of these keys, or all; `output-not-announced` names a key that was not. */
  async announced(keys: string[] | null): Promise<Result<Output[]>> {
    const refused = this.#refuseEnded();
    if (refused !== null) return fail(refused);
    const all = this.#sql
      .exec<Output & Record<string, SqlStorageValue>>("SELECT key, size, content_type AS contentType FROM output")
      .toArray();
    if (keys === null) return ok(all);
    const byKey = new Map(all.map((output) => [output.key, output]));
    const missing = keys.find((key) => !byKey.has(key));
    if (missing !== undefined) {
      return fail(failure("output-not-announced", `No PUT URL was issued for "${missing}".`, { field: "outputs" }));
    }
    return ok([...new Set(keys)].flatMap((key) => byKey.get(key) ?? []));
  }

  /** Ends the job with outputs that were found in the bucket, and has the manifest say so. */
  async finish(outcome: "done" | "failed", rows: Row[]): Promise<Result<JobState>> {
    return this.#apply({ type: "finish", outcome }, (now, spec) => {
      for (const { key, etag } of rows) this.#sql.exec("UPDATE output SET etag = ? WHERE key = ?", etag, key);
      for (const some of packRows(rows)) {
        const { datasetName: dataset, datasetId } = spec;
        const sender = { kind: "job" as const, id: spec.id };
        const message = { v: 1, type: "rows", dataset, datasetId, sender, ...sentRows(some) } as const;
        this.#outbox.add("manifest", message satisfies Unsent<SentManifestMessage>, now, now);
      }
    });
  }

  /** The manifest has the rows of this message, or the queue gave it up. */
  async settleMessage(seq: number): Promise<void> {
    this.#outbox.settle(seq);
    await this.#arm();
  }

  /** Called by the cron while the job runs; writes nothing where there is an alarm. */
  async rearm(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.#arm();
  }

  override async alarm(): Promise<void> {
    // First the next alarm, then the work, and nothing escapes.
    await this.ctx.storage.setAlarm(Date.now() + 60_000);
    try {
      this.#tick(Date.now());
      await this.#outbox.flush(Date.now());
      await this.#tell();
    } catch (error) {
      console.error(JSON.stringify({ message: "job alarm failed", error: String(error) }));
    }
    await this.#arm();
  }

  async #apply(event: JobEvent, write: (now: number, spec: JobSpec) => void): Promise<Result<JobState>> {
    const now = Date.now();
    // Time passes before anything else does: a heartbeat after the timeout finds the job lost, alarm or no alarm.
    this.#tick(now);
    const job = this.#job;
    if (job === null) return fail(failure("unknown-job"));
    const next = applyJobEvent(job.state, event);
    if (next === null) return fail(ended(job.state));
    try {
      this.ctx.storage.transactionSync(() => {
        this.#setState(next, now);
        write(now, job.spec);
      });
    } catch (error) {
      this.#outbox.discard();
      throw error;
    }
    await this.#outbox.flush(now);
    await this.#tell();
    await this.#arm();
    return ok(next);
  }

  #tick(now: number): void {
    const job = this.#job;
    if (job === null) return;
    const next = applyJobEvent(job.state, { type: "tick", now, ...this.#times(job.spec) });
    if (next !== null && next !== job.state) this.#setState(next, now);
  }

  #setState(state: JobState, now: number): void {
    this.#sql.exec("UPDATE job SET state = ?, ended_at = ? WHERE id = 1", state, isEnded(state) ? now : null);
  }

  #refuseEnded(): Failure | null {
    this.#tick(Date.now());
    const job = this.#job;
    if (job === null) return failure("unknown-job");
    return isEnded(job.state) ? ended(job.state) : null;
  }

  #times(spec: JobSpec): { lastHeartbeatAt: number | null; heartbeatTimeoutMs: number; expiresAt: number } {
    const { at } = this.#sql.exec<{ at: number | null }>("SELECT max(last_heartbeat_at) AS at FROM node").one();
    return { lastHeartbeatAt: at, heartbeatTimeoutMs: spec.heartbeatTimeoutSeconds * 1000, expiresAt: spec.expiresAt };
  }

  get #job(): { spec: JobSpec; state: JobState; endedAt: number | null; told: number } | null {
    const row = this.#sql
      .exec<{ spec: string; state: JobState; endedAt: number | null; told: number }>(
        "SELECT spec, state, ended_at AS endedAt, told FROM job",
      )
      .toArray()[0];
    return row === undefined ? null : { ...row, spec: JSON.parse(row.spec) as JobSpec };
  }

  /** Tells the Directory that there is this job, and that it has ended, each once; the alarm tries again. */
  async #tell(): Promise<void> {
    const job = this.#job;
    if (job === null) return;
    const { id, name, datasetName: dataset } = job.spec;
    try {
      if (job.told === 0) {
        await directoryOf(this.env).add("job", id, { name, dataset });
        this.#sql.exec("UPDATE job SET told = 1");
      }
      if (isEnded(job.state) && job.told < 2) {
        await directoryOf(this.env).setState("job", id, job.state);
        this.#sql.exec("UPDATE job SET told = 2");
      }
    } catch (error) {
      console.error(JSON.stringify({ message: "job not told", job: id, error: String(error) }));
    }
  }

  async #arm(): Promise<void> {
    const job = this.#job;
    if (job === null) return;
    const untold = job.told < (isEnded(job.state) ? 2 : 1) ? Date.now() + 5000 : null;
    const due = [nextTickAt(job.state, this.#times(job.spec)), this.#outbox.nextDueAt, untold].filter(
      (at) => at !== null,
    );
    if (due.length === 0) await this.ctx.storage.deleteAlarm();
    else await this.ctx.storage.setAlarm(Math.min(...due));
  }
}

const ended = (state: JobState): Failure => failure("job-ended", `The job is ${state}; start another.`);
