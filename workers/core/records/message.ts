import * as z from "zod";
import { KINDS } from "./record.ts";

/** Has the next stretch of an object indexed; the index as far as it came is in R2. */
export const recordsMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("records"),
  dataset: z.string(),
  datasetId: z.string(),
  /** Relative to the dataset's prefix. */
  key: z.string(),
  etag: z.string(),
  /** What the caller said of the object; null: its name or its first byte tells. */
  as: z.enum(KINDS).nullable(),
  /** The byte at which the stretch begins: of two messages of one stretch, the later finds that it is done. */
  from: z.number().int().nonnegative(),
});
export type RecordsMessage = z.infer<typeof recordsMessage>;
