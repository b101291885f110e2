import { directoryOf } from "../../workers/adapters/objects.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { fail, type Result } from "../../workers/core/result.ts";
import type { Outbox } from "../outbox.ts";
import type { Finishes } from "./finishes.ts";
import type { JobOutputs } from "./job-outputs.ts";
import type { Leases } from "./leases.ts";
import type { Nodes } from "./nodes.ts";
import type { Sockets } from "./sockets.ts";
import { applyJobEvent, isEnded, type JobEvent, type JobState, type JobTimes, nextTickAt } from "./state.ts";
import type { UnitList } from "./unit-list.ts";

interface Job {
  state: JobState;
  endedAt: number | null;
  told: number;
}

/** What has a time of its own in a job. */
interface Parts {
  nodes: Nodes;
  leases: Leases;
  outputs: JobOutputs;
  finishes: Finishes;
  outbox: Outbox;
  sockets: Sockets;
  unitList: UnitList;
}

/** Thrown out of a transaction to take back what was written before a refusal. */
class Refusal extends Error {
  readonly failure: Failure;
  constructor(refused: Failure) {
    super(refused.detail);
    this.failure = refused;
  }
}

/**
 * A job's life: what it is, in which state, and when it has to wake. Whatever is asked of a job happens in one transaction,
 * after the time that has passed: who comes after a timeout finds it kept, alarm or no alarm. What is refused has changed
 * nothing.
 */
export class Life {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  readonly #env: Env;
  readonly #parts: Parts;
  /** When the alarm rings, as far as is known: milliseconds since 1970, null for never, undefined since an eviction. */
  #alarmAt: number | null | undefined;
  /** It never changes once it is there. */
  #spec: JobSpec | null = null;

  static readonly SCHEMA = `CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    ended_at INTEGER,
    told INTEGER NOT NULL DEFAULT 0        -- 1 once the Directory lists the job, 2 once it knows that it ended
  )`;

