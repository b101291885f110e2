import * as z from "zod";
import { decodeBase64UrlJson, encodeBase64Url } from "../capability/jwt.ts";
import { failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";
import type { ManifestQuery, Position } from "./query.ts";

/** How far a listing of a manifest has come. */
export interface ManifestCursor {
  /** Null: at its beginning. */
  position: Position | null;
  /** The dataset's `seq` when the listing began. */
  seq: number;
}

/**
 * What a cursor belongs to, as text to be hashed: a dataset (by its id, for a name may be used again), a version and a
 * query. How much is asked for at once, and in which format, is free to change from page to page.
 */
export function boundTo(datasetId: string, version: number | null, query: ManifestQuery): string {
  const { prefix, delimiter, suffix, stage, category, minSize, maxSize, modifiedSince, changedSince, sort } = query;
  const asked = [prefix, delimiter, suffix, stage, category, minSize, maxSize, modifiedSince, changedSince, sort];
  return JSON.stringify([datasetId, version, ...asked]);
}

const cursorSchema = z.tuple([
  z.string(),
  z.int().nonnegative(),
  z.tuple([z.string().refine((key) => key.isWellFormed()), z.int().nonnegative()]).nullable(),
]);

/** An opaque text; `bound` is the digest of what it belongs to. */
export function formatManifestCursor(bound: string, { position, seq }: ManifestCursor): string {
  const place = position === null ? null : [position.key, position.seq];
  return encodeBase64Url(new TextEncoder().encode(JSON.stringify([bound, seq, place])));
}

/** Reads a cursor of the same dataset, version and query; `invalid-cursor` for any other text. */
export function parseManifestCursor(text: string, bound: string): Result<ManifestCursor> {
  const parsed = cursorSchema.safeParse(decodeBase64UrlJson(text));
  if (!parsed.success) {
    const detail = "cursor: is not one that was given out; begin the listing anew, without a cursor.";
    return fail(failure("invalid-cursor", detail, { field: "cursor" }));
  }
  const [belongsTo, seq, place] = parsed.data;
  if (belongsTo !== bound) {
    const detail =
      "cursor: is of another dataset, version or query; ask with the filters and the sort that it came with, " +
      "or begin the listing anew, without a cursor.";
    return fail(failure("invalid-cursor", detail, { field: "cursor" }));
  }
  return ok({ position: place === null ? null : { key: place[0], seq: place[1] }, seq });
}
