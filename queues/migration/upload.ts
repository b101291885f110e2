import type { Upload } from "../../durable-objects/migration/uploads.ts";
import { bucketOf } from "../../workers/adapters/config.ts";
import { md5Of } from "../../workers/adapters/digest.ts";
import { exactStream } from "../../workers/adapters/exact-stream.ts";
import { migrationOf } from "../../workers/adapters/objects.ts";
import { createR2Store } from "../../workers/adapters/r2-store.ts";
import { type Failure, failure, isTransient } from "../../workers/core/failure.ts";
import { CONSUMER_MAX_SECONDS } from "../../workers/core/limits.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import type {
  AbortMessage,
  CopyItem,
  FinishMessage,
  PartMessage,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import { partRange, planParts } from "../../workers/core/migration/parts.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectInfo } from "../../workers/ports/object-store.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
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
  sourceFailure,
  sourceKeyOf,
  storeKeyOf,
} from "./run.ts";

/** Parts of one message that are under way at once: each streams, so this bounds connections, not memory. */
const PARTS_AT_ONCE = 2;
/** Parts that are not begun by then are left for another consumer: one GET may take over half of this one's life. */
const PARTS_SECONDS = CONSUMER_MAX_SECONDS / 3;

/** Fixes the part plan of one object and creates its upload. */
export async function openUpload(message: UploadMessage, run: Run): Promise<Settlement> {
  const opened = await createListed(message.item, run);
  if (!opened.ok) return giveUp(message, run, opened.failure, message.item);
  const { item, uploadId, plan } = opened.value;
  const accepted = await run.migration.openUpload(message.seq, message.generation, { item, uploadId, plan }, run.tally);
  // Of two racing uploads of one key the first recorded wins.
  if (!accepted) await run.store.abortUpload(storeKeyOf(run, item.key), uploadId);
  return ACK;
}

/** What the parts of one object are sent with. */
export type OpenedUpload = Pick<Upload, "item" | "uploadId" | "plan">;

async function createListed(listed: CopyItem, run: Run): Promise<Result<OpenedUpload>> {
  const head = await run.source.head(sourceKeyOf(run, listed.key));
  if (!head.ok) return fail(sourceFailure(head.failure));
  let item = listed;
  if (head.value.etag !== listed.etag || head.value.size !== listed.size) {
    const again = await listAgain(run, listed);
    if (!again.ok) return again;
    item = again.value;
    if (item.etag !== head.value.etag || item.size !== head.value.size) return fail(failure("source-changed"));
  }
  return createUpload(item, head.value, run);
}

/** Cuts an object into parts as the source has it cut, where that can be told, and creates its upload in R2. */
export async function createUpload(item: CopyItem, head: ObjectInfo, run: Copying): Promise<Result<OpenedUpload>> {
  const firstPart = await run.source.firstPart(sourceKeyOf(run, item.key));
  if (!firstPart.ok) return fail(sourceFailure(firstPart.failure));
  const plan = planParts(item.size, { etag: item.etag, firstPart: firstPart.value }, run.spec.partBytes);
  const uploadId = await run.store.createUpload(storeKeyOf(run, item.key), metadataOf(run, item, head));
  return uploadId.ok ? ok({ item, uploadId: uploadId.value, plan }) : uploadId;
}

