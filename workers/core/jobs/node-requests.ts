/** What a job's nodes send, each the body of one route. */
import * as z from "zod";
import { OUTPUTS_MAX, METRICS_MAX, PRESIGN_MAX_SECONDS, PUT_MAX_BYTES, URLS_MAX_KEYS } from "../limits.ts";
import { nameSchema } from "../manifest/dataset.ts";
import { OWN_NAMES } from "./series.ts";
import { namedValues } from "./named-values.ts";

/** Keys to sign or to finish: each is checked with its whole prefix, by a failure of its own. */
export const nodeKeySchema = z.string().min(1);

export const contentTypeSchema = z
  .string()
  .max(255)
  .regex(/^[\x21-\x7e][\x20-\x7e]*$/, "must be printable ASCII")
  .default("application/octet-stream");

export const expiresSeconds = z.number().int().min(1).max(PRESIGN_MAX_SECONDS).default(3600);

const countSchema = z.number().int().min(0);
const finiteSchema = z.number("must be a finite number; leave out what is none");

/** A name of a series; what a heartbeat has fields for is not a metric's. */
export const seriesNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9_./-]{1,64}$/, 'must be 1 to 64 of A-Z, a-z, 0-9 and "_./-"');
const metricNameSchema = seriesNameSchema.refine(
  (name) => !OWN_NAMES.some((own) => own === name),
  "is a field of its own, beside metrics",
);

/** The body of `POST /v1/jobs/:id/heartbeat`. */
export const heartbeatBodySchema = z.strictObject({
  node: nameSchema,
  step: countSchema.optional(),
  epoch: countSchema.optional(),
  /** NaN and Infinity are no JSON: a training that has diverged says null. */
  loss: finiteSchema.nullable().optional(),
  metrics: namedValues(metricNameSchema, finiteSchema)
    .refine((metrics) => Object.keys(metrics).length <= METRICS_MAX, `has more than ${METRICS_MAX} metrics`)
    .optional(),
});

/** The body of `POST /v1/jobs/:id/urls`. */
export const urlsBodySchema = z.discriminatedUnion("method", [
  z.strictObject({
    method: z.literal("GET"),
    via: z.enum(["r2", "edge"]).default("r2"),
    keys: z.array(nodeKeySchema).min(1).max(URLS_MAX_KEYS),
    expiresSeconds,
  }),
  z.strictObject({
    method: z.literal("PUT"),
    via: z.literal("r2").default("r2"),
    objects: z
      .array(
        z.strictObject({
          key: nodeKeySchema,
          /** Bytes; signed, so that nothing else can be put. */
          size: z.number().int().min(0).max(PUT_MAX_BYTES),
          contentType: contentTypeSchema,
        }),
      )
      .min(1)
      .max(OUTPUTS_MAX),
    expiresSeconds,
  }),
]);
export type UrlsBody = z.infer<typeof urlsBodySchema>;

/** The body of `POST /v1/jobs/:id/finish`. */
export const finishBodySchema = z.strictObject({
  outcome: z.enum(["done", "failed"]).default("done"),
  /** Outputs that were put; all that were announced, if absent. */
  outputs: z.array(nodeKeySchema).max(URLS_MAX_KEYS).optional(),
});
export type FinishBody = z.infer<typeof finishBodySchema>;
