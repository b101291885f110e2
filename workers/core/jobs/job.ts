import * as z from "zod";
import { overlaps } from "../capability/scope.ts";
import { type Failure, failure } from "../failure.ts";
import { CAPABILITY_MAX_SCOPES, PRESIGN_MAX_SECONDS, PUT_MAX_BYTES, URLS_MAX_KEYS } from "../limits.ts";
import { keySchema as inputKeySchema, nameSchema, prefixSchema } from "../manifest/dataset.ts";

/** Keys to sign or to finish: each is checked with its whole prefix, by a failure of its own. */
const keySchema = z.string().min(1);

/** `name`, `name@live`, `name@3` or `name@alias`. */
const datasetRefSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9-]{0,62}(@([1-9]\d{0,8}|[a-z][a-z0-9-]{0,62}))?$/,
    "must be a dataset's name, or name@version",
  );

/** The body of `POST /v1/jobs`. */
export const jobBodySchema = z.strictObject({
  name: nameSchema,
  dataset: datasetRefSchema,
  input: z
    .strictObject({
      prefixes: z.array(prefixSchema).max(CAPABILITY_MAX_SCOPES).default([]),
      keys: z.array(inputKeySchema).max(CAPABILITY_MAX_SCOPES).default([]),
    })
    .refine(({ prefixes, keys }) => prefixes.length + keys.length > 0, "names at least one prefix or key")
    .refine(
      ({ prefixes, keys }) => prefixes.length + keys.length < CAPABILITY_MAX_SCOPES,
      `names fewer than ${CAPABILITY_MAX_SCOPES} prefixes and keys in all`,
    ),
  /** Where its outputs go, within the dataset. */
  outputPrefix: prefixSchema.refine((text) => text !== "", "must not be empty").optional(),
  ttlSeconds: z.number().int().min(60).max(PRESIGN_MAX_SECONDS).default(86_400),
  heartbeatTimeoutSeconds: z.number().int().min(1).max(86_400).default(90),
});
export type JobBody = z.infer<typeof jobBodySchema>;

/** The body of `POST /v1/jobs/:id/heartbeat`. */
export const heartbeatBodySchema = z.strictObject({ node: nameSchema });

const expiresSeconds = z.number().int().min(1).max(PRESIGN_MAX_SECONDS).default(3600);

/** The body of `POST /v1/jobs/:id/urls`. */
export const urlsBodySchema = z.discriminatedUnion("method", [
  z.strictObject({
    method: z.literal("GET"),
    via: z.enum(["r2", "edge"]).default("r2"),
    keys: z.array(keySchema).min(1).max(URLS_MAX_KEYS),
    expiresSeconds,
  }),
  z.strictObject({
    method: z.literal("PUT"),
    via: z.literal("r2").default("r2"),
    objects: z
      .array(
        z.strictObject({
          key: keySchema,
          /** Bytes; signed, so that nothing else can be put. */
          size: z.number().int().min(0).max(PUT_MAX_BYTES),
          contentType: z
            .string()
            .max(255)
            .regex(/^[\x21-\x7e][\x20-\x7e]*$/, "must be printable ASCII")
            .default("application/octet-stream"),
        }),
      )
      .min(1)
      .max(URLS_MAX_KEYS),
    expiresSeconds,
  }),
]);
export type UrlsBody = z.infer<typeof urlsBodySchema>;

/** The body of `POST /v1/jobs/:id/finish`. */
export const finishBodySchema = z.strictObject({
  outcome: z.enum(["done", "failed"]).default("done"),
  /** Outputs that were put; all that were announced, if absent. */
  outputs: z.array(keySchema).max(URLS_MAX_KEYS).optional(),
});

/** The custom metadata by which an output names the job that put it. */
export const OUTPUT_JOB = "penstock-job";

/** A job as it is kept; fixed when it is created. */
export interface JobSpec extends JobBody {
  id: string;
  datasetName: string;
  datasetId: string;
  version: string;
  bucket: string;
  /** The dataset's prefix in the bucket. */
  prefix: string;
  createdAt: number;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

/** An output prefix may not overlap the job's input: a node must not be able to write what others read as input. */
export function checkOutputPrefix(body: JobBody): Failure | null {
  const { outputPrefix, input } = body;
  if (outputPrefix === undefined) return null;
  const clash =
    input.prefixes.find((prefix) => overlaps(prefix, outputPrefix)) ??
    input.keys.find((key) => key.normalize("NFC").startsWith(outputPrefix));
  if (clash === undefined) return null;
  const detail = `The output prefix "${outputPrefix}" overlaps the input "${clash}"; choose a prefix beside it.`;
  return failure("prefix-overlap", detail, { field: "outputPrefix" });
}

/**
 * What a job's nodes may read of the dataset at the job's version: its input, and at the moving head also what they put out
 * themselves. A sealed version never holds that: see `outputScope`.
 */
export function readScope(spec: JobSpec): { prefixes: string[]; keys: string[] } {
  const own = spec.outputPrefix === undefined || spec.version !== "live" ? [] : [spec.outputPrefix];
  return { prefixes: [...spec.input.prefixes, ...own], keys: spec.input.keys };
}

/** What the nodes of a job on a sealed version put out, and read back at the moving head; null where `readScope` has it all. */
export function outputScope(spec: JobSpec): { prefixes: string[]; keys: string[] } | null {
  if (spec.outputPrefix === undefined || spec.version === "live") return null;
  return { prefixes: [spec.outputPrefix], keys: [] };
}
