import * as z from "zod";
import type { FailureCode } from "../failure.ts";
import { compareUtf8 } from "../migration/utf8-order.ts";

/** A walk is over all keys, and then, where checksums are wanted, over the rows that lack them. */
export type WalkPhase = "keys" | "checksums";
export type WalkState = "running" | "done" | "failed";

/** What a walk has come to, in objects. */
export interface WalkCounts {
  /** That R2 has under the dataset's prefix. */
  listed: number;
  /** Of these, whose row said so already. */
  same: number;
  /** Rows that were missing, were of another object, or had none any more, and that R2 still had so when it was asked. */
  added: number;
  changed: number;
  removed: number;
  /** Objects without a row for which a full manifest had no room. */
  refused: number;
  /** Objects that were read for their checksums, and that are too large to be read by one message. */
  hashed: number;
  tooLarge: number;
}

export const NOTHING_WALKED: Readonly<WalkCounts> = {
  listed: 0,
  same: 0,
  added: 0,
  changed: 0,
  removed: 0,
  refused: 0,
  hashed: 0,
  tooLarge: 0,
};

export interface WalkStatus {
  state: WalkState;
  problem: { code: FailureCode; detail: string } | null;
  checksums: "sha256"[];
  counts: WalkCounts;
  /** Milliseconds since 1970. */
  startedAt: number;
  updatedAt: number;
  endedAt: number | null;
}

/** One step of a walk; how far it is, the Dataset knows. */
export const reconcileMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("reconcile"),
  dataset: z.string(),
  datasetId: z.string(),
  walk: z.string(),
  step: z.number().int().nonnegative(),
});
export type ReconcileMessage = z.infer<typeof reconcileMessage>;

/** A row beside a listing. `isAsked`: R2 is being asked about its key, or who asked has died. */
export interface WalkedRow {
  key: string;
  etag: string;
  /** Milliseconds since 1970. */
  uploadedAt: number;
  isAsked: boolean;
}

/** An object as R2 lists it. */
export interface WalkedObject {
  key: string;
  etag: string;
  /** When it was uploaded, milliseconds since 1970. */
  lastModified: number;
}

/** A row whose object was never read through. */
export interface UnhashedRow {
  key: string;
  /** Bytes. */
  size: number;
  etag: string;
}

export interface Difference {
  listed: number;
  same: number;
  /** What R2 is to be asked about, whatever the rows say, by key; `isListed`: it has something there. */
  hints: { key: string; isListed: boolean }[];
  /** How far both sides were compared: the next key is after this one; null: to the end. */
  end: string | null;
}

/** Some of a listing, ascending in UTF-8 order; `end` is the last key that was looked at, null where nothing comes after. */
export interface Side<T> {
  items: readonly T[];
  end: string | null;
}

/**
 * Compares a page of R2's listing with a page of rows, as far as both go, or up to the last of the first `most` differences.
 * What differs is a hint and no more: either page may have been read before something happened. The same bytes that were
 * uploaded anew may have other metadata.
 */
export function compareSides(listing: Side<WalkedObject>, rows: Side<WalkedRow>, most: number): Difference {
  const reached = earlier(listing.end, rows.end);
  const known = new Map(rows.items.filter(upTo(reached)).map((row) => [row.key, row]));
  const listed = listing.items.filter(upTo(reached));
  const differences: Difference["hints"] = [];
  for (const { key, etag, lastModified } of listed) {
    const row = known.get(key);
    known.delete(key);
    const isSame = row?.etag === etag && row.uploadedAt >= lastModified && !row.isAsked;
    if (!isSame) differences.push({ key, isListed: true });
  }
  for (const key of known.keys()) differences.push({ key, isListed: false });
  const hints = differences.sort((a, b) => compareUtf8(a.key, b.key)).slice(0, most);
  const end = differences.length > hints.length ? (hints.at(-1)?.key ?? null) : reached;
  const seen = listed.filter(upTo(end)).length;
  return { listed: seen, same: seen - hints.filter(({ isListed }) => isListed).length, hints, end };
}

const upTo =
  (end: string | null) =>
  ({ key }: { key: string }): boolean =>
    end === null || compareUtf8(key, end) <= 0;

function earlier(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return compareUtf8(a, b) < 0 ? a : b;
}
