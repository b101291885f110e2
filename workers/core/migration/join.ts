import { type Failure, failure } from "../failure.ts";
import { KEY_MAX_BYTES, OBJECT_MAX_BYTES } from "../limits.ts";
import type { CopyItem } from "./message.ts";
import { goesInParts } from "./parts.ts";

/** An object as a listing shows it; keys relative to the prefix on either side. */
export interface Listed {
  key: string;
  size: number;
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  storageClass?: string;
}

/** What the manifest remembers of a key: R2's ETag and the source's, as they were at the last copy. */
export interface Remembered {
  etag: string;
  sourceEtag: string | null;
  /** Milliseconds since 1970. */
  sourceModifiedAt: number | null;
  /** The migration or job that wrote it, `through:<dataset id>`, or `found:<who>`, as in the manifest's row. */
  writer: string;
}

/**
 * What happens to an object that the destination has, and has differently: `if-different` copies it, `never` keeps
 * what is there, `if-newer` copies what was modified at the source since. `always` copies equal ones, too.
 */
export const OVERWRITES = ["if-different", "never", "always", "if-newer"] as const;
export type Overwrite = (typeof OVERWRITES)[number];

/**
 * Why the destination keeps what it has, or has not: by the policy (`never`, `not-newer`), because the key was deleted
 * in R2 on purpose (`deleted`), or, on the way back, because the object came from the source (`is-source's`).
 */
export type WhyKept = "never" | "not-newer" | "deleted" | "is-source's";

export interface JoinPlan {
  /** Copied with one GET and one put each. */
  small: CopyItem[];
  /** Copied in parts. */
  large: CopyItem[];
  /** Already there and unchanged. `known` is false where the manifest has no row of it yet. */
  same: { item: Listed; known: boolean }[];
  kept: { item: Listed; why: WhyKept }[];
  failures: { key: string; failure: Failure }[];
}

export interface JoinOptions {
  multipartThresholdBytes: number;
  /** Bytes of the destination's prefix, which its keys have in front. */
  prefixBytes: number;
  overwrite: Overwrite;
  /** When keys were deleted in R2 on purpose, by NFC key: milliseconds since 1970. */
  buriedAt: ReadonlyMap<string, number>;
  /** From R2 back to the source: what only R2 has, and no migration put there. The policy has no say in it. */
  onlyNew?: boolean;
}

/** What R2 calls this key: it normalises to Unicode NFC, so two source keys may be one. */
export const storeKey = (key: string): string => (ASCII.test(key) ? key : key.normalize("NFC"));
const ASCII = /^[\0-\x7f]*$/;

interface There {
  etag: string;
  size: number;
  lastModified: number;
}
type Decision = { do: "copy" } | { do: "same"; known: boolean } | { do: "keep"; why: WhyKept };

/**
 * Decides, for one page of the source, what must be copied.
 *
 * An object is the same when both ETags are equal (then the bytes are proved equal), or when the manifest says that
 * R2's present ETag goes with the source's present one. What becomes of the others is the policy's decision.
 *
 * @param source one listing page, ascending
 * @param destination what the destination has at those keys, by NFC key
 * @param remembered manifest rows of those keys, by NFC key
 */
export function joinPage(
  source: readonly Listed[],
  destination: ReadonlyMap<string, There>,
  remembered: ReadonlyMap<string, Remembered>,
  options: JoinOptions,
): JoinPlan {
  const plan: JoinPlan = { small: [], large: [], same: [], kept: [], failures: [] };
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
    const decision =
      options.onlyNew === true
        ? decideBack(object, there, row)
        : decide(object, there, row, options.buriedAt.get(key), options.overwrite);
    if (decision.do === "same") plan.same.push({ item: object, known: decision.known });
    else if (decision.do === "keep") plan.kept.push({ item: object, why: decision.why });
    else copy(object, key, there, options, plan);
  }
  return plan;
}

function decide(
  object: Listed,
  there: There | undefined,
  row: Remembered | undefined,
  buriedAt: number | undefined,
  overwrite: Overwrite,
): Decision {
  if (overwrite === "always") return { do: "copy" };
  if (there !== undefined && isSame({ source: object, r2: there }, row)) {
    return { do: "same", known: row?.etag === there.etag };
  }
  if (buriedAt !== undefined && object.lastModified <= buriedAt) return { do: "keep", why: "deleted" };
  if (there === undefined || overwrite === "if-different") return { do: "copy" };
  if (overwrite === "never") return { do: "keep", why: "never" };
  const copiedFrom = row?.etag === there.etag ? row.sourceModifiedAt : null;
  return object.lastModified > (copiedFrom ?? there.lastModified) ? { do: "copy" } : { do: "keep", why: "not-newer" };
}

/** Here the object is R2's, and what is there is the source's. */
function decideBack(object: Listed, there: There | undefined, row: Remembered | undefined): Decision {
  const isRow = row?.etag === object.etag;
  if (there !== undefined) {
    return isSame({ source: there, r2: object }, row) ? { do: "same", known: isRow } : { do: "keep", why: "never" };
  }
  // A copy that somebody has written over since is no copy any more.
  return isRow && isCopy(row) ? { do: "keep", why: "is-source's" } : { do: "copy" };
}

function isSame({ source, r2 }: Record<"source" | "r2", { etag: string; size: number }>, row?: Remembered): boolean {
  if (source.size !== r2.size) return false;
  return r2.etag === source.etag || (row?.etag === r2.etag && row.sourceEtag === source.etag);
}

/** Whether a migration put it into R2, or a read of what was missing there, or a migration found it equal to the source's. */
const isCopy = ({ writer, sourceEtag }: Remembered): boolean =>
  /^(mig_|through:)/.test(writer) || (writer.startsWith("found:") && sourceEtag !== null);

/** Plans a copy, if the destination can take it: what is there already may since have been archived at the source. */
function copy(object: Listed, key: string, there: There | undefined, options: JoinOptions, plan: JoinPlan): void {
  const refused = refuse(object, key, options.prefixBytes);
  if (refused !== null) {
    plan.failures.push({ key: object.key, failure: refused });
    return;
  }
  const { etag, size, lastModified } = object;
  const item: CopyItem = { key: object.key, size, etag, lastModified, was: there?.etag ?? null };
  (goesInParts(item, options.multipartThresholdBytes) ? plan.large : plan.small).push(item);
}

function refuse(object: Listed, key: string, prefixBytes: number): Failure | null {
  if (key === "") return failure("invalid-key", "Its key is the source's prefix itself: it has no key in the dataset.");
  const bytes = new TextEncoder().encode(key).length + prefixBytes;
  if (bytes > KEY_MAX_BYTES) {
    return failure("key-too-long", `With the dataset's prefix the key has ${bytes} bytes; R2 takes ${KEY_MAX_BYTES}.`);
  }
  if (object.size > OBJECT_MAX_BYTES) return failure("object-too-large");
  if (isArchived(object)) {
    return failure("source-archived", `Its storage class is ${object.storageClass}; restore it at the source first.`);
  }
  return null;
}

/** GLACIER_IR and INTELLIGENT_TIERING's frequent tiers are readable at once (Amazon S3 User Guide, storage classes). */
export const isArchived = ({ storageClass }: Pick<Listed, "storageClass">): boolean =>
  storageClass === "GLACIER" || storageClass === "DEEP_ARCHIVE";
