/** What nodes say of their outputs, and how an output is cut into parts. */
import * as z from "zod";
import { type Failure, failure } from "../failure.ts";
import {
  CHECKPOINT_PARTS_MAX,
  HASH_OBJECT_MAX_BYTES,
  LOOKS_MAX,
  OBJECT_MAX_BYTES,
  OUTPUT_MULTIPART_BYTES,
  OUTPUTS_AT_ONCE_MAX,
  PART_MIN_BYTES,
  PART_URLS_MAX,
  PARTS_MAX,
  PUT_MAX_BYTES,
} from "../limits.ts";
import { nameSchema } from "../manifest/dataset.ts";
import { type PartPlan, planParts } from "../migration/parts.ts";
import { fail, ok, type Result } from "../result.ts";
import { contentTypeSchema, expiresSeconds, nodeKeySchema } from "./node-requests.ts";

/** A checkpoint's name; it stands in a path beside `latest`. */
const checkpointNameSchema = nameSchema.refine((name) => name !== "latest", "must be another name than latest");

const keys = z.array(nodeKeySchema).min(1).max(OUTPUTS_AT_ONCE_MAX);
const partNumber = z.number().int().min(1).max(PARTS_MAX);
/** As the store answered, with its quotes or without. */
const etagSchema = z
  .string()
  .max(256)
  .regex(/^"?[\x21\x23-\x7e]+"?$/, "must be the ETag that the part's answer had")
  .transform((text) => text.replaceAll('"', ""));

/** The body of `POST /v1/jobs/:id/outputs`. */
export const outputsBodySchema = z.strictObject({
  outputs: z
    .array(
      z.strictObject({
        key: nodeKeySchema,
        /** Bytes; signed, so that nothing else can be put. */
        size: z.number().int().min(0).max(OBJECT_MAX_BYTES),
        contentType: contentTypeSchema,
        /** Of the whole object; what is put is read and compared before it is committed. */
        sha256: z
          .string()
          .regex(/^[0-9a-f]{64}$/, "must be 64 hex digits in lower case")
          .optional(),
        multipart: z.boolean().optional(),
      }),
    )
    .min(1)
    .max(OUTPUTS_AT_ONCE_MAX),
  checkpoint: checkpointNameSchema.optional(),
  expiresSeconds,
});
export type OutputBody = z.infer<typeof outputsBodySchema>["outputs"][number];

/** The body of `POST /v1/jobs/:id/outputs/parts`. */
export const outputPartsBodySchema = z.strictObject({
  key: nodeKeySchema,
  parts: z.array(partNumber).min(1).max(PART_URLS_MAX),
  expiresSeconds,
});

const partsSchema = z
  .array(z.strictObject({ number: partNumber, etag: etagSchema }))
  .min(1)
  .max(PARTS_MAX);
export type SentParts = z.infer<typeof partsSchema>;

/** The body of `POST /v1/jobs/:id/outputs/commit`. */
export const commitBodySchema = z
  .strictObject({
    outputs: z
      .array(z.strictObject({ key: nodeKeySchema, parts: partsSchema.optional() }))
      .max(OUTPUTS_AT_ONCE_MAX)
      .default([]),
    checkpoint: checkpointNameSchema.optional(),
  })
  .refine(
    ({ outputs, checkpoint }) => checkpoint !== undefined || outputs.length > 0,
    "names outputs, or a checkpoint with those of its outputs that were put in parts",
  );

/** The body of `POST /v1/jobs/:id/outputs/abort`. */
export const abortBodySchema = z
  .strictObject({ keys: keys.optional(), checkpoint: checkpointNameSchema.optional() })
  .refine(
    (body) => (body.keys === undefined) !== (body.checkpoint === undefined),
    "names either keys or one checkpoint",
  );

