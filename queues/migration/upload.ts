import type { FinishedUpload, Restart } from "../../durable-objects/migration/uploading.ts";
import type { DonePart, SentPart, Upload } from "../../durable-objects/migration/uploads.ts";
import { exactStream } from "../../workers/adapters/exact-stream.ts";
import { type Failure, failure, isTransient } from "../../workers/core/failure.ts";
import { mayPass } from "../../workers/core/migration/backoff.ts";
import { CONSUMER_MAX_SECONDS } from "../../workers/core/limits.ts";
import type {
  AbortMessage,
  CopyItem,
  FinishMessage,
  PartMessage,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { partCount, partRange, planParts } from "../../workers/core/migration/parts.ts";
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
  takeTally,
} from "./run.ts";
import { withTags } from "./tags.ts";
import { askWhole, multipartEtag, wholeCrc64 } from "./whole-checksum.ts";

/** Parts of one message that are under way at once: each streams, so this bounds connections, not memory. */
const PARTS_AT_ONCE = 4;
/** Parts that are not begun by then are left for another consumer: one GET may take over half of this one's life. */
const PARTS_SECONDS = CONSUMER_MAX_SECONDS / 3;

/** Fixes the part plan of one object and creates its upload. */
export async function openUpload(message: UploadMessage, run: Run): Promise<Settlement> {
  const opened = await createListed(message.item, run);
  if (!opened.ok) return giveUp(message, run, opened.failure, message.item);
  await run.migration.openUpload(message, opened.value, run.tally);
  return ACK;
}

/** What the parts of one object are sent with. */
export type OpenedUpload = Pick<Upload, "item" | "uploadId" | "plan">;

/** The multipart ETag of an encrypted object says nothing of its parts: no reading of them is in doubt. */
const NO_DOUBT = "";

async function createListed(listed: CopyItem, run: Run): Promise<Result<OpenedUpload & { readAs?: string }>> {
  const head = await run.source.head(sourceKeyOf(run, listed.key));
  if (!head.ok) return fail(sourceFailure(head.failure));
  let item = listed;
  if (head.value.etag !== listed.etag || head.value.size !== listed.size) {
    const again = await listAgain(run, listed);
    if (!again.ok) return again;
    item = again.value;
    if (item.etag !== head.value.etag || item.size !== head.value.size) return fail(failure("source-changed"));
  }
  const created = await createUpload(item, head.value, run);
  return created.ok && head.value.encrypted === true ? ok({ ...created.value, readAs: NO_DOUBT }) : created;
}

/** Cuts an object into parts as the source has it cut, where that can be told, and creates its upload in R2. */
export async function createUpload(item: CopyItem, head: ObjectInfo, run: Copying): Promise<Result<OpenedUpload>> {
  const firstPart = await run.source.firstPart(sourceKeyOf(run, item.key));
  if (!firstPart.ok) return fail(sourceFailure(firstPart.failure));
  const plan = planParts(item.size, { etag: item.etag, firstPart: firstPart.value }, run.spec.partBytes);
  const tagged = await withTags(head, item, run);
  if (!tagged.ok) return tagged;
  const metadata = metadataOf(run, item, tagged.value);
  if (tagged.value.tags !== undefined && metadata.custom[ORIGIN.tags] === undefined) warnOfTags(item, run);
  const uploadId = await run.store.createUpload(storeKeyOf(run, item.key), metadata);
  return uploadId.ok ? ok({ item, uploadId: uploadId.value, plan }) : uploadId;
}

/** The row of what is put together later, perhaps by another consumer, is made of what R2 keeps. */
function warnOfTags({ key }: CopyItem, { spec: { dataset } }: Copying): void {
  console.warn(JSON.stringify({ message: "tags not kept: the object's metadata has no room for them", dataset, key }));
}

/** What is done with a part, and with an object of which one cannot be done. */
export interface PartWork {
  send: typeof sendPart;
  giveUp: typeof giveUp;
}

/** Does the parts of one message that nobody else holds: sends them, unless there is other `work` to do with them. */
export async function sendParts(
  message: PartMessage,
  run: Run,
  work: PartWork = { send: sendPart, giveUp },
): Promise<Settlement> {
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
      const sent = await work.send(upload, claim.number, run);
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
  if (code === "source-changed" || code === "upload-lost" || !mayPass(code)) {
    return work.giveUp(message, run, stop.problem, upload.item);
  }
  await run.migration.releaseParts(message, claims, stop.problem, run.tally);
  return ACK;
}

