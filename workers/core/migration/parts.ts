import { PART_MIN_BYTES, PARTS_MAX, PUT_MAX_BYTES } from "../limits.ts";

const MiB = 1024 * 1024;
/** Part sizes that S3 tools use by default: aws cli 8, rclone 5, s3cmd 15, boto3 8, Hadoop 64 and 128, and so on. */
const USUAL_PART_BYTES = [5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024].map((n) => n * MiB);

export interface PartPlan {
  /** Bytes of every part but the last. */
  partBytes: number;
  parts: number;
}

/** A multipart ETag is the MD5 of the parts' MD5s, and "-N" for N parts. Null for any other ETag. */
export function partCount(etag: string): number | null {
  const match = /^[0-9a-f]{32}-([1-9]\d{0,4})$/.exec(etag);
  return match === null ? null : Number(match[1]);
}

/** Whether an object is copied in parts: a large one is, and one whose multipart ETag only parts can reproduce, and so prove. */
export const goesInParts = (object: { etag: string; size: number }, thresholdBytes: number): boolean =>
  object.size > thresholdBytes || (partCount(object.etag) !== null && object.size > 0);

/**
 * How an object is cut into parts, fixed once for one upload.
 *
 * With the source's own part size, R2's multipart ETag comes out equal to the source's, and that proves the copy. So,
 * in this order: what the source says of its first part; else the usual part size that gives as many parts as the
 * source's ETag has (`ceil(size/N) <= s <= floor((size-1)/(N-1))`); else `defaultPartBytes`, grown until the parts
 * are few enough.
 */
export function planParts(
  size: number,
  source: { etag: string; firstPart: { bytes: number; parts: number } | null },
  defaultPartBytes: number,
): PartPlan {
  const count = partCount(source.etag);
  const told = source.firstPart;
  if (told !== null && isPossible(told.bytes, size) && Math.ceil(size / told.bytes) === told.parts) {
    return { partBytes: told.bytes, parts: told.parts };
  }
  const guess = count === null ? null : usualPartBytes(size, count);
  const smallest = Math.ceil(size / PARTS_MAX / MiB) * MiB;
  const partBytes = guess ?? Math.max(defaultPartBytes, smallest, PART_MIN_BYTES);
  return { partBytes, parts: Math.max(1, Math.ceil(size / partBytes)) };
}

/** How many parts an object will be copied in, as far as its listing tells. */
export const expectedParts = (object: { etag: string; size: number }, defaultPartBytes: number): number =>
  planParts(object.size, { etag: object.etag, firstPart: null }, defaultPartBytes).parts;

/** The byte range of a part, numbered from 1. */
export function partRange(plan: PartPlan, size: number, partNumber: number): { start: number; end: number } {
  const start = (partNumber - 1) * plan.partBytes;
  return { start, end: Math.min(start + plan.partBytes, size) - 1 };
}

/** A part size in bytes that S3 tools use and that cuts `size` bytes into `count` parts; null where none does. */
export const usualPartBytes = (size: number, count: number): number | null => usualPartSizes(size, count)[0] ?? null;

/** All of them, ascending: of few parts there may be several. */
export function usualPartSizes(size: number, count: number): number[] {
  if (count === 1) return size <= PUT_MAX_BYTES ? [Math.max(size, PART_MIN_BYTES)] : [];
  return USUAL_PART_BYTES.filter((bytes) => isPossible(bytes, size) && Math.ceil(size / bytes) === count);
}

function isPossible(partBytes: number, size: number): boolean {
  const parts = Math.ceil(size / partBytes);
  return partBytes <= PUT_MAX_BYTES && parts <= PARTS_MAX && (parts === 1 || partBytes >= PART_MIN_BYTES);
}
