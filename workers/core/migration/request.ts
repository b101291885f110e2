import * as z from "zod";
import { type Failure, failure } from "../failure.ts";
import { INLINE_KEYS_MAX, DELETES_MAX } from "../limits.ts";
import { keySchema, nameSchema } from "../manifest/dataset.ts";
import { checkFilter, type Filter, filterFields, isKeyOnly } from "./filter.ts";
import { OVERWRITES } from "./join.ts";
import { REPORT_OUTCOMES, type ReportOutcome } from "./report-line.ts";
import type { KeyList, MigrationSpec } from "./status.ts";

/** Ids that we give out: a Durable Object is made by asking for it, so no other is asked for. */
export const migrationIdSchema = z.string().regex(/^mig_[0-9A-Z]{26}$/, "must be the id of a migration, mig_...");

/** The way out of a list that is too long for a request. */
export const KEYS_ELSEWHERE = 'put a longer list into a bucket and name it: "keys": {"bucket", "key"}';

const inlineKeys = z
  .array(keySchema)
  .min(1, "names no key; leave it out for all keys")
  .max(INLINE_KEYS_MAX, `names more than ${INLINE_KEYS_MAX} keys; ${KEYS_ELSEWHERE}`);

const keysInBucket = z
  .strictObject({
    /** An R2 binding. */
    bucket: z.string().min(1).max(64),
    key: keySchema,
  })
  .transform(({ bucket, key }): KeyList => {
    return { kind: "object", bucket, key, format: /\.csv$/i.test(key) ? "csv" : "ndjson" };
  });

const keysOfReport = z
  .strictObject({
    migration: migrationIdSchema,
    outcomes: z
      .array(z.enum(REPORT_OUTCOMES))
      .min(1)
      .default(["failed" satisfies ReportOutcome]),
  })
  .transform(({ migration, outcomes }): KeyList => ({ kind: "report", migration, outcomes }));

/** The form is told by the value's shape, so that what is wrong with it is said of that form, and by field. */
const keysSchema = z.unknown().transform((value, ctx): readonly string[] | KeyList => {
  const isObject = typeof value === "object" && value !== null;
  const form = Array.isArray(value)
    ? inlineKeys
    : isObject && "bucket" in value
      ? keysInBucket
      : isObject && "migration" in value
        ? keysOfReport
        : null;
  const parsed = form?.safeParse(value);
  if (parsed?.success === true) return parsed.data;
  const neither = 'is neither a list of keys nor {"bucket", "key"} nor {"migration", "outcomes"}';
  for (const issue of parsed?.error.issues ?? [{ code: "custom" as const, message: neither, path: [] }]) {
    ctx.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue);
  }
  return z.NEVER;
});

const fields = {
  /** Lists, and says what copying would do and cost; writes nothing. */
  dryRun: z.boolean().default(false),
  /** `back`: what is in R2 alone is copied to the source's bucket. */
  direction: z.enum(["in", "back"]).default("in"),
  /** Compares instead of copying: by what listings and the manifest say, or by reading R2 back. */
  verify: z.enum(["listing", "deep"]).nullable().default(null),
  ...filterFields,
  /** Only these keys of those that pass the filters; null: all. */
  keys: keysSchema.nullable().default(null),
  overwrite: z.enum(OVERWRITES).default("if-different"),
  /** Deletes in R2 what a migration of this dataset wrote, nobody changed, and the source has no more. */
  deleteExtraneous: z.boolean().default(false),
  /** More than this many, and none is deleted. */
  maxDelete: z.number().int().min(0).max(DELETES_MAX).default(0),
  /** Whether keys of sealed versions may be among them. */
  deleteSealed: z.boolean().default(false),
  /** Whether the source is asked for its own checksum of each whole object, which is compared. */
  checksums: z.boolean().default(false),
};

/** The body of `POST /v1/migrations`; see {@link checkOptions} for what its fields say together. */
export const migrationBodySchema = z.strictObject({ dataset: nameSchema, ...fields });

/** What may be asked of a migration, but for its dataset. */
export type MigrationOptions = Omit<z.output<typeof migrationBodySchema>, "dataset" | keyof Filter> & Filter;

