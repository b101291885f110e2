import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { configOf } from "../../../workers/adapters/config.ts";
import { datasetOf, directoryOf, migrationOf } from "../../../workers/adapters/objects.ts";
import { startMigration } from "../../../workers/adapters/start-migration.ts";
import type { MigrationOptions } from "../../../workers/core/migration/request.ts";
import type { MigrationStatus } from "../../../workers/core/migration/status.ts";
import type { Result } from "../../../workers/core/result.ts";

/** One migration of one dataset. The prefix at the source and the one in R2 are this dataset's alone. */
export interface TestRun {
  id: string;
  dataset: string;
  /** In R2, with its slash. */
  prefix: string;
  env: Env;
}

/** Registers a dataset as the route does. */
export async function registerDataset(name: string, sourcePrefix: string): Promise<void> {
  const now = new Date().toISOString();
  must(
    await datasetOf(env, name).configure({
      id: `ds_${name}`,
      name,
      kind: "files",
      source: { name: "test", prefix: sourcePrefix },
      bucket: "DATASETS",
      prefix: `${name}/`,
      read: "r2",
      schedule: null,
      liveTtlSeconds: 10,
      createdAt: now,
      updatedAt: now,
    }),
  );
}

/** Has the next listing of the dataset walk two ranges, as after a run whose pages said so: up to this key, and beyond it. */
export async function cutListing(dataset: string, key: string): Promise<void> {
  await runInDurableObject(datasetOf(env, dataset), (_, { storage }) => {
    storage.sql.exec("INSERT OR REPLACE INTO listing (id, cuts) VALUES (1, ?)", JSON.stringify([key]));
  });
}

/** Starts a migration of a registered dataset, as `options` ask for it. `seen` is what its consumers will see. */
export async function startRun(dataset: string, seen: Env, options: Partial<MigrationOptions> = {}): Promise<TestRun> {
  const { id } = must(await startMigration(seen, must(configOf(seen)), dataset, options));
  return { id, dataset, prefix: `${dataset}/`, env: seen };
}

export const statusOf = async (run: TestRun): Promise<MigrationStatus> => must(await migrationOf(env, run.id).status());

/** What the Migration object holds that nobody is told. */
export async function innerState(run: TestRun): Promise<{ outbox: number; parts: number; alarm: number | null }> {
  return runInDurableObject(migrationOf(env, run.id), async (_, { storage }) => ({
    outbox: storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM outbox").one().n,
    parts: storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM part").one().n,
    alarm: await storage.getAlarm(),
  }));
}

/** What the installation holds of the run beside its own object. */
export async function outerState(run: TestRun): Promise<{ lock: string | null; state: string | undefined }> {
  const { migration } = must(await datasetOf(env, run.dataset).describe());
  const { entries } = await directoryOf(env).list("migration", null, 1000);
  return { lock: migration, state: entries.find(({ id }) => id === run.id)?.state };
}

/** Seconds after which work that is silent is believed lost, longer than any delay: nothing passes them but `passTime`. */
export const SILENCE_SECONDS = env.SILENCE_SECONDS;

/**
 * Lets time pass, as far as the Migration object can tell: what was due in so many seconds is due now, claims have run
 * out by as much; then the alarm rings.
 */
export async function passTime(run: TestRun, seconds = SILENCE_SECONDS): Promise<void> {
  const stub = migrationOf(env, run.id);
  await runInDurableObject(stub, (_, { storage }) => {
    storage.sql.exec("UPDATE outbox SET due_at = due_at - ?", seconds * 1000);
    storage.sql.exec("UPDATE part SET claimed_until = claimed_until - ?", seconds * 1000);
    return storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(stub);
}

export function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.failure.code}: ${result.failure.detail}`);
  return result.value;
}
