import { bucketOf } from "../../adapters/config.ts";
import { datasetOf, migrationOf } from "../../adapters/objects.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { type Failure, failure } from "../../core/failure.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import type { MigrationOptions } from "../../core/migration/request.ts";
import type { KeyList } from "../../core/migration/status.ts";
import { tokenOf } from "../auth.ts";
import type { Ctx } from "../context.ts";

/** Whether a list of keys that the caller names is there, and is the caller's to read. */
export async function checkKeys(c: Ctx, dataset: string, keys: MigrationOptions["keys"]): Promise<Failure | null> {
  if (keys === null || !("kind" in keys)) return null;
  const present = await datasetOf(c.env, dataset).config();
  if (!present.ok) return present.failure;
  return keys.kind === "object" ? checkObject(c, present.value, keys) : checkReport(c.env, present.value.id, keys);
}

async function checkObject(
  c: Ctx,
  { name, bucket, prefix }: DatasetConfig,
  keys: KeyList & { kind: "object" },
): Promise<Failure | null> {
  const binding = c.get("config").buckets.has(keys.bucket) ? bucketOf(c.env, keys.bucket) : null;
  if (binding === null) {
    const detail = `There is no R2 binding "${keys.bucket}" with a name in [vars.BUCKETS] of wrangler.toml.`;
    return failure("unknown-bucket", detail, { field: "keys.bucket" });
  }
  // The run's report says what is in the list.
  if (tokenOf(c).datasets !== undefined && !(keys.bucket === bucket && keys.key.startsWith(prefix))) {
    const detail = `The token is limited to datasets: put the list under "${prefix}" of ${bucket}, where "${name}" is.`;
    return failure("out-of-scope", detail, { field: "keys.key" });
  }
  const found = await createR2Store(binding).head(keys.key);
  if (found.ok) return null;
  if (found.failure.code !== "object-not-found") return found.failure;
  return failure("object-not-found", `There is no list "${keys.key}" in ${keys.bucket}.`, { field: "keys.key" });
}

/** Whether the report of a run of this dataset is complete, and so a list of keys. */
export async function checkReport(
  env: Env,
  datasetId: string,
  { migration: id }: KeyList & { kind: "report" },
): Promise<Failure | null> {
  const field = "keys.migration";
  const migration = migrationOf(env, id);
  const spec = await migration.spec();
  if (spec?.datasetId !== datasetId) {
    return failure("unknown-migration", `There is no migration "${id}" of this dataset.`, { field });
  }
  const status = await migration.status();
  if (!status.ok) return status.failure;
  if (status.value.finishedAt === null) {
    return failure("migration-running", `Migration ${id} has not ended; wait for its end, or cancel it.`, { field });
  }
  if (await migration.isSettled()) return null;
  const detail = `What migration ${id} had begun is still being settled and reported: try again in a minute, or migrate the dataset, which copies whatever is missing.`;
  return failure("migration-running", detail, { field });
}