/** Sends one part, pinned to the ETag that the plan was made for. */
export async function sendPart(
  { item, plan, uploadId }: OpenedUpload,
  partNumber: number,
  run: Copying,
): Promise<Result<SentPart>> {
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
  const { readable, md5, crc64, broken } = exactStream(body, length, { md5: true, crc64: run.spec.checksums });
  const sent = await run.store.uploadPart(storeKeyOf(run, item.key), uploadId, partNumber, readable, length);
  if (!sent.ok) {
    // The body may have broken first; else whoever still sends is told to stop.
    await readable.cancel().catch(() => undefined);
    const problem = await broken;
    return problem === null ? sent : fail(problem);
  }
  const read = { md5: await md5, crc64: await crc64 };
  // A receiver that has not taken it whole has not got it.
  if (read.md5 === null) return fail(failure("store-unavailable", "R2 took a part before it had come whole."));
  return ok({ etag: sent.value, md5: read.md5, crc64: read.crc64 });
}

/**
 * Completes an upload and proves it. R2's `complete` takes no condition, so the destination is looked at just before; the
 * moment between the two remains, and is documented. A source's takes one, on the way back.
 */
export async function finishUpload(message: FinishMessage, run: Run): Promise<Settlement> {
  const finishing = await run.migration.uploadToFinish(message);
  if (finishing === null) return ACK;
  const { upload, parts } = finishing;
  const { item } = upload;
  const whole = await askWhole(upload, parts, run);
  if (!whole.ok) {
    // Parts that are other bytes than the source's never become the object.
    if (whole.failure.code === "checksum-mismatch") return giveUp(message, run, whole.failure, item);
    return postpone(message, run, whole.failure);
  }
  const read = await multipartEtag(parts);
  if (whole.value === null && isDoubtful(upload, read)) return giveUp(message, run, misread(item), item, read);
  const key = storeKeyOf(run, item.key);
  const before = await run.store.head(key);
  if (!before.ok && before.failure.code !== "object-not-found") return postpone(message, run, before.failure);
  const there = before.ok ? before.value : null;
  if (there !== null && there.etag !== item.was && isOurs(run, item, there)) {
    // Completed before, and the answer was lost: by this upload, which is then gone, or by an earlier one of the run.
    const aborted = await run.store.abortUpload(key, upload.uploadId);
    if (!aborted.ok && isTransient(aborted.failure.code)) return postpone(message, run, aborted.failure);
    return prove(message, run, upload, there, parts, whole.value);
  }
  if (there !== null && there.etag !== item.was && isReadThrough(run, item, there)) {
    return yieldTo(there, message, run, upload, parts, whole.value);
  }
  const isTaken = there !== null && isOfAnotherKey(item, there);
  if ((there?.etag ?? null) !== item.was || isTaken) {
    return giveUp(message, run, there === null ? failure("destination-changed") : conflictOf(item, there), item);
  }
  const onlyIf = item.was === null ? ("absent" as const) : { etag: item.was };
  const completed = await run.store.completeUpload(key, upload.uploadId, parts, onlyIf);
  if (completed.ok) return prove(message, run, upload, completed.value, parts, whole.value);
  const { code } = completed.failure;
  if (code !== "upload-lost" && isTransient(code)) return postpone(message, run, completed.failure);
  const after = await run.store.head(key);
  if (after.ok && isOurs(run, item, after.value)) return prove(message, run, upload, after.value, parts, whole.value);
  return giveUp(
    message,
    run,
    code === "precondition-failed" ? failure("destination-changed") : completed.failure,
    item,
  );
}

/**
 * Whether parts should have come out at the source's ETag, and have not: it was put together from as many. Either it was
 * cut otherwise, or bytes came wrong. Only another reading tells: two that agree are believed.
 */
const isDoubtful = ({ item, plan, readAs }: Upload, read: string): boolean =>
  partCount(item.etag) === plan.parts && read !== item.etag && read !== readAs && readAs !== NO_DOUBT;

const misread = ({ etag }: CopyItem): Failure =>
  failure("checksum-mismatch", `The parts as they were read do not make up the source's ETag, ${etag}.`);

