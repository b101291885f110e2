import type { Failure } from "../../workers/core/failure.ts";
import { FAILURE_ROWS_MAX } from "../../workers/core/limits.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import {
  type MigrationSpec,
  type MigrationState,
  type MigrationStatus,
  type Operations,
  progress,
} from "../../workers/core/migration/status.ts";

const FAILURES_SHOWN = 100;

interface RunRow extends Record<string, SqlStorageValue> {
  spec: string;
  state: MigrationState;
  started_at: number;
  updated_at: number;
  finished_at: number | null;
  problem: string | null;
  told: number;
  class_a: number;
  class_b: number;
  queue: number;
  source_get: number;
  source_list: number;
}

export interface KeyFailure {
  key: string;
  failure: Failure;
}

/** The run's own row, its failures, and the sums over everything else. */
export class Ledger {
  readonly #sql: SqlStorage;

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
    const run = this.run;
    return run === null ? null : (JSON.parse(run.spec) as MigrationSpec);
  }

  get isRunning(): boolean {
    const state = this.run?.state;
    return state === "listing" || state === "copying";
  }

  setState(state: MigrationState, now: number): void {
    const finishedAt = state === "done" || state === "failed" ? now : null;
    this.#sql.exec("UPDATE run SET state = ?, updated_at = ?, finished_at = ? WHERE id = 1", state, now, finishedAt);
  }

  /** Why the run fails; it may go on with what can still be done. */
  setProblem({ code, detail }: Failure, now: number): void {
    this.#sql.exec("UPDATE run SET problem = ?, updated_at = ? WHERE id = 1", JSON.stringify({ code, detail }), now);
  }

  setTold(told: 1 | 2): void {
    this.#sql.exec("UPDATE run SET told = ? WHERE id = 1", told);
  }

  addOperations(operations: Partial<Operations>, now: number): void {
    this.#sql.exec(
      `UPDATE run SET updated_at = ?, class_a = class_a + ?, class_b = class_b + ?, queue = queue + ?,
         source_get = source_get + ?, source_list = source_list + ? WHERE id = 1`,
      now,
      operations.classA ?? 0,
      operations.classB ?? 0,
      operations.queue ?? 0,
      operations.sourceGet ?? 0,
      operations.sourceList ?? 0,
    );
  }

  addFailures(failures: readonly KeyFailure[]): void {
    const room = FAILURE_ROWS_MAX - this.#count("SELECT count(*) AS n FROM failure");
    const rows = failures.slice(0, Math.max(0, room)).map(({ key, failure }) => ({
      key,
      code: failure.code,
      detail: failure.detail.slice(0, 500),
    }));
    // A bound value is at most 2 MB: a page of long keys may be more.
    for (const some of pack(rows, { items: rows.length, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#sql.exec(
        `INSERT OR REPLACE INTO failure (key, code, detail)
           SELECT value ->> 'key', value ->> 'code', value ->> 'detail' FROM json_each(?)`,
        JSON.stringify(some),
      );
    }
  }

  /** The live answer of `GET /v1/migrations/:id`; null before the run was created. */
  status(now: number): MigrationStatus | null {
    const run = this.run;
    if (run === null) return null;
    const spec = JSON.parse(run.spec) as MigrationSpec;
    const pages = this.#one(
      `SELECT count(*) AS pages, total(skipped_objects) AS skippedObjects, total(skipped_bytes) AS skippedBytes,
         total(failed_objects) AS failedObjects, total(failed_bytes) AS failedBytes, total(is_last) AS last FROM page`,
    );
    const batches = this.#one(
      `SELECT total(objects) AS objects, total(bytes) AS bytes, total(copied_objects) AS copiedObjects,
         total(copied_bytes) AS copiedBytes, total(failed_objects) AS failedObjects FROM batch`,
    );
    const uploads = this.#one(
      `SELECT count(*) AS objects, total(bytes) AS bytes, total(state = 'copied') AS copiedObjects,
         total(iif(state = 'copied', bytes, 0)) AS copiedBytes, total(state = 'failed') AS failedObjects FROM upload`,
    );
    const listed = {
      objects: sum(pages["skippedObjects"], pages["failedObjects"], batches["objects"], uploads["objects"]),
      bytes: sum(pages["skippedBytes"], pages["failedBytes"], batches["bytes"], uploads["bytes"]),
    };
    const copied = {
      objects: sum(batches["copiedObjects"], uploads["copiedObjects"]),
      bytes: sum(batches["copiedBytes"], uploads["copiedBytes"]) + this.#partBytes(),
    };
    const skipped = { objects: sum(pages["skippedObjects"]), bytes: sum(pages["skippedBytes"]) };
    const failedObjects = sum(pages["failedObjects"], batches["failedObjects"], uploads["failedObjects"]);
    const listingComplete = sum(pages["last"]) > 0;
    return {
      id: spec.id,
      dataset: spec.dataset,
      state: run.state,
      startedAt: new Date(run.started_at).toISOString(),
      updatedAt: new Date(run.updated_at).toISOString(),
      finishedAt: run.finished_at === null ? null : new Date(run.finished_at).toISOString(),
      listed: { ...listed, complete: listingComplete },
      copied,
      skipped,
      failed: { objects: failedObjects },
      proofs: this.#proofs(),
      ...progress((run.finished_at ?? now) - run.started_at, {
        listed,
        copied,
        skipped,
        failedObjects,
        listingComplete,
      }),
      operations: {
        classA: run.class_a,
        classB: run.class_b,
        queue: run.queue,
        sourceGet: run.source_get,
        sourceList: run.source_list,
      },
      failures: this.#sql
        .exec<{ key: string; code: string; detail: string }>(
          "SELECT key, code, detail FROM failure ORDER BY key LIMIT ?",
          FAILURES_SHOWN,
        )
        .toArray(),
      problem: run.problem === null ? null : (JSON.parse(run.problem) as { code: string; detail: string }),
    };
  }

  /** Bytes of parts settled in uploads that are not finished: so a large object moves the progress bar. */
  #partBytes(): number {
    return this.#count(
      `SELECT total(min(u.part_bytes, u.bytes - (p.number - 1) * u.part_bytes)) AS n
         FROM part p JOIN upload u ON u.key = p.key
         WHERE p.etag IS NOT NULL AND u.state IN ('open', 'finishing')`,
    );
  }

  #proofs(): Partial<Record<Proof, number>> {
    const rows = this.#sql.exec<{ proof: Proof; n: number }>(
      `SELECT proof, sum(n) AS n FROM (
         SELECT j.key AS proof, j.value AS n FROM batch, json_each(batch.proofs) j WHERE settled = 1
         UNION ALL SELECT proof, 1 FROM upload WHERE state = 'copied')
       GROUP BY proof`,
    );
    return Object.fromEntries(rows.toArray().map(({ proof, n }) => [proof, n]));
  }

  #one(query: string): Record<string, number> {
    return this.#sql.exec<Record<string, number>>(query).one();
  }

  #count(query: string): number {
    return this.#sql.exec<{ n: number }>(query).one().n;
  }
}

const sum = (...numbers: (number | undefined)[]): number => numbers.reduce<number>((a, b) => a + (b ?? 0), 0);