/** Sends the parts of one message that nobody else holds, each pinned to the ETag the plan was made for. */
export async function sendParts(message: PartMessage, run: Run): Promise<Settlement> {
  const claimed = await run.migration.claimParts(message);
  if (claimed === null || claimed.claims.length === 0) return ACK;
  const { upload, claims } = claimed;
  const queue = [...claims];
  const endsAt = Date.now() + PARTS_SECONDS * 1000;
  const stop: { problem: Failure | null } = { problem: null };
  const worker = async () => {
    while (queue.length > 0 && stop.problem === null && Date.now() < endsAt) {
      const claim = queue.shift();
      if (claim === undefined) return;
      const sent = await sendPart(upload, claim.number, run);
      if (sent.ok) await run.migration.settlePart(message, claim, sent.value, takeTally(run));
      else {
        stop.problem = sent.failure;
        queue.push(claim);
      }
    }
  };
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, worker));
  if (stop.problem === null) {
    if (queue.length > 0) await run.migration.releaseParts(message, queue, null, run.tally);
    return ACK;
  }
  const { code } = stop.problem;
  if (code === "source-changed" || code === "upload-lost" || !isTransient(code)) {
    return giveUp(message, run, stop.problem, upload.item);
  }
  await run.migration.releaseParts(message, claims, stop.problem, run.tally);
  return ACK;
}

/** Sends one part, pinned to the ETag that the plan was made for; `md5` is that of the bytes as they were read. */
export async function sendPart(
  { item, plan, uploadId }: OpenedUpload,
  partNumber: number,
  run: Copying,
): Promise<Result<{ etag: string; md5: string }>> {
  const { start, end } = partRange(plan, item.size, partNumber);
  const whole = item.size === 0;
  const part = await run.source.get(sourceKeyOf(run, item.key), {
    ifMatch: item.etag,
    ...(whole ? {} : { range: { kind: "bounded" as const, start, end } }),
  });
  if (!part.ok) return fail(sourceFailure(part.failure));
  const { body, etag, length, size } = part.value;
  // A server that ignores If-Match is seen here.
  if (etag !== item.etag || size !== item.size || length !== end - start + 1) {
    await body.cancel();
    return fail(failure("source-changed"));
  }
  const { readable, md5, broken } = exactStream(body, length, true);
  const sent = await run.store.uploadPart(storeKeyOf(run, item.key), uploadId, partNumber, readable, length);
  if (!sent.ok) {
    // The body may have broken first; else whoever still sends is told to stop.
    await readable.cancel().catch(() => undefined);
    const reason = await broken;
    return reason === null ? sent : fail(failure("source-truncated", `The part broke off: ${reason}`));
  }
  return ok({ etag: sent.value, md5: await md5 });
}

/**
 * Completes an upload and proves it. `complete` takes no condition, so the destination is looked at just before; the
 * moment between the two remains, and is documented.
 */
export async function finishUpload(message: FinishMessage, run: Run): Promise<Settlement> {
  const finishing = await run.migration.uploadToFinish(message);
  if (finishing === null) return ACK;
  const { upload, parts } = finishing;
  const { item } = upload;
  const key = storeKeyOf(run, item.key);
  const before = await run.store.head(key);
  if (!before.ok && before.failure.code !== "object-not-found") return postpone(message, run, before.failure);
  const there = before.ok ? before.value : null;
  if (there !== null && there.etag !== item.was && isOurs(run, item, there)) {
    return prove(message, run, item, there, parts); // Completed before, and the answer was lost.
  }
  if (there !== null && there.etag !== item.was && isReadThrough(run, item, there)) {
    return yieldTo(there, message, run, upload, parts);
  }
  const isTaken = there !== null && isOfAnotherKey(item, there);
  if ((there?.etag ?? null) !== item.was || isTaken) {
    return giveUp(message, run, there === null ? failure("destination-changed") : conflictOf(item, there), item);
  }
  const completed = await run.store.completeUpload(key, upload.uploadId, parts);
  if (completed.ok) return prove(message, run, item, completed.value, parts);
  const { code } = completed.failure;
  if (code !== "upload-lost" && isTransient(code)) return postpone(message, run, completed.failure);
  const after = await run.store.head(key);
  if (after.ok && isOurs(run, item, after.value)) return prove(message, run, item, after.value, parts);
  return giveUp(message, run, completed.failure, item);
}

/**
 * A reader's miss had the object copied meanwhile. Ours is then not needed; where theirs is of another state of the
 * object, the source is asked which it has now, and theirs may be written over.
 */
