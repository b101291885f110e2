import { copyOnRead } from "../../adapters/copy-on-read.ts";
import type { KnownDataset } from "../../adapters/known-datasets.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { sourceStoreOf } from "../../adapters/source-stores.ts";
import { coversFolder, type Scope } from "../../core/capability/scope.ts";
import { type Failure, type FailureCode, failure, isTransient } from "../../core/failure.ts";
import { checkKey } from "../../core/http/key-path.ts";
import { storeKey } from "../../core/migration/join.ts";
import type { KnownObject } from "../../core/read/known-object.ts";
import type { ServerTiming } from "../../core/read/server-timing.ts";
import { fail, type Result } from "../../core/result.ts";
import type { ObjectReader } from "../../ports/object-store.ts";
import type { SealedObject, VersionResolver } from "../../ports/version-resolver.ts";
import { readObject, type Reading, type ReadRequest } from "./read-object.ts";
import { type Isolate, Reader } from "./reader.ts";

export interface DatasetRead {
  env: Env;
  dataset: KnownDataset;
  /** Relative to the dataset's prefix, as the client spelt it. */
  key: string;
  /** Null on `live`. */
  version: VersionResolver | null;
  versionName: string;
  /** What the capability opens. */
  scope: Scope;
  request: ReadRequest;
  isolate: Isolate;
  timing: ServerTiming;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
}

/**
 * Reads a key of a dataset as its policy says:
 *
 *     r2        from R2
 *     through   from R2; what is not there, from the source, and it is then copied. The source also stands in when R2
 *               fails, at the ETag that was promised
 *     source    from the source
 *
 * A sealed version is of what R2 holds, and is read from R2 whatever the policy.
 */
export async function readDataset(read: DatasetRead): Promise<Result<Reading>> {
  const { bucket, prefix, read: policy } = read.dataset.config;
  const stored = checkKey(prefix + storeKey(read.key)); // The dataset's prefix counts towards R2's 1,024 bytes.
  if (!stored.ok) return stored;
  const store = r2StoreOf(read.env, bucket);
  if (store === null) return fail(failure("misconfigured", `The R2 binding "${bucket}" is not there any more.`));
  const r2 = readerOf(read, store, bucket, "r2");
  if (read.version !== null) return readSealed(read, r2, stored.value, read.version);
  if (policy === "r2") return readObject(r2, stored.value, read.request, null);
  const source = openSource(read);
  if (policy === "source") return source.ok ? fromSource(read, source.value, null) : source;

  // What was at the source a moment ago is not looked for in R2 again before it may have been copied.
  const atSource = source.ok && source.value.reader.isRecent(source.value.key, POLICY_MS);
  if (atSource && r2.recall(stored.value, null) === null) return readThrough(read, source.value);
  const reading = await readObject(r2, stored.value, read.request, null);
  if (reading.ok) {
    if (!isOfAnotherKey(reading.value.object, read.key)) return reading;
    // Two keys of the source are one in R2, and it has the other.
    if (reading.value.status !== 304 && reading.value.body instanceof ReadableStream) await reading.value.body.cancel();
  } else if (reading.failure.code !== "object-not-found") {
    if (!R2_TROUBLE.has(reading.failure.code) || !source.ok) return reading;
    return standIn(read, r2, stored.value, source.value, reading.failure);
  }
  return source.ok ? readThrough(read, source.value) : source;
}

/** Milliseconds after which a change of the policy holds, and a copy that was made meanwhile is found. */
const POLICY_MS = 10_000;

/** A key that R2 does not have: the source's object, unless the key was deleted on purpose. */
async function readThrough(read: DatasetRead, source: Source): Promise<Result<Reading>> {
  const { env, dataset, key } = read;
  const { id, name } = dataset.config;
  if (await isBuried(read)) return fail(failure("object-not-found"));
  const reading = await fromSource(read, source, null);
  // A HEAD wants no bytes, so it moves none.
  if (reading.ok && reading.value.status !== 304 && read.request.method === "GET") {
    const { etag, size, lastModified } = reading.value.object;
    read.waitUntil(copyOnRead(env, { dataset: name, datasetId: id, key, etag, size, lastModified }));
  }
  return reading;
}

/** Deleted on purpose, though the source may still have it. */
async function isBuried({ dataset, env, key, timing }: DatasetRead): Promise<boolean> {
  if (!dataset.hasTombstones) return false;
  return timing.time("resolve", datasetOf(env, dataset.config.name).isBuried(storeKey(key)));
}

/** Whether R2's object is a copy of another key of the source, which is the same only in Unicode NFC. */
const isOfAnotherKey = ({ isCopy, sourceKey }: KnownObject, key: string): boolean =>
  isCopy && (sourceKey === null ? storeKey(key) !== key : sourceKey !== encodeURIComponent(key));

