import { type Failure, failure } from "../failure.ts";
import { compareUtf8 } from "../migration/utf8-order.ts";
import type { Stage, StoredRow } from "./row.ts";

/** By key, in UTF-8 byte order, or by the order of changes; "-" is descending. */
export const SORTS = ["key", "-key", "changed", "-changed"] as const;
export type Sort = (typeof SORTS)[number];

/**
 * Which objects of a manifest are wanted. Null: any. Of what a delimiter folds, and of what was removed, only the key is
 * looked at: the rest is of objects that are there. With `changedSince`, an object that has changed and is not wanted, but by
 * its key, is told as removed: it may have been wanted before, and who follows the listing drops it.
 */
export interface ManifestQuery {
  prefix: string;
  /** Keys that go on with one after the prefix are shown as the prefixes that end with it. */
  delimiter: string | null;
  suffix: string;
  stage: Stage | null;
  category: string | null;
  /** Bytes, both included. */
  minSize: number | null;
  maxSize: number | null;
  /** Milliseconds since 1970: modified at its source, else uploaded, then or later. */
  modifiedSince: number | null;
  /** A `seq` of the dataset: changed after it. Objects that were removed since are told, too. */
  changedSince: number | null;
  /** A `seq` of the dataset: changed then or before. What changes while it is listed stays out of a listing by changes. */
  changedUpTo: number | null;
  sort: Sort;
}

/** All of a manifest, by key. */
export const EVERYTHING: ManifestQuery = {
  prefix: "",
  delimiter: null,
  suffix: "",
  stage: null,
  category: null,
  minSize: null,
  maxSize: null,
  modifiedSince: null,
  changedSince: null,
  changedUpTo: null,
  sort: "key",
};

/** Where a page begins: after this row of the sort order. */
export interface Position {
  key: string;
  seq: number;
}

/** Of a listing with a delimiter, the last prefix that was shown stands for a row: `{ key: prefix, seq: 0 }`. */
export const positionOfPrefix = (prefix: string): Position => ({ key: prefix, seq: 0 });

/** One page of what a query finds. It may be shorter than asked for, or empty, and still have a `next`. */
export interface RowPage {
  rows: StoredRow[];
  /**
   * Only with `changedSince`: objects that are gone, or that the query does not want any more, or never did: what they were
   * before is not kept. `at` in milliseconds since 1970: when they were removed, or changed last.
   */
  removed: { key: string; at: number; seq: number }[];
  /** Only with a delimiter. */
  prefixes: string[];
  next: Position | null;
  /** The dataset's `seq` when the page was read. */
  seq: number;
}

/** When the object was last modified, as its readers see it: milliseconds since 1970. */
export const modifiedAt = ({
  sourceModifiedAt,
  uploadedAt,
}: Pick<StoredRow, "sourceModifiedAt" | "uploadedAt">): number => sourceModifiedAt ?? uploadedAt;

/** Whether a row is wanted, delimiter and sort aside. */
export function matches(row: StoredRow, query: ManifestQuery): boolean {
  return (
    row.key.startsWith(query.prefix) &&
    row.key.endsWith(query.suffix) &&
    (query.stage === null || row.stage === query.stage) &&
    (query.category === null || row.category === query.category) &&
    (query.minSize === null || row.size >= query.minSize) &&
    (query.maxSize === null || row.size <= query.maxSize) &&
    (query.modifiedSince === null || modifiedAt(row) >= query.modifiedSince) &&
    (query.changedSince === null || row.seq > query.changedSince) &&
    (query.changedUpTo === null || row.seq <= query.changedUpTo)
  );
}

/** Refuses a `changedSince` that the dataset, of this `seq`, has not come to. */
export function checkReached(changedSince: number | null, seq: number): Failure | null {
  if (changedSince === null || changedSince <= seq) return null;
  const detail = `changedSince: is ${changedSince}, and the dataset has changed ${seq} times; use what a listing of it gave.`;
  return failure("invalid-query", detail, { field: "changedSince" });
}

/** Orders two places of a query's answer. */
export function comparePositions(a: Position, b: Position, sort: Sort): number {
  const sign = sort.startsWith("-") ? -1 : 1;
  if (sort.endsWith("changed") && a.seq !== b.seq) return sign * (a.seq - b.seq);
  return sign * compareUtf8(a.key, b.key);
}

/** Of a key under the prefix the part that ends with the next delimiter; null where there is none. */
export function commonPrefix(
  key: string,
  { prefix, delimiter }: Pick<ManifestQuery, "prefix" | "delimiter">,
): string | null {
  if (delimiter === null) return null;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? null : key.slice(0, at + delimiter.length);
}
