import { type Failure, failure } from "../failure.ts";
import { foundBy, md5OfEtag, type Proof, type Row, UNKNOWN_ORIGIN } from "../manifest/row.ts";
import type { Remembered } from "./join.ts";
import type { CopyItem } from "./message.ts";
import { type PartPlan, partCount, planParts, usualPartSizes } from "./parts.ts";

/** What one consumer reads in one go, with time to spare: ten minutes at 20 MB/s. */
const WHOLE_MAX_BYTES = 12_000_000_000;

/** What the source tells of an object beyond its listing. */
export interface ToldObject {
  /** Hex MD5 of the whole where the source's ETag is one. */
  md5: string | null;
  /** Of the whole: SHA-256 in hex, CRC-64/NVME in base64. */
  sha256: string | null;
  crc64: string | null;
  /** The length in bytes of its first part, and how many there are. */
  firstPart: { bytes: number; parts: number } | null;
}

/** What the bytes that R2 has came to. */
export interface ReadBytes {
  /** Of the whole, as the next two; null where it was not computed. */
  md5: string | null;
  sha256: string | null;
  crc64: string | null;
  /** By part size in bytes: the multipart ETag of the bytes cut so. */
  cuts: ReadonlyMap<number, string>;
}

/**
 * Whether an object is read back part by part, by several consumers and resumed at a part: a large one whose cut at the source is
 * no question of choice. One that has an MD5 must be read in one go; and one that several usual part sizes may have
 * cut (they are few parts then) is hashed by all of them in one go.
 */
export function isReadInParts({ size, etag }: { size: number; etag: string }, thresholdBytes: number): boolean {
  if (size > WHOLE_MAX_BYTES) return true;
  const count = partCount(etag);
  return size > thresholdBytes && count !== null && count > 1 && usualPartSizes(size, count).length <= 1;
}

/** How an object is cut where it is read in parts: as the source cut it, as far as can be told; else as R2 has it. */
export function planReading(item: CopyItem, firstPart: ToldObject["firstPart"], defaultPartBytes: number): PartPlan {
  const partBytes = cutsOf(item, firstPart, defaultPartBytes)[0];
  if (partBytes === undefined) return planParts(item.size, { etag: item.etag, firstPart: null }, defaultPartBytes);
  return { partBytes, parts: Math.max(1, Math.ceil(item.size / partBytes)) };
}

/**
 * Part sizes in bytes by which one of the two ETags may come out: the source's, as it told or as tools usually cut, then
 * R2's, as we would have cut it or as tools do.
 */
export function cutsOf(item: CopyItem, firstPart: ToldObject["firstPart"], defaultPartBytes: number): number[] {
  const { size, etag, was } = item;
  const count = partCount(etag);
  const told = toldCut(item, firstPart);
  const source = told !== null ? [told] : count === null ? [] : usualPartSizes(size, count);
  const own = was === null || was === etag ? null : partCount(was);
  if (own === null) return source;
  const ours = planParts(size, { etag, firstPart: null }, defaultPartBytes);
  return [...new Set([...source, ...(ours.parts === own ? [ours.partBytes] : []), ...usualPartSizes(size, own)])];
}

/** The size of the source's equal parts; null where it does not tell, or they are not equal. */
function toldCut({ size, etag }: CopyItem, firstPart: ToldObject["firstPart"]): number | null {
  if (firstPart === null || firstPart.parts !== partCount(etag) || firstPart.bytes === 0) return null;
  return Math.ceil(size / firstPart.bytes) === firstPart.parts ? firstPart.bytes : null;
}

/** The proof, where the source's ETag comes out of the bytes: there is nothing to ask. */
export function proofByEtag({ etag }: CopyItem, { md5, cuts }: ReadBytes): Proof | null {
  if (md5 === etag) return "md5";
  return [...cuts.values()].includes(etag) ? "etag" : null;
}

/**
 * What the source's own word says of the bytes; null: nothing.
 *
 * A multipart ETag that does not come out says that they are different only where the cut is certain: the source told the size of
 * its first part, and there is at most one more. With more, those between may have any sizes.
 */
export function judgeByTold(item: CopyItem, read: ReadBytes, told: ToldObject): Proof | Failure | null {
  const proof = proofByEtag(item, read);
  if (proof !== null) return proof;
  if (told.sha256 !== null && read.sha256 !== null) {
    return told.sha256 === read.sha256 ? "sha256" : differ("SHA-256", read.sha256, told.sha256);
  }
  if (told.crc64 !== null && read.crc64 !== null) {
    return told.crc64 === read.crc64 ? "crc64nvme" : differ("CRC-64/NVME", read.crc64, told.crc64);
  }
  if (told.md5 !== null && read.md5 !== null) return differ("MD5", read.md5, told.md5);
  const cut = toldCut(item, told.firstPart);
  const etag = cut === null ? undefined : read.cuts.get(cut);
  return etag !== undefined && (told.firstPart?.parts ?? 0) <= 2 ? differ("multipart ETag", etag, item.etag) : null;
}

/**
 * What is left where the source's word says nothing: R2's own ETag comes out of the bytes, so they are what was put there; and the
 * manifest knows that it was copied from this source object, and how that was proved.
 */
export function judgeByManifest(
  { etag, was }: CopyItem,
  read: ReadBytes,
  row: (Pick<Remembered, "etag" | "sourceEtag"> & { proof: Proof | null }) | undefined,
): Proof | Failure {
  // R2's ETag of what was put whole is its MD5.
  if (was !== null && read.md5 !== null && partCount(was) === null && read.md5 !== was) {
    return failure(
      "copy-different",
      `What R2 has is not what was put there: the bytes have MD5 ${read.md5}, and ETag ${was}.`,
    );
  }
  const isIntact = read.md5 === was || [...read.cuts.values()].some((cut) => cut === was);
  const isKnown = row !== undefined && row.etag === was && row.sourceEtag === etag;
  if (!isKnown)
    return unproved(
      "The source tells no hash that the bytes can be compared with, and the manifest does not know the copy.",
    );
  if (!isIntact)
    return unproved("Neither the source's ETag nor R2's own comes out of the bytes by any usual part size.");
  if (row.proof === null || row.proof === "size")
    return unproved("It was copied with nothing but its size to compare, and the source tells no hash.");
  return row.proof;
}

/**
 * What the manifest may learn of an object that was read back at the ETag `was`: hashes that are not its ETag. Null where there are
 * none. It says nothing of proof and origin, so that a row keeps its own.
 *
 * @param key in NFC
 * @param migration that read it
 */
export function learnedRow(
  key: string,
  { size, was }: Pick<CopyItem, "size" | "was">,
  { md5, sha256, crc64 }: Pick<ReadBytes, "md5" | "sha256" | "crc64">,
  migration: string,
): Row | null {
  if (was === null || (sha256 === null && crc64 === null && (md5 === null || md5 === was))) return null;
  return {
    key,
    size,
    etag: was,
    uploadedAt: 0,
    contentType: null,
    contentEncoding: null,
    md5: md5 ?? md5OfEtag(was),
    sha256,
    crc64nvme: crc64,
    ...UNKNOWN_ORIGIN,
    writer: foundBy(migration),
  };
}

const differ = (what: string, r2: string, source: string): Failure =>
  failure("copy-different", `The ${what} of what R2 has is ${r2}, the source's ${source}.`);

const unproved = (detail: string): Failure => failure("copy-unproved", detail);