/** How an output is put: null, in one piece. `partBytes`: of a part, where the size does not ask for larger ones. */
export function planOutput(
  { size, sha256, multipart = size > OUTPUT_MULTIPART_BYTES }: Pick<OutputBody, "size" | "sha256" | "multipart">,
  partBytes: number,
  field: string,
): Result<PartPlan | null> {
  if (sha256 !== undefined && size > HASH_OBJECT_MAX_BYTES) {
    const detail = `${field}.sha256: of more than ${HASH_OBJECT_MAX_BYTES} bytes no SHA-256 is computed; leave it out.`;
    return fail(failure("invalid-body", detail, { field: `${field}.sha256` }));
  }
  if (multipart && size <= PART_MIN_BYTES) {
    const detail = `${field}.multipart: an output of up to ${PART_MIN_BYTES} bytes is put in one piece; leave it out.`;
    return fail(failure("invalid-body", detail, { field: `${field}.multipart` }));
  }
  if (!multipart && size > PUT_MAX_BYTES) {
    const detail = `${field}.multipart: an output of more than ${PUT_MAX_BYTES} bytes goes in parts.`;
    return fail(failure("invalid-body", detail, { field: `${field}.multipart` }));
  }
  return ok(multipart ? planParts(size, { etag: "", firstPart: null }, partBytes) : null);
}

/** Whether these are all parts of an output that is cut into `count`, each once. */
export function checkSentParts(key: string, sent: SentParts, count: number): Failure | null {
  const numbers = new Set(sent.map(({ number }) => number));
  if (numbers.size !== sent.length) return wrongParts(`A part of "${key}" is named twice; name each of ${count} once.`);
  const isOther = sent.some(({ number }) => number > count);
  if (!isOther && numbers.size === count) return null;
  return wrongParts(`"${key}" has ${count} parts; name each of 1 to ${count} with its ETag.`);
}

export const wrongParts = (detail: string): Failure => failure("output-parts", detail, { field: "outputs" });

/**
 * Whether the objects that a commit reads for their SHA-256 are as much as one request may read.
 *
 * @returns null: they are
 */
export function checkHashed(outputs: readonly { size: number; sha256: string | null }[]): Failure | null {
  const bytes = outputs.reduce((sum, { size, sha256 }) => sum + (sha256 === null ? 0 : size), 0);
  if (bytes <= HASH_OBJECT_MAX_BYTES) return null;
  const detail = `${bytes} bytes would be read for their SHA-256, and one request reads ${HASH_OBJECT_MAX_BYTES}: commit fewer outputs at once, and announce large checkpoints without.`;
  return failure("invalid-body", detail, { field: "outputs" });
}

/**
 * Whether looking at these outputs takes no more requests than one invocation has: one each, one more to read it for its
 * SHA-256, and three more to put it together from parts.
 *
 * @param wayOut what to do instead
 * @returns null: it does not
 */
export function checkLooks(
  outputs: readonly { sha256: string | null; partBytes: number | null }[],
  wayOut: string,
): Failure | null {
  const looks = outputs.reduce(
    (sum, { sha256, partBytes }) => sum + 1 + (sha256 === null ? 0 : 1) + (partBytes === null ? 0 : 3),
    0,
  );
  if (looks <= LOOKS_MAX) return null;
  const detail = `${outputs.length} outputs would take ${looks} requests to R2, and one commit makes ${LOOKS_MAX}. ${wayOut}`;
  return failure("invalid-body", detail, { field: "outputs" });
}

/**
 * Whether one commit can name all parts of a checkpoint's outputs.
 *
 * @param wayOut what to do instead
 * @returns null: it can
 */
export function checkNamed(
  outputs: readonly { size: number; partBytes: number | null }[],
  wayOut: string,
): Failure | null {
  const parts = outputs.flatMap(({ size, partBytes }) => (partBytes === null ? [] : [Math.ceil(size / partBytes)]));
  const count = parts.reduce((sum, each) => sum + each, 0);
  if (parts.length <= OUTPUTS_AT_ONCE_MAX && count <= CHECKPOINT_PARTS_MAX) return null;
  const detail = `${parts.length} outputs have ${count} parts, and one commit names ${CHECKPOINT_PARTS_MAX} of up to ${OUTPUTS_AT_ONCE_MAX} outputs. ${wayOut}`;
  return failure("invalid-body", detail, { field: "outputs" });
}
