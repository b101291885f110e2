import type { RememberedRow } from "../../durable-objects/dataset/dataset.ts";
import { type BodyDigests, digestBody, type WantedDigests } from "../../workers/adapters/body-digests.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { ByteRange } from "../../workers/core/http/range.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import type { CopyItem, ReadMessage } from "../../workers/core/migration/message.ts";
import { partCount } from "../../workers/core/migration/parts.ts";
import {
  cutsOf,
  judgeByManifest,
  judgeByTold,
  learnedRow,
  proofByEtag,
  type ReadBytes,
  type ToldObject,
} from "../../workers/core/migration/read-back.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { Settlement } from "../settle.ts";
import { settleItems } from "./batch.ts";
import { type Copying, listAgain, type Run, sourceFailure, sourceKeyOf, storeKeyOf } from "./run.ts";
import { multipartEtag } from "./whole-checksum.ts";

/** Rows of the manifest that a verification may ask for. */
export type Recall = (key: string) => Promise<Result<RememberedRow | undefined>>;

/** Reads the objects of one message back, each in one go, and settles it once, with what became of every one. Nothing is written. */
export function readBack(message: ReadMessage, run: Run): Promise<Settlement> {
  const recall = recallOnce(
    run,
    message.items.map(({ key }) => key),
  );
  return settleItems(message, run, "verified", async (listed) => {
    let item = listed;
    for (let attempt = 1; ; attempt++) {
      const verified = await verifyWhole(item, run, recall);
      if (verified.ok) return ok({ size: item.size, etag: item.was ?? "", ...verified.value });
      if (!isChanged(verified.failure) || attempt === 3) return verified;
      const now = await lookAgain(item, run);
      if (!now.ok) return now;
      item = now.value;
    }
  });
}

/** Reads one object whole and compares it. Where the two ETags are equal they are expected to tell, and nobody is asked. */
async function verifyWhole(item: CopyItem, run: Run, recall: Recall): Promise<Result<Verified>> {
  const { partBytes } = run.spec;
  if (item.was === item.etag) {
    const read = await readWhole(item, run, { cuts: cutsOf(item, null, partBytes) });
    if (!read.ok) return read;
    const proof = proofByEtag(item, read.value);
    if (proof !== null) return ok({ proof, row: await learned(item, read.value, run, recall) });
  }
  const told = await askSource(item, run);
  if (!told.ok) return told;
  const { sha256, crc64, firstPart } = told.value;
  const read = await readWhole(item, run, {
    sha256: sha256 !== null,
    crc64: sha256 === null && crc64 !== null,
    cuts: cutsOf(item, firstPart, partBytes),
  });
  if (!read.ok) return read;
  const proof = await judge(item, read.value, told.value, recall);
  return proof.ok ? ok({ proof: proof.value, row: await learned(item, read.value, run, recall) }) : proof;
}

/** What an object was found to be; the row says what the manifest may learn by it. */
interface Verified {
  proof: Proof;
  row: Row | null;
}

/** What the manifest may learn from an object that was read, if it knows it as that; it is no matter where it cannot be asked. */
export async function learned(item: CopyItem, read: ReadBytes, run: Run, recall: Recall): Promise<Row | null> {
  const row = learnedRow(storeKey(item.key), item, read, run.spec.id);
  if (row === null) return null;
  const known = await recall(item.key);
  return known.ok && known.value?.etag === row.etag ? row : null;
}

async function readWhole(item: CopyItem, run: Run, wanted: WantedDigests): Promise<Result<ReadBytes>> {
  const read = await readRange(item, run, null, wanted);
  if (!read.ok) return read;
  const cuts = await Promise.all(
    [...read.value.cuts].map(
      async ([bytes, md5s]) => [bytes, await multipartEtag(md5s.map((md5) => ({ md5 })))] as const,
    ),
  );
  return ok({ ...read.value, cuts: new Map(cuts) });
}

