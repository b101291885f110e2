import { crc64Of } from "../../workers/adapters/digest.ts";
import { exactStream, wrongChecksum } from "../../workers/adapters/exact-stream.ts";
import { hiddenAmong } from "../../workers/adapters/uncommitted-outputs.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import type { CopyItem, CopyMessage } from "../../workers/core/migration/message.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectBody, ObjectInfo } from "../../workers/ports/object-store.ts";
import type { Settlement } from "../settle.ts";
import { settleItems } from "./batch.ts";
import { HELD_MAX_BYTES, readAll } from "./held-body.ts";
import {
  conflictOf,
  type Copying,
  foundProof,
  isOfAnotherKey,
  isOurs,
  isReadThrough,
  isUpToDate,
  listAgain,
  metadataOf,
  type Run,
  rowOf,
  rowOfEqual,
  sourceFailure,
  sourceKeyOf,
  storeKeyOf,
} from "./run.ts";
import { bodyWithTags, hasUnreadTags } from "./tags.ts";

/**
 * How the bytes get from the one store into the other. `piped`: by the runtime, which does not tell a body that broke off
 * from a put that failed. `watched`: past us, which costs more, and tells. An object is piped, and when that fails it is
 * watched at its next try.
 */
type Passage = "piped" | "watched";

/** Copies the objects of one batch and settles it once, with every outcome. */
export function copyBatch(message: CopyMessage, run: Run): Promise<Settlement> {
  // What goes back is always watched: its writer needs the MD5 before the bytes.
  const passage = message.tries === 0 && run.spec.direction === "in" ? "piped" : "watched";
  return settleItems(message, run, "copied", async (item) => {
    const copied = await copyObject(item, run, message.seq, passage);
    if (!copied.ok) return copied;
    const { size, etag, proof } = copied.value;
    // Of a run back the manifest has nothing to learn: it speaks of R2.
    return ok({ size, etag, proof: proof ?? "size", row: run.spec.direction === "in" ? copied.value : null });
  });
}

/**
 * Copies one object with one GET and one conditional put. An answer whose ETag is not the listed one is not believed:
 * it may be a change, or a proxy's page. The listing is asked again, once, and decides.
 */
async function copyObject(listed: CopyItem, run: Run, seq: number, passage: Passage): Promise<Result<Row>> {
  let item = listed;
  for (let attempt = 1; attempt <= 3; attempt++) {
    const body = await run.source.get(sourceKeyOf(run, item.key), { checksums: run.spec.checksums });
    if (!body.ok) return fail(sourceFailure(body.failure));
    if (body.value.etag === item.etag) {
      const stored = await store(item, body.value, run, passage);
      if (!("stale" in stored)) return stored;
      // Whoever settles the message first has said what is there: nothing is written over it by a second delivery.
      if (!(await run.migration.isOpen(seq))) return ok(stored.found);
      item = stored.stale;
      continue;
    }
    await body.value.body.cancel();
    const again = await listAgain(run, item);
    if (!again.ok) return again;
    item = again.value;
  }
  return fail(failure("source-changed", "The object's ETag is not the one that the source lists."));
}

/** `stale`: our copy of another state of the object is there, which may be written over with what the source has now. */
async function store(
  item: CopyItem,
  body: ObjectBody,
  run: Run,
  passage: Passage,
): Promise<Result<Row> | { stale: CopyItem; found: Row }> {
  const taken = item.was === null ? null : await takenKey(item, run);
  if (taken !== null) {
    await body.body.cancel();
    return fail(taken);
  }
  const put = await putWhole(item, body, run, passage);
  if (put.ok || put.failure.code !== "precondition-failed") return put;
  // Somebody was there first: this message's other delivery, a reader's miss, a consumer of an older run, a stranger.
  const there = await run.store.head(storeKeyOf(run, item.key), { checksums: true });
  if (!there.ok) {
    const gone = there.failure.code === "object-not-found";
    return fail(gone ? failure("destination-changed", "The object was deleted in R2 meanwhile.") : there.failure);
  }
  const { size, etag } = there.value;
  if (isOurs(run, item, there.value) || isReadThrough(run, item, there.value)) {
    const found = rowOf(run, item.key, there.value, provenAs(item, there.value, body, run));
    return isUpToDate(item, there.value) ? ok(found) : { stale: { ...item, was: etag }, found };
  }
  // Equal MD5s are equal bytes, whoever put them.
  const isEqual = body.md5 !== null && etag === body.md5 && size === item.size && !isOfAnotherKey(item, there.value);
  if (!isEqual) return fail(conflictOf(item, there.value));
  const output = { key: storeKey(item.key), etag, job: there.value.custom[OUTPUT_JOB] };
  const hidden = await hiddenAmong(run.uncommitted, run.spec.datasetId, [output]);
  if (!hidden.ok) return hidden;
  // A job may take away again what it has not committed.
  if (hidden.value.size > 0) return fail(conflictOf(item, there.value));
  return ok(rowOfEqual(run, item, there.value, foundProof(item, there.value)));
}

