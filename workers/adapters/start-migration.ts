import { failure } from "../core/failure.ts";
import type { MigrationSpec, MigrationStatus } from "../core/migration/status.ts";
import { fail, type Result } from "../core/result.ts";
import type { Config } from "./config.ts";
import { credentialsOf } from "./config.ts";
import { newId } from "./ids.ts";
import { datasetOf, directoryOf, migrationOf } from "./objects.ts";

/**
 * Starts a migration of a dataset from its source: for the API and for the cron. One runs at a time: the Dataset
 * object is the lock, taken before anything is written and given back if the start fails.
 */
export async function startMigration(env: Env, config: Config, name: string): Promise<Result<MigrationStatus>> {
  const dataset = datasetOf(env, name);
  const present = await dataset.config();
  if (!present.ok) return present;
  const { source } = present.value;
  if (source === undefined) {
    return fail(failure("dataset-without-source", `Register dataset "${name}" with a source.`, { field: "dataset" }));
  }
  if (!config.sources.has(source.name)) {
    return fail(failure("unknown-source", `There is no source named "${source.name}" in wrangler.toml.`));
  }
  const credentials = credentialsOf(env, source.name);
  if (!credentials.ok) return credentials;
  const id = newId("mig", Date.now());
  const taken = await dataset.beginMigration(id);
  if (!taken.ok) return taken;
  const { bucket, prefix, id: datasetId } = taken.value;
  const { multipartThresholdBytes, partBytes } = config;
  const spec: MigrationSpec = {
    id,
    dataset: name,
    datasetId,
    source,
    bucket,
    prefix,
    multipartThresholdBytes,
    partBytes,
  };
  try {
    await directoryOf(env).add("migration", id, { dataset: name });
    return await migrationOf(env, id).start(spec);
  } catch (error) {
    await dataset.endMigration(datasetId, id);
    throw error;
  }
}
