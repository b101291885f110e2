import * as z from "zod";
import { CAPABILITY_DEFAULT_SECONDS, KEY_MAX_BYTES, LIST_MAX_KEYS, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { categorySchema } from "../../core/manifest/place.ts";
import { type ManifestQuery, SORTS } from "../../core/manifest/query.ts";
import { stageSchema } from "../../core/manifest/row.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readQuery } from "../body.ts";
import type { Ctx } from "../context.ts";
import { wholeNumber } from "../paging.ts";

export const FORMATS = ["json", "ndjson", "csv", "sha256sum", "parquet"] as const;
export type Format = (typeof FORMATS)[number];

/** Rows of one Parquet file, which is built in memory: unless asked otherwise, and at most. */
const PARQUET_ROWS = 10_000;
const PARQUET_ROWS_MAX = 50_000;
const JSON_ROWS = 100;

const keyPart = z.string().max(KEY_MAX_BYTES).transform(storeKey);
const bytes = wholeNumber(0);

const manifestSchema = z.strictObject({
  version: z.string().min(1).max(64).default("live"),
  prefix: keyPart.default(""),
  delimiter: z.string().min(1).max(16).transform(storeKey).optional(),
  suffix: keyPart.default(""),
  stage: stageSchema.optional(),
  category: categorySchema(KEY_MAX_BYTES).optional(),
  minSize: bytes.optional(),
  maxSize: bytes.optional(),
  modifiedSince: z.iso
    .datetime({ offset: true, error: "is a time of RFC 3339, such as 2026-10-01T00:00:00Z" })
    .optional(),
  changedSince: wholeNumber(0).optional(),
  sort: z.enum(SORTS).optional(),
  limit: wholeNumber(1).optional(),
  cursor: z.string().optional(),
  format: z.enum(FORMATS).default("json"),
  sign: z.enum(["edge", "r2"]).optional(),
  expiresSeconds: wholeNumber(1, PRESIGN_MAX_SECONDS).optional(),
});

/** What a request wants of a manifest. */
export interface Asked {
  version: string;
  query: ManifestQuery;
  /** Objects in all; infinite where a stream is to have all there are. */
  limit: number;
  cursor: string | null;
  format: Format;
  sign: "edge" | "r2" | null;
  expiresSeconds: number;
}

/** Reads the parameters of `GET /v1/datasets/:dataset/manifest`. */
export function readManifestQuery(c: Ctx): Result<Asked> {
  const parsed = readQuery(c, manifestSchema);
  if (!parsed.ok) return parsed;
  const { version, format, cursor, sign, expiresSeconds, modifiedSince, ...asked } = parsed.value;
  const query: ManifestQuery = {
    prefix: asked.prefix,
    delimiter: asked.delimiter ?? null,
    suffix: asked.suffix,
    stage: asked.stage ?? null,
    category: asked.category ?? null,
    minSize: asked.minSize ?? null,
    maxSize: asked.maxSize ?? null,
    modifiedSince: modifiedSince === undefined ? null : Date.parse(modifiedSince),
    changedSince: asked.changedSince ?? null,
    changedUpTo: null,
    sort: asked.sort ?? (asked.changedSince === undefined ? "key" : "changed"),
  };
  const limit = limitOf(format, asked.limit);
  const wrong = limit.ok
    ? (conflictOf(version, query, format) ?? signConflict(format, sign, expiresSeconds))
    : limit.failure;
  if (wrong !== null || !limit.ok) return fail(wrong ?? failure("invalid-query"));
  return ok({
    version,
    query,
    limit: limit.value,
    cursor: cursor ?? null,
    format,
    sign: sign ?? null,
    expiresSeconds: expiresSeconds ?? CAPABILITY_DEFAULT_SECONDS,
  });
}

function limitOf(format: Format, asked: number | undefined): Result<number> {
  const [most, usual] =
    format === "json"
      ? [LIST_MAX_KEYS, JSON_ROWS]
      : format === "parquet"
        ? [PARQUET_ROWS_MAX, PARQUET_ROWS]
        : [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  if (asked === undefined || asked <= most) return ok(asked ?? usual);
  return fail(refused("limit", `is at most ${most} in the format ${format}; ndjson and csv have none`));
}

/** Parameters that do not go together: what could not be told in an answer is refused, and not left out. */
function conflictOf(version: string, query: ManifestQuery, format: Format): Failure | null {
  const { minSize, maxSize, delimiter, changedSince, sort } = query;
  const isByKey = sort.endsWith("key");
  const isTold = format === "json" || format === "ndjson";
  if (minSize !== null && maxSize !== null && minSize > maxSize) return refused("maxSize", "is less than minSize");
  if (delimiter !== null && !isByKey) return refused("delimiter", 'goes with sort "key" or "-key" only');
  if (delimiter !== null && !isTold) return refused("delimiter", "goes with the formats json and ndjson only");
  if (changedSince !== null && isByKey)
    return refused("sort", 'is "changed" or "-changed" where changedSince is given');
  if (changedSince !== null && !isTold) {
    return refused("format", "is json or ndjson where changedSince is given: the others cannot tell what was removed");
  }
  if (version === "live") return null;
  if (changedSince !== null)
    return refused("changedSince", 'goes with the version "live" only; compare versions instead');
  return sort === "key" ? null : refused("sort", 'of a sealed version is "key"');
}

function signConflict(format: Format, sign: string | undefined, expiresSeconds: number | undefined): Failure | null {
  if (sign === undefined) return expiresSeconds === undefined ? null : refused("expiresSeconds", "goes with sign only");
  if (format !== "sha256sum" && format !== "parquet") return null;
  return refused("sign", "goes with the formats json, ndjson and csv only");
}

const refused = (field: string, rule: string): Failure => failure("invalid-query", `${field}: ${rule}.`, { field });
