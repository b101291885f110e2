import { bucketOf, configOf, credentialsOf } from "../../workers/adapters/config.ts";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { createS3Store } from "../../workers/adapters/s3-store.ts";
import { newTally, type Tally, withR2Counting, withSourceCounting } from "../../workers/adapters/with-counting.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type {
  Metadata,
  ObjectInfo,
  ObjectReader,
  ObjectStore,
  PartSizeReader,
} from "../../workers/ports/object-store.ts";

/** What one message of a migration works with: both stores, counted, and the objects that keep the books. */
export interface Run {
  spec: MigrationSpec;
  source: ObjectReader & PartSizeReader;
  store: ObjectStore;
  tally: Tally;
  migration: ReturnType<typeof migrationOf>;
  dataset: ReturnType<typeof datasetOf>;
}

export function openRun(spec: MigrationSpec, env: Env): Result<Run> {
  const config = configOf(env);
  if (!config.ok) return config;
  const source = config.value.sources.get(spec.source.name);
  if (source === undefined) return fail(failure("unknown-source", `There is no source named "${spec.source.name}".`));
  const credentials = credentialsOf(env, spec.source.name);
  if (!credentials.ok) return credentials;
  const bucket = bucketOf(env, spec.bucket);
  if (bucket === null) return fail(failure("unknown-bucket", `There is no R2 binding named "${spec.bucket}".`));
  const tally = newTally();
  return ok({
    spec,
    tally,
    source: withSourceCounting(createS3Store(source, credentials.value), tally),
    store: withR2Counting(createR2Store(bucket), tally),
    migration: migrationOf(env, spec.id),
    dataset: datasetOf(env, spec.dataset),
  });
}

/** The whole key at the source, and in R2. */
export const sourceKeyOf = (run: Run, key: string): string => run.spec.source.prefix + key;
export const storeKeyOf = (run: Run, key: string): string => run.spec.prefix + storeKey(key);

/** What is stored with a copy: the source's own metadata, and where the copy came from. */
export function metadataOf(run: Run, item: CopyItem, from: ObjectInfo): Metadata {
  return {
    // R2 would guess a Content-Type where none is given.
    http: { contentType: "application/octet-stream", ...from.http },
    custom: {
      // A bucket that Penstock filled once names another origin.
      ...Object.fromEntries(Object.entries(from.custom).filter(([name]) => !name.startsWith("penstock-"))),
      [ORIGIN.migration]: run.spec.id,
      [ORIGIN.etag]: from.etag,
      [ORIGIN.modifiedAt]: String(from.lastModified),
      ...(storeKey(item.key) === item.key ? {} : { [ORIGIN.key]: encodeURIComponent(item.key) }),
    },
  };
}

/** Whether this migration wrote what is at the key, from this source object. */
export const isOurs = (run: Run, item: CopyItem, there: ObjectInfo): boolean =>
  there.custom[ORIGIN.migration] === run.spec.id && !isOfAnotherKey(item, there);

/** Whether what is at the key was copied from another source key, which is the same only in Unicode NFC. */
export function isOfAnotherKey(item: CopyItem, there: ObjectInfo): boolean {
  if (there.custom[ORIGIN.migration] === undefined) return false;
  const key = there.custom[ORIGIN.key];
  return key === undefined ? storeKey(item.key) !== item.key : key !== encodeURIComponent(item.key);
}

/** Why the key may not be written: it is another source key's, or somebody has changed it since it was listed. */
export const conflictOf = (item: CopyItem, there: ObjectInfo): Failure =>
  isOfAnotherKey(item, there)
    ? failure("key-conflict", "Another source key that is the same in Unicode NFC was copied to it.")
    : failure("destination-changed");

/** The manifest row of a copy. */
export function rowOf(run: Run, key: string, stored: ObjectInfo, proof: Proof): Row {
  const modifiedAt = stored.custom[ORIGIN.modifiedAt];
  return {
    key: storeKey(key),
    size: stored.size,
    etag: stored.etag,
    uploadedAt: stored.lastModified,
    contentType: stored.http.contentType ?? null,
    proof,
    sourceEtag: stored.custom[ORIGIN.etag] ?? null,
    sourceModifiedAt: modifiedAt === undefined ? null : Number(modifiedAt),
    writer: run.spec.id,
  };
}

/** The object as the source lists it now; `source-object-missing` when it is gone. */
export async function listAgain(run: Run, item: CopyItem): Promise<Result<CopyItem>> {
  const key = sourceKeyOf(run, item.key);
  // The key itself is the first of the keys that begin with it.
  const page = await run.source.list({ prefix: key, after: null });
  if (!page.ok) return page;
  const object = page.value.objects[0];
  if (object?.key !== key) return fail(failure("source-object-missing"));
  const { size, etag, lastModified } = object;
  return ok({ ...item, size, etag, lastModified });
}

/** What a store's answer about the source means for the copy. */
export function sourceFailure(failed: Failure): Failure {
  switch (failed.code) {
    case "object-not-found":
      return failure("source-object-missing");
    case "precondition-failed":
      return failure("source-changed");
    case "range-not-satisfiable":
      return failure("source-changed", "The object is shorter than it was when it was listed.");
    default:
      return failed;
  }
}
