import { failure } from "../core/failure.ts";
import { DEFAULT_OPTIONS, type MigrationOptions, planRun, runFolder } from "../core/migration/request.ts";
import type { KeyList, MigrationStatus } from "../core/migration/status.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { type Config, credentialsOf } from "./config.ts";
import { newId } from "./ids.ts";
import { datasetOf, migrationOf } from "./objects.ts";
import { createR2Store } from "./r2-store.ts";

/** Milliseconds after which a lock whose migration never came to be, or has ended, is taken away. */
const STALE_LOCK_MS = 60_000;

/**
 * Starts a migration of a dataset from its source: for the API and for the cron. The options go together as
 * `checkOptions` says; what is left out is the default.
 *
 * One that copies runs at a time: the Dataset object is the lock. If we are killed between the lock and the start, the
 * lock is stale, and the next start finds that no migration stands behind it. A dry run and a verification change
 * nothing that another run works with: they take no lock, and wait for none.
 */
export async function startMigration(
  env: Env,
  config: Config,
  name: string,
  options: Partial<MigrationOptions> = {},
): Promise<Result<MigrationStatus>> {
  const dataset = datasetOf(env, name);
  const present = await dataset.config();
  if (!present.ok) return present;
  const { source, bucket, prefix, id: datasetId } = present.value;
  if (source === undefined) {
    return fail(failure("dataset-without-source", `Register dataset "${name}" with a source.`, { field: "dataset" }));
  }
  if (!config.sources.has(source.name)) {
    return fail(failure("unknown-source", `There is no source named "${source.name}" in wrangler.toml.`));
  }
  const credentials = credentialsOf(env, source.name);
  if (!credentials.ok) return credentials;
  const asked: MigrationOptions = { ...DEFAULT_OPTIONS, ...options };
  const plan = planRun(asked);
  const now = Date.now();
  const id = newId("mig", now);
  if (plan.task === "copy") {
    const taken = await takeLock(env, { name, datasetId }, id, now);
    if (!taken.ok) return taken;
  }
  const keys = await keptKeys(env, id, asked.keys);
  if (!keys.ok) {
    await dataset.endMigration(datasetId, id, null);
    return keys;
  }
  // Where the last whole run's pages ended: the same ranges are of no use to a part of the keys.
  const cuts = keys.value === null && plan.filter.prefix === "" ? await dataset.migrationCuts() : [];
  const { multipartThresholdBytes, partBytes } = config;
  return migrationOf(env, id).start({
    ...plan,
    id,
    dataset: name,
    datasetId,
    source,
    bucket,
    prefix,
    multipartThresholdBytes,
    partBytes,
    keys: keys.value,
    cuts,
  });
}

async function takeLock(
  env: Env,
  { name, datasetId }: { name: string; datasetId: string },
  id: string,
  now: number,
): Promise<Result<null>> {
  const dataset = datasetOf(env, name);
  const held = await dataset.heldMigration();
  if (held !== null && now - held.since > STALE_LOCK_MS && (await hasEnded(env, held.id))) {
    await dataset.endMigration(datasetId, held.id, null);
  }
  return dataset.beginMigration(datasetId, id, now);
}

async function hasEnded(env: Env, id: string): Promise<boolean> {
  const status = await migrationOf(env, id).status();
  return !status.ok || status.value.finishedAt !== null;
}

/** Keys that came with the request are kept beside the run's report, as a list like any other, each once. */
async function keptKeys(env: Env, id: string, keys: MigrationOptions["keys"]): Promise<Result<KeyList | null>> {
  if (keys === null || "kind" in keys) return ok(keys);
  const key = `${runFolder(id)}keys.ndjson`;
  const body = new TextEncoder().encode([...new Set(keys)].map((name) => `${JSON.stringify(name)}\n`).join(""));
  const http = { contentType: "application/x-ndjson" };
  const put = await createR2Store(env.SYSTEM).put(key, body, { size: body.length, http, custom: {} });
  if (!put.ok) return fail(failure("store-unavailable", `The keys could not be kept: ${put.failure.detail}`));
  return ok({ kind: "object", bucket: "SYSTEM", key, format: "ndjson" });
}
