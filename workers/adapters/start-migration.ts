import { failure } from "../core/failure.ts";
import type { MigrationStatus } from "../core/migration/status.ts";
import { fail, type Result } from "../core/result.ts";
import { type Config, credentialsOf } from "./config.ts";
import { newId } from "./ids.ts";
import { datasetOf, migrationOf } from "./objects.ts";

/** Milliseconds after which a lock whose migration never came to be, or has ended, is taken away. */
const STALE_LOCK_MS = 60_000;

/**
 * Starts a migration of a dataset from its source: for the API and for the cron. One runs at a time: the Dataset
 * object is the lock. If we are killed between the lock and the start, the lock is stale, and the next start finds
 * that no migration stands behind it.
 */
export async function startMigration(env: Env, config: Config, name: string): Promise<Result<MigrationStatus>> {
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
  const now = Date.now();
  const held = await dataset.heldMigration();
  if (held !== null && now - held.since > STALE_LOCK_MS && (await hasEnded(env, held.id))) {
    await dataset.endMigration(datasetId, held.id);
  }
  const id = newId("mig", now);
  const taken = await dataset.beginMigration(datasetId, id, now);
  if (!taken.ok) return taken;
  const { multipartThresholdBytes, partBytes } = config;
  return migrationOf(env, id).start({
    id,
    dataset: name,
    datasetId,
    source,
    bucket,
    prefix,
    multipartThresholdBytes,
    partBytes,
  });
}

async function hasEnded(env: Env, id: string): Promise<boolean> {
  const status = await migrationOf(env, id).status();
  return !status.ok || status.value.finishedAt !== null;
}
