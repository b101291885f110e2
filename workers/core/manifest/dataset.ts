import * as z from "zod";
import { overlaps } from "../capability/scope.ts";
import { checkKey } from "../http/key-path.ts";

/** Names of datasets: they stand in URLs, and in the names of secrets and objects. */
const NAME_PATTERN = /^[a-z0-9][a-z0-9-]{0,62}$/;
export const nameSchema = z.string().regex(NAME_PATTERN, 'must be 1 to 63 of a-z, 0-9 and "-", and not begin with "-"');

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

/** The body of `PUT /v1/datasets/:dataset`. */
export const datasetBodySchema = z
  .strictObject({
    kind: z.enum(["files", "zarr"]),
    /** Where it is migrated from; without one it is filled by other means. */
    source: z.strictObject({ name: nameSchema, prefix: foreignPrefixSchema }).optional(),
    /** The R2 binding and the prefix in it; fixed for good. */
    bucket: z.string().min(1).max(64).default("DATASETS"),
    prefix: prefixSchema,
    /**
     * How reads are served: "r2", from R2 alone; "through", from R2, and what is not there from the source, which is then
     * copied; "source", from the source alone.
     */
    read: z.enum(["r2", "through", "source"]).default("r2"),
    /** A cron expression in UTC; null: only on request. */
    schedule: z.string().max(200).nullable().default(null),
    /** Seconds for which a live object's ETag may be remembered. */
    liveTtlSeconds: z.number().int().min(0).max(3600).default(10),
  })
  .refine(({ read, source }) => read === "r2" || source !== undefined, {
    error: 'needs a source to read from; name one, or leave it at "r2"',
    path: ["read"],
  });
export type DatasetBody = z.infer<typeof datasetBodySchema>;

/** A dataset as it is kept. The id is its own: a name used again is not the old dataset. */
export interface DatasetConfig extends DatasetBody {
  id: string;
  name: string;
  createdAt: string;
  updatedAt: string;
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
