import { DurableObject } from "cloudflare:workers";
import { failure } from "../../workers/core/failure.ts";
import type { Owner } from "../../workers/core/manifest/notification.ts";
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
  reconcileSeconds?: number | null;
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
    ticked_at INTEGER NOT NULL,
    reconcile_seconds INTEGER,
    reconcile_at INTEGER       -- when to ask the dataset whether to walk its bucket; NULL for never
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID`,
];

/** Columns of `dataset` that the first release had not. */
const NEW_COLUMNS = ["reconcile_seconds", "reconcile_at"];
/** After the columns, which it needs none of: an older release had no such index. */
const PLACES = "CREATE INDEX IF NOT EXISTS dataset_place ON dataset (bucket, prefix)";

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
      const present = this.#sql.exec<{ name: string }>("SELECT name FROM pragma_table_info('dataset')").toArray();
      for (const column of NEW_COLUMNS.filter((name) => !present.some((known) => known.name === name))) {
        this.#sql.exec(`ALTER TABLE dataset ADD COLUMN ${column} INTEGER`);
      }
      this.#sql.exec(PLACES);
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
          `INSERT INTO dataset (name, kind, bucket, prefix, schedule, ticked_at, reconcile_seconds, reconcile_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule,
               ticked_at = iif(schedule IS excluded.schedule, ticked_at, excluded.ticked_at),
               reconcile_seconds = excluded.reconcile_seconds,
               reconcile_at = iif(reconcile_seconds IS excluded.reconcile_seconds, reconcile_at, excluded.reconcile_at)`,
          claim.name,
          claim.kind,
          claim.bucket,
          claim.prefix,
          claim.schedule,
          now,
          claim.reconcileSeconds ?? null,
          (claim.reconcileSeconds ?? null) === null ? null : now,
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

  async setState(kind: EntryKind, name: string, state: string): Promise<void> {
    this.#sql.exec("UPDATE entry SET state = ? WHERE kind = ? AND name = ?", state, kind, name);
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

  /** Datasets that are to be asked whether their buckets are to be walked. */
  async walksDue(now: number): Promise<string[]> {
    const due = this.#sql.exec<{ name: string }>("SELECT name FROM dataset WHERE reconcile_at <= ?", now).toArray();
    return due.map(({ name }) => name);
  }

  /** When to ask next; null for never. A claim meanwhile has said otherwise: then that holds. */
  async askWalk(name: string, asked: number, at: number | null): Promise<void> {
    this.#sql.exec("UPDATE dataset SET reconcile_at = ? WHERE name = ? AND reconcile_at <= ?", at, name, asked);
  }

  /**
   * Whose objects these are, each in one of the buckets (bindings); null: nobody's, which is counted. No prefix of a bucket
   * contains another, so the owner's is the last one up to the key.
   */
  async ownersOf(asked: { buckets: string[]; key: string }[]): Promise<(Owner | null)[]> {
    const owners = asked.map(({ buckets, key }) => {
      const found = buckets.flatMap((bucket) =>
        this.#sql
          .exec<Record<string, SqlStorageValue> & Owner>(
            `SELECT dataset.name, entry.id, dataset.bucket, dataset.prefix
               FROM dataset JOIN entry ON entry.kind = 'dataset' AND entry.name = dataset.name
               WHERE dataset.bucket = ? AND dataset.prefix <= ? ORDER BY dataset.prefix DESC LIMIT 1`,
            bucket,
            key,
          )
          .toArray(),
      );
      return found.find(({ prefix }) => key.startsWith(prefix) && key.length > prefix.length) ?? null;
    });
    const unowned = owners.filter((owner) => owner === null).length;
    if (unowned > 0) {
      this.#sql.exec(
        "INSERT INTO counter (name, n) VALUES ('unowned', ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
        unowned,
      );
    }
    return owners;
  }

  /** Notifications so far of objects that no dataset owns. */
  async unowned(): Promise<number> {
    return this.#sql.exec<{ n: number }>("SELECT n FROM counter WHERE name = 'unowned'").toArray()[0]?.n ?? 0;
  }

  /** What should have an alarm: migrations and jobs that run, and datasets that have work of their own. */
  async running(): Promise<{ kind: EntryKind; name: string }[]> {
    return this.#sql
      .exec<{ kind: EntryKind; name: string }>("SELECT kind, name FROM entry WHERE state = 'running'")
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
