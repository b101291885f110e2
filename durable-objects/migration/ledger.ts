import type { Failure } from "../../workers/core/failure.ts";
import { FAILURE_ROWS_MAX } from "../../workers/core/limits.ts";
import type { MigrationSpec, MigrationState, Operations } from "../../workers/core/migration/status.ts";
import { pack } from "../../workers/core/migration/pack.ts";

export interface RunRow extends Record<string, SqlStorageValue> {
  spec: string;
  state: MigrationState;
  started_at: number;
  updated_at: number;
  finished_at: number | null;
  problem: string | null;
  is_paused: number;
  is_reported: number;
  told: number;
  waiting: number;
  class_a: number;
  class_b: number;
  queue: number;
  source_get: number;
  source_list: number;
  source_put: number;
}

export interface KeyFailure {
  key: string;
  failure: Failure;
}

const ENDS: ReadonlySet<MigrationState> = new Set<MigrationState>(["done", "failed", "cancelled"]);

/** Tens of seconds of which the pace is kept. */
const PACE_MS = 10_000;
const PACE_KEPT_MS = 120_000;

/** The run's own row, its failures, and its pace. */
export class Ledger {
  readonly #sql: SqlStorage;
  /** The spec never changes: it is parsed once. */
  #spec: MigrationSpec | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  create(spec: MigrationSpec, now: number): void {
    this.#sql.exec(
      "INSERT INTO run (id, spec, state, started_at, updated_at) VALUES (1, ?, 'listing', ?, ?)",
      JSON.stringify(spec),
      now,
      now,
    );
  }

  get run(): RunRow | null {
    return this.#sql.exec<RunRow>("SELECT * FROM run").toArray()[0] ?? null;
  }

  get spec(): MigrationSpec | null {
    const { run } = this;
    if (this.#spec === null && run !== null) this.#spec = JSON.parse(run.spec) as MigrationSpec;
    return this.#spec;
  }

  /** Whether there is work to do, now or once the run is resumed. */
  get isRunning(): boolean {
    const { run } = this;
    return run !== null && !ENDS.has(run.state);
  }

  get isPaused(): boolean {
    return this.run?.is_paused === 1;
  }

  setPaused(isPaused: boolean, now: number): void {
    this.#sql.exec("UPDATE run SET is_paused = ?, updated_at = ?", isPaused ? 1 : 0, now);
  }

  setState(state: MigrationState, now: number): void {
    const finishedAt = ENDS.has(state) ? now : null;
    this.#sql.exec(
      "UPDATE run SET state = ?, updated_at = ?, finished_at = ?, is_paused = iif(?3 IS NULL, is_paused, 0)",
      state,
      now,
      finishedAt,
    );
  }

  /** Why the run fails; it may go on with what can still be done. The first problem stays. */
  setProblem({ code, detail }: Failure, now: number): void {
    this.#sql.exec(
      "UPDATE run SET problem = coalesce(problem, ?), updated_at = ?",
      JSON.stringify({ code, detail }),
      now,
    );
  }

  /** Objects in parts that wait for their turn: counting them anew at each step would be most of the work. */
  addWaiting(objects: number): void {
    if (objects !== 0) this.#sql.exec("UPDATE run SET waiting = waiting + ?", objects);
  }

  /** The rest of the report was asked for. */
  setReported(): void {
    this.#sql.exec("UPDATE run SET is_reported = 1");
  }

  setTold(told: 1 | 2): void {
    this.#sql.exec("UPDATE run SET told = ?", told);
  }

  addOperations(operations: Partial<Operations>, now: number): void {
    if (Object.values(operations).every((n) => n === 0)) return;
    this.#sql.exec(
      `UPDATE run SET updated_at = ?, class_a = class_a + ?, class_b = class_b + ?, queue = queue + ?,
         source_get = source_get + ?, source_list = source_list + ?, source_put = source_put + ?`,
      now,
      operations.classA ?? 0,
      operations.classB ?? 0,
      operations.queue ?? 0,
      operations.sourceGet ?? 0,
      operations.sourceList ?? 0,
      operations.sourcePut ?? 0,
    );
  }

  /** Adds to what was settled in these ten seconds; forgets what is long past. */
  addPace(objects: number, bytes: number, now: number): void {
    if (objects === 0 && bytes === 0) return;
    const at = Math.floor(now / PACE_MS) * PACE_MS;
    this.#sql.exec(
      `INSERT INTO pace (at, objects, bytes) VALUES (?, ?, ?)
         ON CONFLICT (at) DO UPDATE SET objects = objects + excluded.objects, bytes = bytes + excluded.bytes`,
      at,
      objects,
      bytes,
    );
    this.#sql.exec("DELETE FROM pace WHERE at < ?", now - PACE_KEPT_MS);
  }

  /**
   * Records failures. `isReported`: their lines are in the report already, and only so many are kept; of the others the report
   * gets its lines from here.
   */
  addFailures(failures: readonly KeyFailure[], isReported: boolean): void {
    if (failures.length === 0) return;
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM failure").one();
    const kept = isReported ? failures.slice(0, Math.max(0, FAILURE_ROWS_MAX - n)) : failures;
    const rows = kept.map(({ key, failure }) => ({
      key,
      code: failure.code,
      detail: failure.detail.slice(0, 500),
    }));
    // A bound value is at most 2 MB: a page of long keys may be more.
    for (const some of pack(rows, { items: rows.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec(
        `INSERT OR REPLACE INTO failure (key, code, detail, is_reported)
           SELECT value ->> 'key', value ->> 'code', value ->> 'detail', ? FROM json_each(?)`,
        isReported ? 1 : 0,
        JSON.stringify(some),
      );
    }
  }
}
