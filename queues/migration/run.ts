import { bucketOf } from "../../workers/adapters/config.ts";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { sourceStoreOf, type SourceStore } from "../../workers/adapters/source-stores.ts";
import { newTally, type Tally, withR2Counting, withSourceCounting } from "../../workers/adapters/with-counting.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import { type CopyItem, throughWriter } from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { partCount } from "../../workers/core/migration/parts.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { Metadata, ObjectInfo, ObjectStore } from "../../workers/ports/object-store.ts";

/** What copying an object takes. `spec.id` is the name that is left on the copy: a migration's, or a read-through's. */
export interface Copying {
  spec: MigrationSpec;
  source: SourceStore;
  store: ObjectStore;
}

/** What one message of a migration works with: both stores, counted, and the objects that keep the books. */
export interface Run extends Copying {
  tally: Tally;
  migration: ReturnType<typeof migrationOf>;
  dataset: ReturnType<typeof datasetOf>;
}

export function openCopying(spec: MigrationSpec, env: Env): Result<Copying> {
  const source = sourceStoreOf(env, spec.source.name, "copying");
  if (!source.ok) return source;
  const bucket = bucketOf(env, spec.bucket);
  if (bucket === null) return fail(failure("unknown-bucket", `There is no R2 binding named "${spec.bucket}".`));
  return ok({ spec, source: source.value, store: createR2Store(bucket) });
}

export function openRun(spec: MigrationSpec, env: Env): Result<Run> {
  const copying = openCopying(spec, env);
  if (!copying.ok) return copying;
  const tally = newTally();
  return ok({
    spec,
    tally,
    source: withSourceCounting(copying.value.source, tally),
    store: withR2Counting(copying.value.store, tally),
    migration: migrationOf(env, spec.id),
    dataset: datasetOf(env, spec.dataset),
  });
}

/** The whole key at the source, and in R2. */
export const sourceKeyOf = (run: Copying, key: string): string => run.spec.source.prefix + key;
export const storeKeyOf = (run: Copying, key: string): string => run.spec.prefix + storeKey(key);

/** What is stored with a copy: the source's own metadata, and where the copy came from. */
export function metadataOf(run: Copying, item: CopyItem, from: ObjectInfo): Metadata {
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

/** Whether this run wrote what is at the key, from this source object. */
export const isOurs = (run: Copying, item: CopyItem, there: ObjectInfo): boolean =>
  there.custom[ORIGIN.migration] === run.spec.id && !isOfAnotherKey(item, there);

/** Whether a reader's miss had it copied from this source object: that goes on while a migration runs. */
export const isReadThrough = (run: Copying, item: CopyItem, there: ObjectInfo): boolean =>
  there.custom[ORIGIN.migration] === throughWriter(run.spec.datasetId) && !isOfAnotherKey(item, there);

/** Whether a copy of ours is of the object as the source has it now. */
export const isUpToDate = (item: CopyItem, copy: ObjectInfo): boolean =>
  copy.size === item.size && copy.custom[ORIGIN.etag] === item.etag;

/** The proof of a copy that was found: only the ETags tell now what its parts were. */
export function foundProof(item: CopyItem, copy: ObjectInfo): Proof {
  if (copy.etag !== item.etag) return "size";
  return partCount(item.etag) === null ? "md5" : "etag";
}

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
export function rowOf(run: Copying, key: string, stored: ObjectInfo, proof: Proof): Row {
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
    // A copy that was found may be the read-through's.
    writer: stored.custom[ORIGIN.migration] ?? run.spec.id,
  };
}

/** The object as the source lists it now; `source-object-missing` when it is gone. */
export async function listAgain(run: Copying, item: CopyItem): Promise<Result<CopyItem>> {
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
