import { type Failure, failure } from "../failure.ts";
import { KEY_MAX_BYTES, OBJECT_MAX_BYTES } from "../limits.ts";
import type { CopyItem } from "./message.ts";
import { goesInParts } from "./parts.ts";

/** An object as a listing shows it; keys relative to the prefix on either side. */
export interface Listed {
  key: string;
  size: number;
  etag: string;
  lastModified: number;
  storageClass?: string;
}

/** What the manifest remembers of a key: R2's ETag and the source's, as they were at the last copy. */
export interface Remembered {
  etag: string;
  sourceEtag: string | null;
}

export interface JoinPlan {
  /** Copied with one GET and one put each. */
  small: CopyItem[];
  /** Copied in parts. */
  large: CopyItem[];
  /** Already there and unchanged. `known` is false where the manifest has no row of it yet. */
  same: { item: Listed; known: boolean }[];
  failures: { key: string; failure: Failure }[];
}

/** What R2 calls this key: it normalises to Unicode NFC, so two source keys may be one. */
export const storeKey = (key: string): string => (ASCII.test(key) ? key : key.normalize("NFC"));
const ASCII = /^[\0-\x7f]*$/;

/**
 * Decides, for one page of the source, what must be copied.
 *
 * An object is the same when R2's ETag is the source's (then the bytes are proved equal), or when the manifest says
 * that R2's present ETag was copied from the source's present one. Anything else is copied over it.
 *
 * @param source one listing page, ascending
 * @param destination what R2 has at those keys, by NFC key
 * @param remembered manifest rows of those keys, by NFC key
 */
export function joinPage(
  source: readonly Listed[],
  destination: ReadonlyMap<string, { etag: string; size: number }>,
  remembered: ReadonlyMap<string, Remembered>,
  options: { multipartThresholdBytes: number; prefixBytes: number },
): JoinPlan {
  const plan: JoinPlan = { small: [], large: [], same: [], failures: [] };
  const owners = new Map<string, number>();
  for (const { key } of source) owners.set(storeKey(key), (owners.get(storeKey(key)) ?? 0) + 1);
  for (const object of source) {
    const key = storeKey(object.key);
    if ((owners.get(key) ?? 0) > 1) {
      plan.failures.push({ key: object.key, failure: failure("key-conflict") });
      continue;
    }
    const there = destination.get(key);
    const row = remembered.get(key);
    if (there !== undefined && isSame(object, there, row)) {
      plan.same.push({ item: object, known: row?.etag === there.etag });
      continue;
    }
    // After that: what is there already may since have been archived at the source.
    const refused = refuse(object, key, options.prefixBytes);
    if (refused !== null) {
      plan.failures.push({ key: object.key, failure: refused });
      continue;
    }
    const { etag, size, lastModified } = object;
    const item: CopyItem = { key: object.key, size, etag, lastModified, was: there?.etag ?? null };
    (goesInParts(item, options.multipartThresholdBytes) ? plan.large : plan.small).push(item);
  }
  return plan;
}

function isSame(object: Listed, there: { etag: string; size: number }, row: Remembered | undefined): boolean {
  if (there.size !== object.size) return false;
  return there.etag === object.etag || (row?.etag === there.etag && row.sourceEtag === object.etag);
}

function refuse(object: Listed, key: string, prefixBytes: number): Failure | null {
  if (key === "") return failure("invalid-key", "Its key is the source's prefix itself: it has no key in the dataset.");
  const bytes = new TextEncoder().encode(key).length + prefixBytes;
  if (bytes > KEY_MAX_BYTES) {
    return failure("key-too-long", `With the dataset's prefix the key has ${bytes} bytes; R2 takes ${KEY_MAX_BYTES}.`);
  }
  if (object.size > OBJECT_MAX_BYTES) return failure("object-too-large");
  if (object.storageClass !== undefined && ARCHIVED.has(object.storageClass)) {
    return failure("source-archived", `Its storage class is ${object.storageClass}; restore it at the source first.`);
  }
  return null;
}

/** GLACIER_IR and INTELLIGENT_TIERING's frequent tiers are readable at once (Amazon S3 User Guide, storage classes). */
const ARCHIVED = new Set(["GLACIER", "DEEP_ARCHIVE"]);