/**
 * R2 fails: the source may answer, if it still has what was promised. That is what this isolate has told its readers
 * within the time for which it may, or what the manifest says was copied; where neither says anything, or the source has
 * another object by now, R2's failure stands.
 */
async function standIn(
  read: DatasetRead,
  r2: Reader,
  storedKey: string,
  source: Source,
  trouble: Failure,
): Promise<Result<Reading>> {
  const known = r2.recall(storedKey, null);
  const promised = known === null ? await copiedRow(read) : sourceOf(known);
  if (promised === null || (await isBuried(read))) return fail(trouble);
  const reading = await fromSource(read, source, promised);
  return reading.ok || !NOT_THERE.has(reading.failure.code) ? reading : fail(trouble);
}

const sourceOf = ({ isCopy, size, logicalEtag }: KnownObject): SealedObject | null =>
  isCopy ? { size, etag: logicalEtag } : null;

async function copiedRow(read: DatasetRead): Promise<SealedObject | null> {
  try {
    const key = storeKey(read.key);
    const rows = await datasetOf(read.env, read.dataset.config.name).remember([key]);
    const row = rows[0];
    return row === undefined || row.sourceEtag === null ? null : { size: row.size, etag: row.sourceEtag };
  } catch {
    return null; // The Dataset cannot be asked: nothing is promised.
  }
}

/** Only what a version sealed is served, or nothing: never what was put in its place. */
async function readSealed(
  read: DatasetRead,
  r2: Reader,
  storedKey: string,
  version: VersionResolver,
): Promise<Result<Reading>> {
  const sealed = await read.timing.time(
    "resolve",
    version.resolve(storeKey(read.key), !coversFolder(read.scope, read.key)),
  );
  if (!sealed.ok) return sealed;
  const { document } = sealed.value;
  const store = document === undefined ? r2 : readerOf(read, createR2Store(read.env.SYSTEM), "SYSTEM", "r2");
  const reading = await readObject(store, document ?? storedKey, read.request, sealed.value);
  if (reading.ok || reading.failure.code !== "object-changed") return reading;
  if (document !== undefined) return fail(failure("version-damaged", `"${document}" is not what was sealed.`));
  const { name } = read.dataset.config;
  const detail = `It is no longer what version ${read.versionName} of "${name}" sealed; read a later version.`;
  return fail(failure("object-changed", detail));
}

interface Source {
  reader: Reader;
  /** The whole key at the source, where keys are what they are: R2 alone normalises them. */
  key: string;
}

function openSource(read: DatasetRead): Result<Source> {
  const { name, source } = read.dataset.config;
  if (source === undefined) return fail(failure("misconfigured", `The dataset "${name}" has no source to read from.`));
  const store = sourceStoreOf(read.env, source.name, "reading");
  if (!store.ok) return fail(failure("misconfigured", store.failure.detail));
  const reader = readerOf(read, confirmingAbsence(store.value), `source:${source.name}`, "source");
  return { ok: true, value: { reader, key: source.prefix + read.key } };
}

async function fromSource(read: DatasetRead, source: Source, pin: SealedObject | null): Promise<Result<Reading>> {
  const reading = await readObject(source.reader, source.key, read.request, pin);
  return reading.ok ? reading : fail(told(reading.failure));
}

function readerOf(read: DatasetRead, store: ObjectReader, place: string, step: "r2" | "source"): Reader {
  const { isolate, timing, now, waitUntil } = read;
  const liveTtlMs = read.dataset.config.liveTtlSeconds * 1000;
  return new Reader({ isolate, store, place, step, liveTtlMs, timing, now, waitUntil });
}

/**
 * A HEAD has no body, so its 404 may be anybody's: that of a load balancer without a server, say. What is missing is
 * missing only once a GET has said so in S3's words.
 */
function confirmingAbsence(store: ObjectReader): ObjectReader {
  return {
    ...store,
    async head(key) {
      const head = await store.head(key);
      if (head.ok || head.failure.code !== "object-not-found") return head;
      const got = await store.get(key, { range: { kind: "bounded", start: 0, end: 0 } });
      if (!got.ok) return got;
      await got.value.body.cancel();
      return fail(failure("source-bad-answer", "The source answers 404 to a HEAD, and serves the object to a GET."));
    },
  };
}

/** What passes is told as the source's, with a time to come back; never as a missing object. */
function told(failed: Failure): Failure {
  if (failed.code === "source-throttled" || !failed.code.startsWith("source-") || !isTransient(failed.code))
    return failed;
  const { detail, retryAfterSeconds } = failed;
  return failure("source-unavailable", detail, retryAfterSeconds === undefined ? {} : { retryAfterSeconds });
}

const R2_TROUBLE: ReadonlySet<FailureCode> = new Set(["store-unavailable", "store-throttled"] satisfies FailureCode[]);
/** The source does not have what was promised. */
const NOT_THERE: ReadonlySet<FailureCode> = new Set(["object-changed", "object-not-found"] satisfies FailureCode[]);
