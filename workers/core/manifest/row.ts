import * as z from "zod";

/**
 * Why a copied object is believed identical to its source, strongest first:
 * `etag`   the source's multipart ETag came out equal in R2;
 * `sha256`, `crc64nvme`  the source's own checksum of the whole object matched what was computed on the way;
 * `md5`    the source's single-part ETag, enforced by R2 at the put;
 * `parts`  the multipart ETag computed from the parts as they were read equals R2's, and the sizes add up;
 * `size`   nothing better was possible; never called verified.
 */
export const PROOFS = ["etag", "sha256", "crc64nvme", "md5", "parts", "size"] as const;
export const proofSchema = z.enum(PROOFS);
export type Proof = (typeof PROOFS)[number];

export const STAGES = ["acquired", "raw", "processed"] as const;
export type Stage = (typeof STAGES)[number];

/** What is known of one object of a dataset. The key is relative to the dataset's prefix and in Unicode NFC. */
export const rowSchema = z.strictObject({
  key: z.string(),
  /** Bytes. */
  size: z.number().int().nonnegative(),
  /** R2's ETag, which pins the bytes. */
  etag: z.string(),
  /** R2's time of upload, milliseconds since 1970: orders two rows of one key. */
  uploadedAt: z.number(),
  contentType: z.string().nullable(),
  /** Null for an object that no migration copied. */
  proof: proofSchema.nullable(),
  /** The source's ETag and time (milliseconds since 1970) at the copy. */
  sourceEtag: z.string().nullable(),
  sourceModifiedAt: z.number().nullable(),
  /**
   * The migration or job that wrote it; `through:<dataset id>` where a read had it copied, `found:<migration>` where the
   * migration found it there, equal, and none had written it.
   */
  writer: z.string(),
});

export type Row = z.infer<typeof rowSchema>;

/**
 * The stage and category of a key by its first segments: `processed/<category>/...`, `raw/...`, `acquired/...`, or
 * `<category>/...`. Null where the key says nothing.
 */
export function placeOf(key: string): { stage: Stage | null; category: string | null } {
  const segments = key.split("/");
  const folders = segments.slice(0, -1);
  const stage = STAGES.find((name) => name === folders[0]) ?? null;
  return { stage, category: (stage === null ? folders[0] : folders[1]) ?? null };
}