/** What this run put was put with this proof, and would not be there without it. */
const provenAs = (item: CopyItem, there: ObjectInfo, body: ObjectBody, run: Run): Proof =>
  isOurs(run, item, there) && isUpToDate(item, there) ? putProof(body) : foundProof(item, there);

/** Looks at what is about to be overwritten: it may be the copy of another source key. */
async function takenKey(item: CopyItem, run: Run): Promise<Failure | null> {
  const there = await run.store.head(storeKeyOf(run, item.key));
  if (!there.ok) return there.failure.code === "object-not-found" ? null : there.failure;
  return isOfAnotherKey(item, there.value) ? conflictOf(item, there.value) : null;
}

/**
 * Puts a body whole, on the condition that R2 has what `item.was` says; returns its row, with the proof: of the source's
 * own checksums, where it told them, the strongest.
 */
export async function putWhole(item: CopyItem, from: ObjectBody, run: Copying, passage: Passage): Promise<Result<Row>> {
  if (from.length !== item.size) {
    await from.body.cancel();
    return fail(failure("source-bad-answer", `The source lists ${item.size} bytes and announced ${from.length}.`));
  }
  const source = hasUnreadTags(from) ? await bodyWithTags(from, item, run) : ok(from);
  if (!source.ok) return source;
  const put = await putBody(item, source.value, run, passage);
  if (!put.ok) return put;
  const { storageClass, tags } = source.value;
  const known = { storageClass, tags, crc64nvme: comparedCrc64(source.value) };
  return ok(rowOf(run, item.key, put.value, putProof(source.value), known));
}

/** The CRC-64/NVME that the bytes are compared with. Where there is a SHA-256 it says it all. */
const comparedCrc64 = ({ checksums }: ObjectBody): string | null =>
  checksums?.sha256 === undefined ? (checksums?.crc64nvme ?? null) : null;

function putProof({ checksums, md5 }: ObjectBody): Proof {
  if (checksums?.sha256 !== undefined) return "sha256";
  if (checksums?.crc64nvme !== undefined) return "crc64nvme";
  return md5 === null ? "size" : "md5";
}

/**
 * R2 enforces one hash: the SHA-256, else the MD5. A CRC-64/NVME, which it does not take, is compared here, before R2
 * has the last byte, and left in the copy's metadata.
 */
async function putBody(item: CopyItem, from: ObjectBody, run: Copying, passage: Passage): Promise<Result<ObjectInfo>> {
  const sha256 = from.checksums?.sha256;
  const crc64nvme = comparedCrc64(from) ?? undefined;
  const expected = crc64nvme === undefined ? undefined : { crc64nvme };
  const options = {
    ...metadataOf(run, item, from, crc64nvme),
    size: item.size,
    ...(sha256 === undefined ? (from.md5 === null ? {} : { md5: from.md5 }) : { sha256 }),
    onlyIf: item.was === null ? ("absent" as const) : { etag: item.was },
  };
  const key = storeKeyOf(run, item.key);
  if (passage === "piped" && expected === undefined) {
    const put = await run.store.put(key, from.body, options);
    // One that was refused at once took nothing: the source's connection would stay with it.
    if (!put.ok) await from.body.cancel().catch(() => undefined);
    return put;
  }
  if (item.size <= HELD_MAX_BYTES) {
    const bytes = await readAll(from);
    if (!bytes.ok) return bytes;
    if (expected !== undefined && (await crc64Of(bytes.value)) !== crc64nvme) return fail(wrongChecksum());
    return run.store.put(key, bytes.value, options);
  }
  const { readable, broken } = exactStream(from.body, item.size, { expected });
  const put = await run.store.put(key, readable, options);
  if (put.ok) return put;
  await readable.cancel().catch(() => undefined);
  const problem = await broken;
  return problem === null ? put : fail(problem);
}