  constructor({ storage }: DurableObjectState, env: Env, parts: Parts) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.#env = env;
    this.#parts = parts;
  }

  /** Does nothing the second time. */
  begin(spec: JobSpec): void {
    this.#sql.exec("INSERT OR IGNORE INTO job (id, spec, state) VALUES (1, ?, 'pending')", JSON.stringify(spec));
  }

  /**
   * Applies an event, and does `work` with the state that follows, in one transaction: what `work` refuses takes all of it back,
   * but for that a node was heard: all but a cancellation is asked by nodes.
   *
   * @param event null: only that the job has not ended
   */
  async act<T>(
    event: JobEvent | null,
    work: (at: { now: number; spec: JobSpec; state: JobState }) => Result<T>,
  ): Promise<Result<T>> {
    const now = Date.now();
    this.tick(now);
    const [job, spec] = [this.job, this.spec];
    if (job === null || spec === null) return fail(failure("unknown-job"));
    if (isEnded(job.state)) return fail(ended(job.state));
    const state = event === null ? job.state : applyJobEvent(job.state, event);
    if (state === null) return fail(failure("job-finishing", "The job is not being finished."));
    const done = this.#inTransaction(() => {
      if (state !== job.state) this.#setState(state, now);
      const worked = work({ now, spec, state });
      if (worked.ok && isEnded(state)) this.#parts.outputs.abandon(now);
      return worked;
    });
    // What is refused was said too. Who gave a name is known to be heard by now, unless that was refused.
    if (event?.type !== "cancel") this.#parts.nodes.hearNameless(now, wordMs(spec));
    if (!done.ok) return done;
    this.show(now);
    await this.#parts.outbox.flush(now);
    await this.tell();
    await this.arm();
    return done;
  }

  /** Called by the cron while the job runs; writes nothing where there is an alarm. */
  async rearm(): Promise<void> {
    this.#alarmAt = await this.#storage.getAlarm();
    if (this.#alarmAt === null) await this.arm();
  }

  /** @param clean what R2 is to be rid of */
  async alarm(clean: () => Promise<void>): Promise<void> {
    // First the next alarm, then the work, and nothing escapes.
    await this.#setAlarm(Date.now() + 60_000);
    try {
      this.tick(Date.now());
      this.show(Date.now());
      await this.#parts.outbox.flush(Date.now());
      await this.tell();
      await clean();
    } catch (error) {
      console.error(JSON.stringify({ message: "job alarm failed", error: String(error) }));
    }
    this.#alarmAt = Infinity; // The one set above is put off to when something is due.
    await this.arm();
  }

  /** Has who watches told of what may have changed. That is no reason for what was asked to fail: it is done. */
  show(now: number): void {
    const job = this.job;
    if (job === null) return;
    try {
      this.#parts.sockets.note();
      this.#parts.sockets.push(now, isEnded(job.state));
    } catch (error) {
      console.error(JSON.stringify({ message: "job not shown", error: String(error) }));
    }
  }

  #inTransaction<T>(work: () => Result<T>): Result<T> {
    try {
      return this.#storage.transactionSync(() => {
        const done = work();
        if (!done.ok) throw new Refusal(done.failure);
        return done;
      });
    } catch (error) {
      this.#parts.outbox.discard();
      this.#parts.nodes.forget();
      if (error instanceof Refusal) return fail(error.failure);
      throw error;
    }
  }

  /** Lets time pass. */
  tick(now: number): void {
    const [job, spec] = [this.job, this.spec];
    if (job === null || spec === null) return;
    const next = applyJobEvent(job.state, { type: "tick", now, ...this.#times(spec) });
    if (next !== null && next !== job.state) {
      this.#storage.transactionSync(() => {
        this.#setState(next, now);
        if (isEnded(next)) this.#parts.outputs.abandon(now);
      });
    }
    const leasesDueAt = isEnded(next ?? job.state) ? null : this.#parts.leases.dueAt();
    if (leasesDueAt !== null && now >= leasesDueAt) this.#storage.transactionSync(() => this.#parts.leases.pass(now));
  }

  #setState(state: JobState, now: number): void {
    this.#sql.exec("UPDATE job SET state = ?, ended_at = ? WHERE id = 1", state, isEnded(state) ? now : null);
  }

  #times(spec: JobSpec): JobTimes {
    const lastHeartbeatAt = this.#parts.nodes.lastHeardAt;
    const finishCountsUntil = this.#parts.finishes.countsUntil;
    return {
      lastHeartbeatAt,
      lostAfterMs: spec.lostAfterSeconds * 1000,
      expiresAt: spec.expiresAt,
      finishCountsUntil,
    };
  }

  get job(): Job | null {
    const [row] = this.#sql
      .exec<Job & Record<string, SqlStorageValue>>("SELECT state, ended_at AS endedAt, told FROM job")
      .toArray();
    return row ?? null;
  }

  get spec(): JobSpec | null {
    if (this.#spec !== null) return this.#spec;
    const [row] = this.#sql.exec<{ spec: string }>("SELECT spec FROM job").toArray();
    return (this.#spec = row === undefined ? null : (JSON.parse(row.spec) as JobSpec));
  }

  /** Tells the Directory that there is this job, and that it has ended, each once; the alarm tries again. */
  async tell(): Promise<void> {
    const [job, spec] = [this.job, this.spec];
    if (job === null || spec === null) return;
    const { id, name, datasetName: dataset } = spec;
    try {
      if (job.told === 0) {
        await directoryOf(this.#env).add("job", id, { name, dataset });
        this.#sql.exec("UPDATE job SET told = 1");
      }
      if (isEnded(job.state) && job.told < 2) {
        await directoryOf(this.#env).setState("job", id, job.state);
        this.#sql.exec("UPDATE job SET told = 2");
      }
    } catch (error) {
      console.error(JSON.stringify({ message: "job not told", job: id, error: String(error) }));
    }
  }

  async arm(): Promise<void> {
    if (this.#alarmAt === undefined) this.#alarmAt = await this.#storage.getAlarm();
    const [job, spec] = [this.job, this.spec];
    if (job === null || spec === null) return;
    const untold = job.told < (isEnded(job.state) ? 2 : 1) ? Date.now() + 5000 : null;
    const due = [
      nextTickAt(job.state, this.#times(spec)),
      isEnded(job.state) ? null : this.#parts.leases.dueAt(),
      this.#parts.outbox.nextDueAt,
      this.#parts.outputs.nextDueAt,
      this.#parts.sockets.nextDueAt,
      untold,
      this.#parts.unitList.dueAt(job.endedAt),
    ].filter((at) => at !== null);
    // One that rings too early arms itself again: the alarm is written where it must ring earlier, not with each request.
    const at = due.length === 0 ? null : Math.min(...due);
    if (at === null ? this.#alarmAt !== null : this.#alarmAt === null || at < this.#alarmAt) await this.#setAlarm(at);
  }

  async #setAlarm(at: number | null): Promise<void> {
    this.#alarmAt = at;
    if (at === null) await this.#storage.deleteAlarm();
    else await this.#storage.setAlarm(at);
  }
}

/** Milliseconds for which one word of a node is as good as another. */
const wordMs = ({ lostAfterSeconds }: JobSpec): number => Math.min(5000, lostAfterSeconds * 100);

const ended = (state: JobState): Failure => failure("job-ended", `The job is ${state}; start another.`);