/**
 * A reader's miss had the object copied meanwhile. Ours is then not needed; where theirs is of another state of the
 * object, the source is asked which it has now, and theirs may be written over.
 */
async function yieldTo(
  there: ObjectInfo,
  message: FinishMessage,
  run: Run,
  upload: Upload,
  parts: readonly DonePart[],
  whole: "crc64nvme" | null,
): Promise<Settlement> {
  const { item, uploadId } = upload;
  if (!isUpToDate(item, there)) {
    return giveUp(message, run, failure("source-changed"), { ...item, was: there.etag });
  }
  const aborted = await run.store.abortUpload(storeKeyOf(run, item.key), uploadId);
  if (!aborted.ok && isTransient(aborted.failure.code)) return postpone(message, run, aborted.failure);
  // Ours, read from the same source object, prove theirs where both were cut alike.
  const proof = await proofOf(item, there, parts, whole);
  const crc64nvme = proof === null ? null : wholeCrc64(upload, parts);
  const finished = finishedAs(run, item, there, proof ?? foundProof(item, there), crc64nvme);
  await run.migration.settleUpload(message, finished, run.tally);
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
  upload: Upload,
  stored: ObjectInfo,
  parts: readonly DonePart[],
  whole: "crc64nvme" | null,
): Promise<Settlement> {
  const { item } = upload;
  const proof = await proofOf(item, stored, parts, whole);
  if (proof !== null) {
    const finished = finishedAs(run, item, stored, proof, wholeCrc64(upload, parts));
    await run.migration.settleUpload(message, finished, run.tally);
    return ACK;
  }
  // R2 holds other bytes than were read. They are taken away while they are still the ones we wrote.
  const key = storeKeyOf(run, item.key);
  const now = await run.store.head(key);
  if (now.ok && now.value.etag === stored.etag) await run.store.delete(key);
  const problem = failure("checksum-mismatch", "R2's multipart ETag is not the one computed from the parts as read.");
  return giveUp(message, run, problem, { ...item, was: null });
}

/**
 * What parts, as they were read, say of an object that they were or might have been put together to; null: it is another.
 * `whole`: what the source's own checksum of the whole object said of them.
 */
export async function proofOf(
  item: CopyItem,
  stored: ObjectInfo,
  parts: readonly { md5: string }[],
  whole: "crc64nvme" | null,
): Promise<Proof | null> {
  if (stored.size !== item.size) return null;
  // The way back may lead into a bucket that is encrypted so; R2's ETags speak.
  if (stored.encrypted === true) return whole ?? "size";
  if ((await multipartEtag(parts)) !== stored.etag) return null;
  return stored.etag === item.etag ? "etag" : (whole ?? "parts");
}

/**
 * Of a run back the manifest has nothing to learn: it speaks of R2.
 *
 * @param crc64nvme of the parts, which are proved to be the object, where it was computed
 */
const finishedAs = (
  run: Run,
  item: CopyItem,
  stored: ObjectInfo,
  proof: Proof,
  crc64nvme: string | null,
): FinishedUpload => ({
  proof,
  etag: stored.etag,
  row: run.spec.direction === "in" ? rowOf(run, item.key, stored, proof, { crc64nvme }) : null,
});

/** R2 keeps an abandoned upload, and bills it, for seven days. */
export async function abortUpload(message: AbortMessage, run: Run): Promise<Settlement> {
  const aborted = await run.store.abortUpload(storeKeyOf(run, message.key), message.uploadId);
  if (!aborted.ok && isTransient(aborted.failure.code)) return settlementOf(aborted.failure);
  await run.migration.settleMessage(message.seq);
  return ACK;
}

/** Starts the object again where that may help, with the item as the source lists it now, and what its parts were read as. */
async function giveUp(
  message: UploadMessage | PartMessage | FinishMessage,
  run: Run,
  problem: Failure,
  item: CopyItem,
  readAs: string | null = null,
): Promise<Settlement> {
  let restart: Restart | null = null;
  if (mayPass(problem.code)) {
    const again = await listAgain(run, item);
    if (again.ok) restart = { item: again.value, readAs };
    else if (mayPass(again.failure.code)) restart = { item, readAs };
  }
  await run.migration.giveUpUpload(message, problem, restart, run.tally);
  return ACK;
}
