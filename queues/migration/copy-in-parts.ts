import type { DonePart } from "../../durable-objects/migration/uploads.ts";
import { failure, type Failure } from "../../workers/core/failure.ts";
import { CONSUMER_MAX_SECONDS } from "../../workers/core/limits.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { Checksums, ObjectInfo } from "../../workers/ports/object-store.ts";
import { type Copying, isOurs, isUpToDate, rowOf, sourceFailure, sourceKeyOf, storeKeyOf } from "./run.ts";
import { createUpload, type OpenedUpload, proofOf, sendPart } from "./upload.ts";
import { compareWhole, wholeCrc64 } from "./whole-checksum.ts";

/** What one consumer can copy with time to spare: ten minutes at 20 MB/s. */
const INVOCATION_MAX_BYTES = 12_000_000_000;
/** Of the six connections that may wait for headers at once; a part that is on its way waits for R2's. */
const PARTS_AT_ONCE = 4;
/** Parts that are not begun by then are not begun: the last ones have the rest of the consumer's life. */
const PARTS_SECONDS = (CONSUMER_MAX_SECONDS * 2) / 3;

/**
 * Copies one object in parts within one invocation, to a key where nothing was. Nothing is recorded on the way, so an
 * upload that does not become the object is aborted, whatever stopped it; only a consumer that is killed, or an R2 that
 * fails at that too, leaves one, which R2 drops after seven days. Null: it is too much for one invocation, or somebody else has put an object
 * there meanwhile, which stays.
 */
export async function copyInParts(item: CopyItem, run: Copying): Promise<Result<Row | null>> {
  if (item.size > INVOCATION_MAX_BYTES) return leave(item, run);
  const head = await run.source.head(sourceKeyOf(run, item.key), { checksums: run.spec.checksums });
  if (!head.ok) return fail(sourceFailure(head.failure));
  if (head.value.etag !== item.etag || head.value.size !== item.size) return fail(failure("source-changed"));
  const upload = await createUpload(item, head.value, run);
  if (!upload.ok) return upload;
  let isCopied = false;
  try {
    const parts = await sendParts(upload.value, run);
    if (!parts.ok) return parts;
    if (parts.value === null) return leave(item, run);
    const copied = await complete(upload.value, parts.value, head.value.checksums, run);
    isCopied = copied.ok && copied.value !== null;
    return copied;
  } finally {
    if (!isCopied) await run.store.abortUpload(storeKeyOf(run, item.key), upload.value.uploadId);
  }
}

/** A migration has as many invocations as it takes. */
function leave({ key, size }: CopyItem, { spec: { dataset } }: Copying): Result<null> {
  console.warn(JSON.stringify({ message: "copy on read left to the next migration", dataset, key, size }));
  return ok(null);
}

/** Sends all parts; the first failure stops all senders. Null: time was up before the last part. */
async function sendParts(upload: OpenedUpload, run: Copying): Promise<Result<DonePart[] | null>> {
  const { parts } = upload.plan;
  const endsAt = Date.now() + PARTS_SECONDS * 1000;
  const sent: DonePart[] = [];
  const stop: { problem: Failure | null } = { problem: null };
  let next = 1;
  const sender = async () => {
    while (next <= parts && stop.problem === null && Date.now() < endsAt) {
      const partNumber = next++;
      const part = await sendPart(upload, partNumber, run);
      if (part.ok) sent.push({ partNumber, crc64: null, ...part.value });
      else stop.problem = part.failure;
    }
  };
  await Promise.all(Array.from({ length: PARTS_AT_ONCE }, sender));
  if (stop.problem !== null) return fail(stop.problem);
  return ok(sent.length < parts ? null : sent.sort((a, b) => a.partNumber - b.partNumber));
}

/** `complete` takes no condition, so the destination is looked at just before; the moment between the two remains. */
async function complete(
  upload: OpenedUpload,
  parts: DonePart[],
  told: Checksums | undefined,
  run: Copying,
): Promise<Result<Row | null>> {
  const { item, uploadId } = upload;
  // Parts that are other bytes than the source's never become the object.
  const whole = compareWhole(upload, parts, told);
  if (!whole.ok) return whole;
  const key = storeKeyOf(run, item.key);
  const before = await run.store.head(key);
  if (before.ok) return ok(null);
  if (before.failure.code !== "object-not-found") return before;
  const completed = await run.store.completeUpload(key, uploadId, parts);
  const stored = completed.ok ? completed : await completedAfterAll(item, completed.failure, run);
  if (!stored.ok) return stored;
  const proof = await proofOf(item, stored.value, parts, whole.value);
  if (proof !== null) {
    return ok(rowOf(run, item.key, stored.value, proof, { crc64nvme: wholeCrc64(upload, parts) }));
  }
  // R2 holds other bytes than were read. They are taken away while they are still the ones we wrote.
  const now = await run.store.head(key);
  if (now.ok && now.value.etag === stored.value.etag) await run.store.delete(key);
  return fail(failure("checksum-mismatch", "R2's multipart ETag is not the one computed from the parts as read."));
}

/** R2 may have completed the upload, and its answer was lost. */
async function completedAfterAll(item: CopyItem, problem: Failure, run: Copying): Promise<Result<ObjectInfo>> {
  const after = await run.store.head(storeKeyOf(run, item.key));
  return after.ok && isOurs(run, item, after.value) && isUpToDate(item, after.value) ? after : fail(problem);
}
