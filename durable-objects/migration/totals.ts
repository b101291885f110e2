import type { Proof } from "../../workers/core/manifest/row.ts";
import { estimate, type Prices } from "../../workers/core/migration/estimate.ts";
import { addHazards, type Hazards, hazardsFound } from "../../workers/core/migration/hazards.ts";
import { type MigrationStatus, type Operations, progress } from "../../workers/core/migration/status.ts";
import type { Ledger, RunRow } from "./ledger.ts";

const FAILURES_SHOWN = 100;
/** The rate is that of the last minute. */
const WINDOW_MS = 60_000;

/** Milliseconds for which a status of so many pages holds: summing up a hundred thousand takes a second. */
const HOLDS_MS_A_PAGE = 0.1;
const PAGES_HELD = 1000;
const HOLDS_MAX_MS = 10_000;

/** The sums over everything that a run has recorded: its status. */
export class Totals {
  readonly #sql: SqlStorage;
  readonly #ledger: Ledger;
  #held: { status: MigrationStatus; until: number } | null = null;

  constructor(sql: SqlStorage, ledger: Ledger) {
    this.#sql = sql;
    this.#ledger = ledger;
  }

  /**
   * The live answer of `GET /v1/migrations/:id`; null before the run was created. That of a very large run holds for some
   * seconds, as long as its state does: who watches must not keep the consumers waiting.
   */
  status(now: number, listingComplete: boolean, prices: Prices): MigrationStatus | null {
    const { run } = this.#ledger;
    const state = run?.is_paused === 1 ? "paused" : run?.state;
    if (this.#held !== null && this.#held.until > now && this.#held.status.state === state) return this.#held.status;
    const status = this.#sum(now, listingComplete, prices);
    const pages = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM page").one().n;
    const holds = pages < PAGES_HELD ? 0 : Math.min(HOLDS_MAX_MS, pages * HOLDS_MS_A_PAGE);
    this.#held = status === null || holds === 0 ? null : { status, until: now + holds };
    return status;
  }

  #sum(now: number, listingComplete: boolean, prices: Prices): MigrationStatus | null {
    const { run, spec } = this.#ledger;
    if (run === null || spec === null) return null;
    const pages = this.#one(
      `SELECT count(*) AS pages, total(skipped_objects) AS skippedObjects, total(skipped_bytes) AS skippedBytes,
         total(failed_objects) AS failedObjects, total(failed_bytes) AS failedBytes,
         total(small_objects) AS smallObjects, total(small_bytes) AS smallBytes,
         total(large_objects) AS largeObjects, total(large_bytes) AS largeBytes, total(large_parts) AS largeParts,
         total(extraneous_objects) AS extraneous FROM page`,
    );
    const batches = this.#one(
      `SELECT total(copied_objects) AS objects, total(copied_bytes) AS bytes, total(grown_bytes) AS grownBytes,
         total(failed_objects) AS failedObjects, total(deleted_objects) AS deleted FROM batch`,
    );
    const uploads = this.#one(
      `SELECT total(state = 'copied') AS objects, total(iif(state = 'copied', bytes, 0)) AS bytes,
         total(state = 'failed') AS failedObjects, total(iif(state = 'failed', bytes, 0)) AS failedBytes,
         count(*) AS largeObjects, total(bytes) AS largeBytes FROM upload`,
    );
    const skipped = { objects: sum(pages["skippedObjects"]), bytes: sum(pages["skippedBytes"]) };
    // A large object that changed at the source is as long as it is now, and one that a list of keys names twice is one; a
    // dry run has no row of it.
    const { largeObjects, largeBytes } = spec.task === "estimate" ? pages : uploads;
    const listed = {
      objects: sum(skipped.objects, pages["failedObjects"], pages["smallObjects"], largeObjects),
      bytes: sum(skipped.bytes, pages["failedBytes"], pages["smallBytes"], batches["grownBytes"], largeBytes),
    };
    const settled = {
      objects: sum(batches["objects"], uploads["objects"]),
      bytes: sum(batches["bytes"], uploads["bytes"]) + this.#partBytes(),
    };
    const failedObjects = sum(pages["failedObjects"], batches["failedObjects"], uploads["failedObjects"]);
    // Those of small objects that failed to be copied are not known.
    const failedBytes = sum(pages["failedBytes"], uploads["failedBytes"]);
    const isVerification = spec.task === "verify" || spec.task === "verify-deep";
    const nothing = { objects: 0, bytes: 0 };
    const isEstimate = spec.task === "estimate";
    const left = {
      objects: isEstimate ? 0 : listed.objects - settled.objects - skipped.objects - failedObjects,
      bytes: isEstimate ? 0 : listed.bytes - settled.bytes - skipped.bytes - failedBytes,
    };
    return {
      id: spec.id,
      dataset: spec.dataset,
      task: spec.task,
      direction: spec.direction,
      state: run.is_paused === 1 ? "paused" : run.state,
      startedAt: new Date(run.started_at).toISOString(),
      updatedAt: new Date(run.updated_at).toISOString(),
      finishedAt: run.finished_at === null ? null : new Date(run.finished_at).toISOString(),
      listed: { ...listed, complete: listingComplete },
      copied: isVerification ? nothing : settled,
      verified: isVerification
        ? { objects: settled.objects + skipped.objects, bytes: settled.bytes + skipped.bytes }
        : nothing,
      skipped: isVerification ? nothing : skipped,
      failed: { objects: failedObjects },
      extraneous: { objects: sum(pages["extraneous"]), deleted: sum(batches["deleted"]) },
      proofs: this.#proofs(),
      ...progress({ ...this.#pace(run, settled, now), left, listingComplete }),
      operations: operationsOf(run),
      estimate: estimate(
        {
          pages: sum(pages["pages"]),
          listed,
          small: { objects: sum(pages["smallObjects"]), bytes: sum(pages["smallBytes"]) },
          large: {
            objects: sum(pages["largeObjects"]),
            bytes: sum(pages["largeBytes"]),
            parts: sum(pages["largeParts"]),
          },
        },
        prices,
        { direction: spec.direction, task: spec.task, isByKey: spec.keys !== null },
      ),
      hazards: this.#hazards(),
      failures: this.#sql
        .exec<{ key: string; code: string; detail: string }>(
          "SELECT key, code, detail FROM failure ORDER BY key LIMIT ?",
          FAILURES_SHOWN,
        )
        .toArray(),
      problem: run.problem === null ? null : (JSON.parse(run.problem) as { code: string; detail: string }),
    };
  }

  /** What was settled in the last minute; of a run that has ended, in all of it. */
  #pace(run: RunRow, settled: { objects: number; bytes: number }, now: number) {
    if (run.finished_at !== null) return { seconds: (run.finished_at - run.started_at) / 1000, done: settled };
    const from = Math.max(run.started_at, now - WINDOW_MS);
    const { at, objects, bytes } = this.#sql
      .exec<{ at: number | null; objects: number; bytes: number }>(
        "SELECT min(at) AS at, total(objects) AS objects, total(bytes) AS bytes FROM pace WHERE at >= ?",
        from - (from % 10_000),
      )
      .one();
    // The first of the tens of seconds may have begun before the window.
    return { seconds: (now - Math.max(run.started_at, Math.min(from, at ?? from))) / 1000, done: { objects, bytes } };
  }

  /** Bytes of parts settled in uploads that are not finished: so a large object moves the progress bar. */
  #partBytes(): number {
    return this.#sql
      .exec<{ n: number }>(
        `SELECT total(min(u.part_bytes, u.bytes - (p.number - 1) * u.part_bytes)) AS n
           FROM part p JOIN upload u ON u.key = p.key
           WHERE p.etag IS NOT NULL AND u.state IN ('open', 'finishing')`,
      )
      .one().n;
  }

  #proofs(): Partial<Record<Proof, number>> {
    const rows = this.#sql.exec<{ proof: Proof; n: number }>(
      `SELECT proof, sum(n) AS n FROM (
         SELECT j.key AS proof, j.value AS n FROM batch, json_each(batch.proofs) j
         UNION ALL SELECT j.key, j.value FROM page, json_each(page.proofs) j WHERE page.proofs IS NOT NULL
         UNION ALL SELECT proof, 1 FROM upload WHERE state = 'copied')
       GROUP BY proof`,
    );
    return Object.fromEntries(rows.toArray().map(({ proof, n }) => [proof, n]));
  }

  #hazards(): Hazards {
    const all = this.#sql
      .exec<{ hazards: string }>("SELECT hazards FROM page WHERE hazards IS NOT NULL")
      .toArray()
      .reduce<Hazards>((found, { hazards }) => addHazards(found, JSON.parse(hazards) as Hazards), {});
    return hazardsFound(all);
  }

  #one(query: string): Record<string, number> {
    return this.#sql.exec<Record<string, number>>(query).one();
  }
}

const operationsOf = (run: RunRow): Operations => ({
  classA: run.class_a,
  classB: run.class_b,
  queue: run.queue,
  sourceGet: run.source_get,
  sourceList: run.source_list,
  sourcePut: run.source_put,
});

const sum = (...numbers: (number | undefined)[]): number => numbers.reduce<number>((a, b) => a + (b ?? 0), 0);
