import { bucketOf } from "../../workers/adapters/config.ts";
import { datasetOf, migrationOf } from "../../workers/adapters/objects.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { writerBy } from "../../workers/adapters/s3-writer.ts";
import { type UncommittedKeys, uncommittedIn } from "../../workers/adapters/uncommitted-outputs.ts";
import { originOf, sourceClientOf, sourceStoreOf } from "../../workers/adapters/source-stores.ts";
import {
  newTally,
  type Tally,
  withR2Counting,
  withRequestCounting,
  withSourceCounting,
} from "../../workers/adapters/with-counting.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { rowOfCopy, rowOfFound } from "../../workers/core/manifest/stored-row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import { type CopyItem, throughWriter } from "../../workers/core/migration/message.ts";
import { metadataOfCopy } from "../../workers/core/migration/metadata.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { partCount } from "../../workers/core/migration/parts.ts";
import type { CopySpec, MigrationSpec } from "../../workers/core/migration/status.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type {
  Metadata,
  ObjectInfo,
  ObjectReader,
  ObjectStore,
  PartSizeReader,
  PrefixReader,
  TagReader,
} from "../../workers/ports/object-store.ts";

/**
 * What copying an object takes: from `source` to `store`. Of a run back these are R2 and the source's bucket, and
 * so are the prefixes in `spec`.
 */
export interface Copying {
  spec: CopySpec;
  source: ObjectReader & PartSizeReader & Partial<PrefixReader & TagReader>;
  store: ObjectStore;
  /** `s3://bucket/prefix` of the source, as rows name it. */
  origin: string;
}

/** What one message of a migration works with: both stores, counted, and the objects that keep the books. */
export interface Run extends Copying {
  spec: MigrationSpec;
  /** Penstock's own bucket. */
  system: ObjectStore;
  /** Of the queue of migrations. */
  backlog: () => Promise<number>;
  tally: Tally;
  migration: ReturnType<typeof migrationOf>;
  dataset: ReturnType<typeof datasetOf>;
  uncommitted: UncommittedKeys;
}

export function openCopying(spec: CopySpec, env: Env): Result<Copying> {
  const source = sourceStoreOf(env, spec.source.name, "copying");
  if (!source.ok) return source;
  const origin = originOf(env, spec.source);
  if (!origin.ok) return origin;
  const bucket = bucketOf(env, spec.bucket);
  if (bucket === null) return fail(failure("unknown-bucket", `There is no R2 binding named "${spec.bucket}".`));
  return ok({ spec, source: source.value, store: createR2Store(bucket), origin: origin.value });
}

export function openRun(spec: MigrationSpec, env: Env): Result<Run> {
  const copying = openCopying(spec, env);
  if (!copying.ok) return copying;
  const tally = newTally();
  const source = withSourceCounting(copying.value.source, tally);
  const store = withR2Counting(copying.value.store, tally);
  const books = {
    tally,
    system: withR2Counting(createR2Store(env.SYSTEM), tally),
    backlog: async () => (await env.MIGRATION_QUEUE.metrics()).backlogCount,
    migration: migrationOf(env, spec.id),
    dataset: datasetOf(env, spec.dataset),
    uncommitted: uncommittedIn(env),
    origin: copying.value.origin,
  };
  return spec.direction === "in"
    ? ok({ spec, source, store, ...books })
    : openBack(spec, env, { source, store, ...books });
}

/** The way back: the two stores change places. */
function openBack(spec: MigrationSpec, env: Env, run: Omit<Run, "spec">): Result<Run> {
  const client = sourceClientOf(env, spec.source.name);
  if (!client.ok) return client;
  const writer = writerBy(withRequestCounting(client.value, run.tally));
  return ok({
    ...run,
    spec: { ...spec, source: { ...spec.source, prefix: spec.prefix }, prefix: spec.source.prefix },
    // R2 does not tell the size of parts.
    source: { ...run.store, firstPart: async () => ok(null) },
    store: { ...run.source, ...writer },
  });
}

/** The whole key at the source, and in R2. */
export const sourceKeyOf = (run: Copying, key: string): string => run.spec.source.prefix + key;
export const storeKeyOf = (run: Copying, key: string): string => run.spec.prefix + storeKey(key);

/** What is stored with a copy of the item. `crc64nvme`: the source's, which the bytes must have to be stored. */
export const metadataOf = (run: Copying, item: CopyItem, from: ObjectInfo, crc64nvme?: string): Metadata =>
  metadataOfCopy(from, item.key, run.spec.id, crc64nvme);

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

/**
 * The manifest row of a copy that this run, or one of ours that it recognises as that, has made.
 *
 * @param key as the source spells it
 * @param known what is known of it beyond what R2 tells: its metadata may have had no room
 */
export function rowOf(
  run: Copying,
  key: string,
  stored: ObjectInfo,
  proof: Proof,
  known: { storageClass?: string | undefined; tags?: Row["tags"] | undefined; crc64nvme?: string | null } = {},
): Row {
  const row = rowOfCopy(storeKey(key), stored, run.spec.id);
  return {
    ...row,
    proof,
    origin: run.origin,
    sourceKey: storeKey(key) === key ? null : key,
    storageClass: known.storageClass ?? row.storageClass,
    tags: known.tags ?? row.tags,
    crc64nvme: known.crc64nvme ?? row.crc64nvme,
  };
}

/** The row of what somebody else has put, and what has the source object's bytes. */
export function rowOfEqual(run: Copying, { key, etag, lastModified }: CopyItem, stored: ObjectInfo, proof: Proof): Row {
  return {
    ...rowOfFound(storeKey(key), stored, run.spec.id),
    proof,
    origin: run.origin,
    sourceKey: storeKey(key) === key ? null : key,
    sourceEtag: etag,
    sourceModifiedAt: lastModified,
  };
}

/** The object as the source lists it now; `source-object-missing` when it is gone. */
export async function listAgain(run: Copying, item: CopyItem): Promise<Result<CopyItem>> {
  const key = sourceKeyOf(run, item.key);
  // The key itself is the first of the keys that begin with it.
  const page = await run.source.list({ prefix: key, after: null, limit: 1 });
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

/** The operations since they were last recorded. */
export function takeTally(run: Run): Run["tally"] {
  const taken = { ...run.tally };
  for (const name of Object.keys(run.tally) as (keyof Run["tally"])[]) run.tally[name] = 0;
  return taken;
}