async function yieldTo(
  there: ObjectInfo,
  message: FinishMessage,
  run: Run,
  upload: Upload,
  parts: readonly { md5: string }[],
): Promise<Settlement> {
  const { item, uploadId } = upload;
  if (!isUpToDate(item, there)) {
    return giveUp(message, run, failure("source-changed"), { ...item, was: there.etag });
  }
  const aborted = await run.store.abortUpload(storeKeyOf(run, item.key), uploadId);
  if (!aborted.ok && isTransient(aborted.failure.code)) return postpone(message, run, aborted.failure);
  // Ours, read from the same source object, prove theirs where both were cut alike.
  const proof = (await proofOf(item, there, parts)) ?? foundProof(item, there);
  await run.migration.settleUpload(message, rowOf(run, item.key, there, proof), run.tally);
  return ACK;
}

/** R2 has trouble: the parts are all there, so the finish is tried again later. */
async function postpone(message: FinishMessage, run: Run, problem: Failure): Promise<Settlement> {
  await run.migration.postpone(message, problem, run.tally);
  return ACK;
}

async function prove(
  message: FinishMessage,
  run: Run,
  item: CopyItem,
  stored: ObjectInfo,
  parts: readonly { md5: string }[],
): Promise<Settlement> {
  const proof = await proofOf(item, stored, parts);
  if (proof !== null) {
    await run.migration.settleUpload(message, rowOf(run, item.key, stored, proof), run.tally);
    return ACK;
  }
  // R2 holds other bytes than were read. They are taken away while they are still the ones we wrote.
  const key = storeKeyOf(run, item.key);
  const now = await run.store.head(key);
  if (now.ok && now.value.etag === stored.etag) await run.store.delete(key);
  const problem = failure("checksum-mismatch", "R2's multipart ETag is not the one computed from the parts as read.");
  return giveUp(message, run, problem, { ...item, was: null });
}

/** What parts, as they were read, say of an object that they were or might have been put together to; null: it is another. */
export async function proofOf(
  item: CopyItem,
  stored: ObjectInfo,
  parts: readonly { md5: string }[],
): Promise<Proof | null> {
  if (stored.size !== item.size) return null;
  const bytes = Uint8Array.fromHex(parts.map(({ md5 }) => md5).join(""));
  if (`${await md5Of(bytes)}-${parts.length}` !== stored.etag) return null;
  return stored.etag === item.etag ? "etag" : "parts";
}

/** R2 keeps an abandoned upload, and bills it, for seven days. */
export async function abortUpload(message: AbortMessage, env: Env): Promise<Settlement> {
  const migration = migrationOf(env, message.migration);
  const place = await migration.place();
  const bucket = place === null ? null : bucketOf(env, place.bucket);
  if (place !== null && bucket !== null) {
    const aborted = await createR2Store(bucket).abortUpload(place.prefix + storeKey(message.key), message.uploadId);
    if (!aborted.ok && isTransient(aborted.failure.code)) return settlementOf(aborted.failure);
  }
  await migration.settleMessage(message.seq);
  return ACK;
}

/** Starts the object again where that may help, with the item as the source lists it now. */
async function giveUp(
  message: UploadMessage | PartMessage | FinishMessage,
  run: Run,
  problem: Failure,
  item: CopyItem,
): Promise<Settlement> {
  let restart: { item: CopyItem } | null = null;
  if (isTransient(problem.code)) {
    const again = await listAgain(run, item);
    if (again.ok) restart = { item: again.value };
    else if (isTransient(again.failure.code)) restart = { item };
  }
  await run.migration.giveUpUpload(message, problem, restart, run.tally);
  return ACK;
}

/** The operations since they were last recorded. */
function takeTally(run: Run): Run["tally"] {
  const taken = { ...run.tally };
  run.tally.classA = run.tally.classB = run.tally.queue = run.tally.sourceGet = run.tally.sourceList = 0;
  return taken;
}
