import * as z from "zod";
import { overlaps } from "../capability/scope.ts";
import { failure } from "../failure.ts";
import { checkKey } from "../http/key-path.ts";
import { fail, ok, type Result } from "../result.ts";
import { PLACE_RULES_MAX, placeRuleSchema } from "./place.ts";
import { type Stage, stageSchema, STAGES } from "./row.ts";

/** Names of datasets: they stand in URLs, and in the names of secrets and objects. */
const NAME_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/;
export const nameSchema = z.string().regex(NAME_PATTERN, 'must be 1 to 63 of a-z, 0-9 and "-", and not begin with "-"');

export const DATASET_KINDS = ["files", "zarr"] as const;

/** A prefix ends in "/", so that "era5" never opens "era5-private". */
const foreignPrefixSchema = z
  .string()
  .max(512)
  .refine((text) => text === "" || text.endsWith("/"), 'must be empty or end in "/"')
  .refine((text) => text.isWellFormed() && !text.includes("\0"), "must be well-formed text without NUL");

/** A prefix in R2. */
export const prefixSchema = foreignPrefixSchema.refine(
  (text) => text === text.normalize("NFC"),
  "must be in Unicode NFC, as R2 keeps its keys",
);

/** A key that R2 can hold. */
export const keySchema = z.string().refine((key) => checkKey(key).ok, "must be 1 to 1,024 bytes of UTF-8 without NUL");

/** Where it is migrated from; without one it is filled by other means. */
const datasetSourceSchema = z.strictObject({ name: nameSchema, prefix: foreignPrefixSchema });
/**
 * How reads are served: "r2", from R2 alone; "through", from R2, and what is not there from the source, which is then
 * copied; "source", from the source alone.
 */
const readSchema = z.enum(["r2", "through", "source"]);
/** A cron expression in UTC; null: only on request. */
const scheduleSchema = z.string().max(200).nullable();
/** Seconds from the end of one walk through the bucket to the next; null: only on request. A walk lists every key. */
const reconcileSchema = z.number().int().min(300).max(31_536_000).nullable();
/** Seconds for which a live object's ETag may be remembered. */
const liveTtlSchema = z.number().int().min(0).max(3600);

/** How keys say stage and category; absent: DEFAULT_RULES. The first rule that a key matches is the one. */
const placesSchema = z.array(placeRuleSchema).max(PLACE_RULES_MAX);
/** In which order the stages are asked for a name; absent: DEFAULT_RESOLVE_ORDER. */
export const resolveOrderSchema = z
  .array(stageSchema)
  .min(1)
  .refine((order) => new Set(order).size === order.length, "names a stage twice");
export const DEFAULT_RESOLVE_ORDER: readonly Stage[] = STAGES.toReversed();

const NEEDS_SOURCE = 'needs a source to read from; name one, or leave it at "r2"';

/** The body of `PUT /v1/datasets/:dataset`. */
export const datasetBodySchema = z
  .strictObject({
    kind: z.enum(DATASET_KINDS),
    source: datasetSourceSchema.optional(),
    /** The R2 binding and the prefix in it; fixed for good. */
    bucket: z.string().min(1).max(64).default("DATASETS"),
    prefix: prefixSchema,
    read: readSchema.default("r2"),
    schedule: scheduleSchema.default(null),
    reconcileSeconds: reconcileSchema.default(null),
    liveTtlSeconds: liveTtlSchema.default(10),
    places: placesSchema.optional(),
    resolveOrder: resolveOrderSchema.optional(),
  })
  .refine(({ read, source }) => read === "r2" || source !== undefined, { error: NEEDS_SOURCE, path: ["read"] });
export type DatasetBody = z.infer<typeof datasetBodySchema>;

/** A dataset as it is kept. The id is its own: a name used again is not the old dataset. */
export interface DatasetConfig extends Omit<DatasetBody, "reconcileSeconds"> {
  /** Absent in what an older release has kept: null. */
  reconcileSeconds?: number | null;
  id: string;
  name: string;
  createdAt: string;
  updatedAt: string;
}

/** What of a dataset may change; what is absent stays. */
const datasetChangesSchema = z.strictObject({
  /** Null takes the source away. */
  source: datasetSourceSchema.nullable().optional(),
  read: readSchema.optional(),
  schedule: scheduleSchema.optional(),
  reconcileSeconds: reconcileSchema.optional(),
  liveTtlSeconds: liveTtlSchema.optional(),
  /** Null goes back to the rules, or the order, that hold where none is given. */
  places: placesSchema.nullable().optional(),
  resolveOrder: resolveOrderSchema.nullable().optional(),
});
export type DatasetChanges = z.infer<typeof datasetChangesSchema>;

/** The body of `PATCH /v1/datasets/:dataset`. What is fixed is known, so that `changesOf` can say that it is. */
export const datasetPatchSchema = datasetChangesSchema.extend({
  kind: z.unknown().optional(),
  bucket: z.unknown().optional(),
  prefix: z.unknown().optional(),
});

export function changesOf(patch: z.infer<typeof datasetPatchSchema>): Result<DatasetChanges> {
  const { kind, bucket, prefix, ...changes } = patch;
  const fixed = Object.entries({ kind, bucket, prefix }).find(([, value]) => value !== undefined);
  if (fixed === undefined) return ok(changes);
  const [field] = fixed;
  return fail(
    failure("dataset-fixed", `Leave ${field} out, or register another dataset for another ${field}.`, { field }),
  );
}

/** The dataset with its changes; refused where it would be read from a source that it has not. */
export function changedDataset(
  { source: was, places: rules, resolveOrder: order, ...rest }: DatasetConfig,
  changes: DatasetChanges,
  updatedAt: string,
): Result<DatasetConfig> {
  const { read = rest.read, schedule = rest.schedule, liveTtlSeconds = rest.liveTtlSeconds } = changes;
  const { reconcileSeconds = rest.reconcileSeconds ?? null } = changes;
  const source = changes.source === undefined ? was : (changes.source ?? undefined);
  if (read !== "r2" && source === undefined) {
    return fail(failure("invalid-body", `read: ${NEEDS_SOURCE}`, { field: "read" }));
  }
  const named = source === undefined ? {} : { source };
  const places = changes.places === undefined ? rules : (changes.places ?? undefined);
  const resolveOrder = changes.resolveOrder === undefined ? order : (changes.resolveOrder ?? undefined);
  const placed = {
    ...(places === undefined ? {} : { places }),
    ...(resolveOrder === undefined ? {} : { resolveOrder }),
  };
  return ok({ ...rest, ...named, ...placed, read, schedule, reconcileSeconds, liveTtlSeconds, updatedAt });
}

/** Which capabilities without a job hold no more. Times are in seconds since 1970, as in the tokens. */
export interface Revocations {
  /** Their `jti`. */
  ids: string[];
  /** Whatever was minted in this second or before; 0: nothing. */
  upTo: number;
}

/** What an isolate that serves reads must know of a dataset; it asks every few seconds. */
export interface ReaderView {
  config: DatasetConfig;
  revoked: Revocations;
  /** The dataset's own clock when it answered, seconds since 1970: revoking and minting go by the same one. */
  nowSeconds: number;
  /** Whether any key was deleted on purpose: only then is `isBuried` worth a question. */
  hasTombstones: boolean;
}

/** Whether two datasets would hold each other's objects. */
export const datasetsOverlap = (
  a: { bucket: string; prefix: string },
  b: { bucket: string; prefix: string },
): boolean => a.bucket === b.bucket && overlaps(a.prefix, b.prefix);