/** Reads a range of what R2 has, or (null) all of it, at the ETag that was listed, and hashes it. */
export async function readRange(
  item: CopyItem,
  run: Copying,
  range: (ByteRange & { kind: "bounded" }) | null,
  wanted: WantedDigests,
): Promise<Result<BodyDigests>> {
  const { key, size, was } = item;
  const got = await run.store.get(storeKeyOf(run, key), {
    ...(was === null ? {} : { ifMatch: was }),
    ...(range === null ? {} : { range }),
  });
  if (!got.ok) return fail(CHANGED_THERE.has(got.failure.code) ? failure("destination-changed") : got.failure);
  const { body, length, etag } = got.value;
  if (etag !== was || got.value.size !== size || length !== (range === null ? size : range.end - range.start + 1)) {
    await body.cancel();
    return fail(failure("destination-changed"));
  }
  return digestBody(body, length, wanted);
}

const CHANGED_THERE: ReadonlySet<string> = new Set([
  "object-not-found",
  "precondition-failed",
  "range-not-satisfiable",
]);

/** What the source says of an object beside its listing; `source-changed` where it answers with another one. */
export async function askSource(item: CopyItem, run: Run): Promise<Result<ToldObject>> {
  const key = sourceKeyOf(run, item.key);
  const head = await run.source.head(key, { checksums: true });
  if (!head.ok) return fail(changedAtSource(head.failure));
  const { etag, size, md5, checksums } = head.value;
  if (etag !== item.etag || size !== item.size) return fail(failure("source-changed"));
  const firstPart = partCount(etag) === null ? ok(null) : await run.source.firstPart(key);
  if (!firstPart.ok) return fail(changedAtSource(firstPart.failure));
  const { sha256 = null, crc64nvme: crc64 = null } = checksums ?? {};
  return ok({ md5, sha256, crc64, firstPart: firstPart.value });
}

/** A 404 to a HEAD may be a proxy's: whether the object is gone is said by the listing. */
export function changedAtSource(failed: Failure): Failure {
  const known = sourceFailure(failed);
  return known.code === "source-object-missing" ? failure("source-changed", "The source did not find it.") : known;
}

/** What the bytes and all that is known of them come to. */
export async function judge(item: CopyItem, read: ReadBytes, told: ToldObject, recall: Recall): Promise<Result<Proof>> {
  let verdict = judgeByTold(item, read, told);
  if (verdict === null) {
    const row = await recall(item.key);
    if (!row.ok) return row;
    verdict = judgeByManifest(item, read, row.value);
  }
  return typeof verdict === "string" ? ok(verdict) : fail(verdict);
}

/** The manifest's rows of these keys, asked for when the first of them is wanted. */
export function recallOnce(run: Run, keys: readonly string[]): Recall {
  let asked: Promise<Result<Map<string, RememberedRow>>> | null = null;
  const ask = async (): Promise<Result<Map<string, RememberedRow>>> => {
    try {
      const { rows } = await run.dataset.recall(keys.map(storeKey));
      return ok(new Map(rows.map((row) => [row.key, row])));
    } catch (error) {
      return fail(failure("internal", `The manifest could not be asked: ${String(error)}`));
    }
  };
  return async (key) => {
    const rows = await (asked ??= ask());
    return rows.ok ? ok(rows.value.get(storeKey(key))) : rows;
  };
}

/** Whether the object changed on either side since it was listed. */
export const isChanged = ({ code }: Failure): boolean => code === "destination-changed" || code === "source-changed";

/** The object as both sides have it now, to be read once more; a verdict where that needs no reading. */
export async function lookAgain(item: CopyItem, run: Run): Promise<Result<CopyItem>> {
  const listed = await listAgain(run, item);
  if (!listed.ok) return listed;
  const there = await run.store.head(storeKeyOf(run, item.key));
  if (!there.ok) return there.failure.code === "object-not-found" ? fail(failure("copy-missing")) : there;
  const { size, etag } = there.value;
  return size === listed.value.size
    ? ok({ ...listed.value, was: etag })
    : fail(failure("copy-different", `R2 has ${size} bytes, the source ${listed.value.size}.`));
}
