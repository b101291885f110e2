import { INDEXING } from "../../adapters/record-indexing.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { recordParts } from "../../core/jobs/units/record-parts.ts";
import type { Part } from "../../core/jobs/units/unit.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import type { RecordIndex } from "../../core/records/record-index.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import { findIndex } from "../routes/records-index.ts";

/** An object whose records are handed out. */
export interface RecordObject {
  key: string;
  /** Where the request names it. */
  field: string;
  /** R2's ETag that the version sealed. */
  etag: string;
}

interface Where {
  config: DatasetConfig;
  version: string;
}

/**
 * Sees to it that each object has an index of its records, and that its records can be handed out as ranges. What one request
 * indexes is bounded for all of them together; the queue is told of all others at once, and `records-not-indexed` says when to
 * come back.
 */
export async function checkRecords(c: Ctx, where: Where, objects: readonly RecordObject[]): Promise<Failure | null> {
  let left = INDEXING.inlineBytes;
  let later: Failure | null = null;
  for (const object of objects) {
    const limits = { ...INDEXING, inlineBytes: left, inlineGzipBytes: Math.min(left, INDEXING.inlineGzipBytes) };
    const found = await findIndex(c, targetOf(where, object), limits);
    const failed = found.ok ? refusalOf(found.value.index) : found.failure;
    if (failed !== null) {
      const named = { ...failed, field: object.field };
      if (failed.code !== "records-not-indexed") return named;
      later ??= named;
    }
    // One that was found as it is was not made now.
    if (found.ok && found.value.isCurrent) left = Math.max(0, left - found.value.index.size);
  }
  return later;
}

/** The records of an object, as ranges of its bytes. */
export async function partsOfRecords(
  c: Ctx,
  where: Where,
  object: RecordObject,
  targetBytes: number,
): Promise<Result<Part[]>> {
  const found = await findIndex(c, targetOf(where, object));
  const failed = found.ok ? refusalOf(found.value.index) : found.failure;
  if (failed !== null) return fail({ ...failed, field: object.field });
  return found.ok ? ok(recordParts(object.key, found.value.index, targetBytes)) : found;
}

const targetOf = ({ config, version }: Where, { key, etag }: RecordObject) => ({
  config,
  key,
  sealed: { version, etag },
  query: {},
});

function refusalOf({ refused, gzip, kind }: RecordIndex): Failure | null {
  if (refused !== null) return failure(refused.code, refused.detail);
  const why = gzip ? "is compressed" : kind === "array" ? "is one JSON array" : null;
  if (why === null) return null;
  const detail = `It ${why}, and a range of its bytes is no text of its own: store it as JSONL, uncompressed, or name it in input.keys to have it whole.`;
  return failure("not-records", detail);
}
