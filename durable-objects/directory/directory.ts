import { DurableObject } from "cloudflare:workers";
import { failure } from "../../workers/core/failure.ts";
import { datasetsOverlap } from "../../workers/core/manifest/dataset.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";

export type EntryKind = "dataset" | "migration" | "job";

export interface Entry {
  name: string;
  /** The object's id; of a dataset its own, which a name used again does not inherit. */
  id: string;
  state: string;
  /** Shown in lists. */
  summary: Record<string, string>;
  createdAt: number;
}

/** A dataset's place in its bucket, and its schedule. */
export interface DatasetClaim {
  name: string;
  kind: string;
  bucket: string;
  prefix: string;
  schedule: string | null;
}

const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS entry (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    summary TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
  ) WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS running ON entry (state, kind) WHERE state = 'running'`,
  `CREATE TABLE IF NOT EXISTS dataset (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,
    schedule TEXT,
    ticked_at INTEGER NOT NULL
  ) WITHOUT ROWID`,
];

/**
 * The installation's names: one summary row for each dataset, migration and job, so that they can be listed, that
 * no two datasets share a prefix, and that the cron finds what is due. It is on no hot path.
 */
export class Directory extends DurableObject<Env> {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    void ctx.blockConcurrencyWhile(async () => {
      for (const statement of SCHEMA) this.#sql.exec(statement);
    });
  }

  /** Registers a dataset's name and place, or confirms them; `newId` is used if the name is new. */
  async claimDataset(claim: DatasetClaim, newId: string): Promise<Result<{ id: string; created: boolean }>> {
    const others = this.#sql
      .exec<{ name: string; kind: string; bucket: string; prefix: string }>(
        "SELECT name, kind, bucket, prefix FROM dataset",
      )
      .toArray();
    const present = others.find(({ name }) => name === claim.name);
    if (present !== undefined) {
      const changed = (["kind", "bucket", "prefix"] as const).find((field) => present[field] !== claim[field]);
      if (changed !== undefined) {
        return fail(
          failure("dataset-fixed", `It is "${present[changed]}"; register another dataset for another ${changed}.`, {
            field: changed,
          }),
        );
      }
    }
    const overlapping = others.find((other) => other.name !== claim.name && datasetsOverlap(other, claim));
    if (overlapping !== undefined) {
      const detail = `Dataset "${overlapping.name}" has the prefix "${overlapping.prefix}" in the same bucket; neither may contain the other.`;
      return fail(failure("prefix-overlap", detail, { field: "prefix" }));
    }
    const now = Date.now();
    return ok(
      this.ctx.storage.transactionSync(() => {
        this.#sql.exec(
          `INSERT INTO dataset (name, kind, bucket, prefix, schedule, ticked_at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule,
               ticked_at = iif(schedule IS excluded.schedule, ticked_at, excluded.ticked_at)`,
          claim.name,
          claim.kind,
          claim.bucket,
          claim.prefix,
          claim.schedule,
          now,
        );
        this.#put("dataset", claim.name, newId, "active", { kind: claim.kind }, now);
        const id = this.#sql
          .exec<{ id: string }>("SELECT id FROM entry WHERE kind = 'dataset' AND name = ?", claim.name)
          .one().id;
        return { id, created: id === newId };
      }),
    );
  }

  /** Adds a running migration or job. */
  async add(kind: EntryKind, id: string, summary: Record<string, string>): Promise<void> {
    this.#put(kind, id, id, "running", summary, Date.now());
  }

  async setState(kind: EntryKind, id: string, state: string): Promise<void> {
    this.#sql.exec("UPDATE entry SET state = ? WHERE kind = ? AND name = ?", state, kind, id);
  }

  /**
   * One page by name, of these datasets and in this state only (null: of all, in any). Names of migrations and jobs
   * ascend with time.
   */
  async list(
    kind: EntryKind,
    after: string | null,
    limit: number,
    datasets: string[] | null = null,
    state: string | null = null,
  ): Promise<{ entries: Entry[]; next: string | null }> {
    const rows = this.#sql
      .exec<{ name: string; id: string; state: string; summary: string; createdAt: number }>(
        `SELECT name, id, state, summary, created_at AS createdAt FROM entry
           WHERE kind = ?1 AND name > ?2 AND (?4 IS NULL OR
             iif(kind = 'dataset', name, summary ->> '$.dataset') IN (SELECT value FROM json_each(?4)))
             AND (?5 IS NULL OR state = ?5)
           ORDER BY name LIMIT ?3`,
        kind,
        after ?? "",
        limit + 1,
        datasets === null ? null : JSON.stringify(datasets),
        state,
      )
      .toArray();
    const shown = rows.slice(0, limit);
    const entries = shown.map((row) => ({ ...row, summary: JSON.parse(row.summary) as Record<string, string> }));
    return { entries, next: rows.length > limit ? (shown.at(-1)?.name ?? null) : null };
  }

  /** Datasets with a schedule, and when each was last started by it (or registered). */
  async schedules(): Promise<{ name: string; schedule: string; tickedAt: number }[]> {
    return this.#sql
      .exec<{ name: string; schedule: string; tickedAt: number }>(
        "SELECT name, schedule, ticked_at AS tickedAt FROM dataset WHERE schedule IS NOT NULL",
      )
      .toArray();
  }

  async ticked(name: string, at: number): Promise<void> {
    this.#sql.exec("UPDATE dataset SET ticked_at = ? WHERE name = ?", at, name);
  }

  /** What should have an alarm. */
  async running(): Promise<{ kind: EntryKind; id: string }[]> {
    return this.#sql
      .exec<{ kind: EntryKind; id: string }>("SELECT kind, id FROM entry WHERE state = 'running'")
      .toArray();
  }

  #put(kind: EntryKind, name: string, id: string, state: string, summary: Record<string, string>, now: number): void {
    this.#sql.exec(
      "INSERT OR IGNORE INTO entry (kind, name, id, state, summary, created_at) VALUES (?, ?, ?, ?, ?, ?)",
      kind,
      name,
      id,
      state,
      JSON.stringify(summary),
      now,
    );
  }
}
