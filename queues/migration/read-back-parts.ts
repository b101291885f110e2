import { type Failure } from "../../workers/core/failure.ts";
import { mayPass } from "../../workers/core/migration/backoff.ts";
import type { CopyItem, FinishMessage, PartMessage, UploadMessage } from "../../workers/core/migration/message.ts";
import { partCount, partRange } from "../../workers/core/migration/parts.ts";
import { planReading, proofByEtag, type ReadBytes } from "../../workers/core/migration/read-back.ts";
import type { Proof } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement } from "../settle.ts";
import {
  askSource,
  changedAtSource,
  isChanged,
  judge,
  learned,
  lookAgain,
  readRange,
  type Recall,
  recallOnce,
} from "./read-back.ts";
import { type Run, sourceKeyOf } from "./run.ts";
import type { PartWork } from "./upload.ts";
import { multipartEtag, wholeCrc64 } from "./whole-checksum.ts";

/*
 * A large object is read back as it would be uploaded: its parts are claimed, done, settled and resumed by the same machinery.
 * Only nothing is written: its upload has no id, and its parts no ETag of R2's.
 */

/** Fixes how one object is cut. */
export async function openReadBack(message: UploadMessage, run: Run): Promise<Settlement> {
  const { item } = message;
  const firstPart = partCount(item.etag) === null ? ok(null) : await run.source.firstPart(sourceKeyOf(run, item.key));
  if (!firstPart.ok) return giveUp(message, run, changedAtSource(firstPart.failure), item);
  const plan = planReading(item, firstPart.value, run.spec.partBytes);
  await run.migration.openUpload(message, { item, uploadId: "", plan }, run.tally);
  return ACK;
}

/** Reads one part and hashes it. */
const hashPart: PartWork["send"] = async ({ item, plan }, partNumber, run) => {
  const { start, end } = partRange(plan, item.size, partNumber);
  const range = item.size === 0 ? null : { kind: "bounded" as const, start, end };
  const read = await readRange(item, run, range, { crc64: true });
  return read.ok ? ok({ etag: "", md5: read.value.md5, crc64: read.value.crc64 }) : read;
};

/** Puts together what was read, and says what it is. */
export async function finishReadBack(message: FinishMessage, run: Run): Promise<Settlement> {
  const finishing = await run.migration.uploadToFinish(message);
  if (finishing === null) return ACK;
  const { upload, parts } = finishing;
  const { item, plan } = upload;
  const read: ReadBytes = {
    md5: parts.length === 1 ? (parts[0]?.md5 ?? null) : null,
    sha256: null,
    crc64: wholeCrc64(upload, parts),
    cuts: new Map([[plan.partBytes, await multipartEtag(parts)]]),
  };
  const recall = recallOnce(run, [item.key]);
  const proof = await verdictOf(item, read, run, recall);
  if (proof.ok) {
    const row = await learned(item, read, run, recall);
    await run.migration.settleUpload(message, { proof: proof.value, etag: item.was ?? "", row }, run.tally);
    return ACK;
  }
  const { code } = proof.failure;
  if (isChanged(proof.failure) || !mayPass(code)) return giveUp(message, run, proof.failure, item);
  // Its parts are all there.
  await run.migration.postpone(message, proof.failure, run.tally);
  return ACK;
}

async function verdictOf(item: CopyItem, read: ReadBytes, run: Run, recall: Recall): Promise<Result<Proof>> {
  const proof = proofByEtag(item, read);
  if (proof !== null) return ok(proof);
  const told = await askSource(item, run);
  return told.ok ? judge(item, read, told.value, recall) : fail(told.failure);
}

/** Starts the object again where it changed on either side, as it is now, or where the trouble may pass; else it is judged. */
async function giveUp(
  message: UploadMessage | PartMessage | FinishMessage,
  run: Run,
  problem: Failure,
  item: CopyItem,
): Promise<Settlement> {
  let verdict = problem;
  let restart = mayPass(problem.code) ? { item } : null;
  if (isChanged(problem)) {
    const now = await lookAgain(item, run);
    if (now.ok) restart = { item: now.value };
    else if (mayPass(now.failure.code)) restart = { item };
    else [verdict, restart] = [now.failure, null];
  }
  await run.migration.giveUpUpload(message, verdict, restart, run.tally);
  return ACK;
}

/** Hashing instead of sending. */
export const READ_BACK_PARTS: PartWork = { send: hashPart, giveUp };
