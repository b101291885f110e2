import { type Failure, failure } from "../../workers/core/failure.ts";
import {
  NOTHING_WALKED,
  type ReconcileMessage,
  type WalkCounts,
  type WalkPhase,
  type WalkState,
  type WalkStatus,
} from "../../workers/core/manifest/reconcile.ts";
import type { Chore } from "./chores.ts";

/** Milliseconds after which what the queue did not take is sent again. */
const RESEND_MS = 5000;
/** Sends of one step after which the walk has failed: its consumers keep dying. */
const SENDS_MAX = 10;

interface Kept {
  walk: string;
  state: WalkState;
  problem: string | null;
  phase: WalkPhase;
  checksums: number;
  step: number;
  after: string | null;
  sends: number;
  counts: string;
  startedAt: number;
  updatedAt: number;
  endedAt: number | null;
}

/** What a consumer is to do: the keys after this one. */
export interface WalkStep {
  phase: WalkPhase;
  after: string | null;
}

/**
 * One walk through the bucket, of one dataset, in steps that each are a message. How far it is stands here: a step counts
 * once, by whoever tells its end first, and one whose message or consumer was lost is sent again after the silence.
 */
export class Walk implements Chore {
  readonly name = "walk";
  readonly #sql: SqlStorage;
  readonly #send: (message: Pick<ReconcileMessage, "walk" | "step">) => Promise<void>;
  readonly #silenceMs: number;

  static readonly SCHEMA = [
    // due_at: when the step is sent again; NULL where the walk has ended. counts: WalkCounts as JSON.
    `CREATE TABLE IF NOT EXISTS walk (
      id INTEGER PRIMARY KEY CHECK (id = 1),
      walk TEXT NOT NULL,
      state TEXT NOT NULL,
      problem TEXT,
      phase TEXT NOT NULL,
      checksums INTEGER NOT NULL,
      step INTEGER NOT NULL,
      after TEXT,
      sends INTEGER NOT NULL,
      due_at INTEGER,
      counts TEXT NOT NULL,
      started_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      ended_at INTEGER
    )`,
  ];

  constructor(
    sql: SqlStorage,
    send: (message: Pick<ReconcileMessage, "walk" | "step">) => Promise<void>,
    silenceSeconds: number,
  ) {
    this.#sql = sql;
    this.#send = send;
    this.#silenceMs = silenceSeconds * 1000;
  }

  /** Begins a walk; false where one runs already. */
  begin(id: string, checksums: boolean, now: number): boolean {
    if (this.#kept?.state === "running") return false;
    this.#sql.exec(
      `INSERT OR REPLACE INTO walk (id, walk, state, phase, checksums, step, sends, due_at, counts, started_at, updated_at)
         VALUES (1, ?, 'running', 'keys', ?, 0, 0, ?, ?, ?, ?)`,
      id,
      checksums ? 1 : 0,
      now,
      JSON.stringify(NOTHING_WALKED),
      now,
      now,
    );
    return true;
  }

  /** What this step has to do; null where it has ended. */
  step(walk: string, step: number): WalkStep | null {
    const kept = this.#kept;
    if (kept?.state !== "running" || kept.walk !== walk || kept.step !== step) return null;
    return { phase: kept.phase, after: kept.after };
  }

  /** Counts a step that has ended at this key (null: with its phase), once; whether there is a next one to send. */
  advance(walk: string, step: number, after: string | null, walked: Partial<WalkCounts>, now: number): boolean {
    const kept = this.#kept;
    if (kept === null || this.step(walk, step) === null) return false;
    const counts = JSON.parse(kept.counts) as WalkCounts;
    for (const name of Object.keys(NOTHING_WALKED) as (keyof WalkCounts)[]) counts[name] += walked[name] ?? 0;
    const isLast = after === null && (kept.phase === "checksums" || kept.checksums === 0);
    this.#sql.exec(
      "UPDATE walk SET state = ?, phase = ?, step = step + 1, after = ?, sends = 0, due_at = ?, counts = ?, updated_at = ?, ended_at = ?",
      isLast ? "done" : "running",
      after === null ? "checksums" : kept.phase,
      after,
      isLast ? null : now,
      JSON.stringify(counts),
      now,
      isLast ? now : null,
    );
    return !isLast;
  }

  fail(walk: string, step: number, problem: Failure, now: number): void {
    if (this.step(walk, step) === null) return;
    this.#sql.exec(
      "UPDATE walk SET state = 'failed', problem = ?, due_at = NULL, updated_at = ?, ended_at = ?",
      JSON.stringify({ code: problem.code, detail: problem.detail }),
      now,
      now,
    );
  }

  get status(): WalkStatus | null {
    const kept = this.#kept;
    if (kept === null) return null;
    const { state, problem, checksums, counts, startedAt, updatedAt, endedAt } = kept;
    return {
      state,
      problem: problem === null ? null : (JSON.parse(problem) as WalkStatus["problem"]),
      checksums: checksums === 1 ? ["sha256"] : [],
      counts: JSON.parse(counts) as WalkCounts,
      startedAt,
      updatedAt,
      endedAt,
    };
  }

  dueAt(): number | null {
    return this.#sql.exec<{ at: number | null }>("SELECT due_at AS at FROM walk").toArray()[0]?.at ?? null;
  }

  /** Sends the step that is due. Marked before it is sent: another may come in at the awaited send. */
  async run(now: number): Promise<void> {
    const kept = this.#kept;
    const dueAt = this.dueAt();
    if (kept === null || dueAt === null || dueAt > now) return;
    const { walk, step, sends } = kept;
    if (sends >= SENDS_MAX) {
      this.fail(
        walk,
        step,
        failure("dead-letter", `A step was sent ${sends} times, and none of its consumers ended.`),
        now,
      );
      return;
    }
    this.#sql.exec("UPDATE walk SET sends = sends + 1, due_at = ?", now + this.#silenceMs);
    try {
      await this.#send({ walk, step });
    } catch (error) {
      console.error(JSON.stringify({ message: "queue send failed", walk, error: String(error) }));
      this.#sql.exec(
        "UPDATE walk SET sends = sends - 1, due_at = ? WHERE walk = ? AND step = ? AND state = 'running'",
        now + RESEND_MS,
        walk,
        step,
      );
    }
  }

  get #kept(): Kept | null {
    const rows = this.#sql.exec<Record<string, SqlStorageValue> & Kept>(
      `SELECT walk, state, problem, phase, checksums, step, after, sends, counts,
           started_at AS startedAt, updated_at AS updatedAt, ended_at AS endedAt FROM walk`,
    );
    return rows.toArray()[0] ?? null;
  }
}