/** A copy of everything that is new or different. */
export const DEFAULT_OPTIONS: MigrationOptions = z.strictObject(fields).parse({});

/** Options that do not go together: refused with `invalid-body`, the field, and the way out. */
export function checkOptions(options: MigrationOptions): Failure | null {
  const refuse = (field: keyof MigrationOptions, detail: string) =>
    failure("invalid-body", `${field}: ${detail}`, { field });
  const { dryRun, direction, verify, keys, overwrite, deleteExtraneous, maxDelete, deleteSealed } = options;
  if (dryRun && verify !== null) {
    return refuse("verify", "a verification copies nothing, and has no dry run; leave dryRun or verify out.");
  }
  if (verify !== null && direction === "back") {
    return refuse("verify", 'compares R2 with the source, and has one direction; leave direction at "in".');
  }
  if (overwrite !== DEFAULT_OPTIONS.overwrite && (verify !== null || direction === "back")) {
    return refuse("overwrite", "is of a copy into R2; a verification overwrites nothing, and the way back never does.");
  }
  if (!deleteExtraneous && (maxDelete > 0 || deleteSealed)) {
    return refuse(maxDelete > 0 ? "maxDelete" : "deleteSealed", "means nothing without deleteExtraneous: true.");
  }
  if (deleteExtraneous && direction === "back") {
    return refuse("deleteExtraneous", "nothing is ever deleted at a source; leave it out of a run back.");
  }
  if (deleteExtraneous && verify !== null) {
    return refuse("deleteExtraneous", "a verification deletes nothing; leave it out, or ask for a migration.");
  }
  if (deleteExtraneous && keys !== null) {
    return refuse("deleteExtraneous", "a list of keys does not tell what the source has no more; leave keys out.");
  }
  if (deleteExtraneous && !isKeyOnly(options)) {
    const detail =
      "what the source has no more has no size, time or class there; limit the run by prefix, include and exclude alone.";
    return refuse("deleteExtraneous", detail);
  }
  return checkFilter(options);
}

/** What a run does, as its options say. */
export function planRun(
  options: MigrationOptions,
): Pick<MigrationSpec, "direction" | "task" | "filter" | "overwrite" | "deletes" | "checksums"> {
  const { dryRun, verify, direction, overwrite, deleteExtraneous, maxDelete, deleteSealed, checksums } = options;
  return {
    direction,
    task: dryRun ? "estimate" : verify === null ? "copy" : verify === "deep" ? "verify-deep" : "verify",
    filter: filterOf(options),
    overwrite,
    deletes: deleteExtraneous ? { max: maxDelete, sealed: deleteSealed } : null,
    checksums,
  };
}

/** What did not come out well in a run, and is worth another. */
const NOT_WELL = ["failed", "missing", "different", "unproved"] as const satisfies readonly ReportOutcome[];

/**
 * The options of a run that does again what failed in this one. What a verification found missing, different or
 * unproved is copied, whatever R2 has there: the ETags may be equal, and the bytes not.
 */
export function retryOf(spec: MigrationSpec): MigrationOptions {
  const isVerification = spec.task === "verify" || spec.task === "verify-deep";
  return {
    ...DEFAULT_OPTIONS,
    dryRun: spec.task === "estimate",
    direction: spec.direction,
    keys: { kind: "report", migration: spec.id, outcomes: NOT_WELL },
    overwrite: isVerification ? "always" : spec.overwrite,
    checksums: spec.checksums,
  };
}

/** The options of a verification of what this run was about; of a run back, too, for then the source has it. */
export const verificationOf = (spec: MigrationSpec, isDeep: boolean): MigrationOptions => ({
  ...DEFAULT_OPTIONS,
  ...spec.filter,
  keys: spec.keys,
  verify: isDeep ? "deep" : "listing",
  checksums: spec.checksums,
});

const filterOf = (filter: Filter): Filter => {
  const { prefix, include, exclude, minBytes, maxBytes, modifiedSince, storageClasses } = filter;
  return { prefix, include, exclude, minBytes, maxBytes, modifiedSince, storageClasses };
};

/** Where a run keeps its own objects in the SYSTEM bucket: its report, and the keys that it was given. */
export const runFolder = (migration: string): string => `migrations/${migration}/`;
