import * as z from "zod";
import { rowSchema } from "../manifest/row.ts";

/**
 * What travels on the queues. A migration's message carries `v`, the migration's id and `seq`, the row of the sender's
 * outbox that is kept until the work is settled: a message that was lost is sent again from there, and a message
 * that arrives twice finds its work settled.
 */
const common = { v: z.literal(1), migration: z.string(), seq: z.number().int() };

/** An object to copy: as the source listed it, and what R2 has at its key. */
export const copyItemSchema = z.strictObject({
  key: z.string(),
  size: z.number().int().nonnegative(),
  etag: z.string(),
  lastModified: z.number(),
  /** R2's ETag at the key when it was listed; null: nothing was there. The put is conditional on it. */
  was: z.string().nullable(),
});
export type CopyItem = z.infer<typeof copyItemSchema>;

export const listMessage = z.strictObject({ ...common, type: z.literal("list"), after: z.string().nullable() });

export const copyMessage = z.strictObject({
  ...common,
  type: z.literal("copy"),
  batch: z.number().int(),
  /** How often these objects were tried before. */
  tries: z.number().int(),
  items: z.array(copyItemSchema),
});

export const uploadMessage = z.strictObject({
  ...common,
  type: z.literal("upload"),
  generation: z.number().int(),
  item: copyItemSchema,
});

const ofUpload = { key: z.string(), generation: z.number().int() };

export const partMessage = z.strictObject({
  ...common,
  ...ofUpload,
  type: z.literal("part"),
  /** Part numbers, both included. */
  first: z.number().int(),
  last: z.number().int(),
});

export const finishMessage = z.strictObject({ ...common, ...ofUpload, type: z.literal("finish") });

/** An upload that its migration gave up, to be aborted so that nothing is billed for it. */
export const abortMessage = z.strictObject({
  ...common,
  type: z.literal("abort"),
  key: z.string(),
  uploadId: z.string(),
});

export const migrationMessage = z.discriminatedUnion("type", [
  listMessage,
  copyMessage,
  uploadMessage,
  partMessage,
  finishMessage,
  abortMessage,
]);
export type MigrationMessage = z.infer<typeof migrationMessage>;
export type ListMessage = z.infer<typeof listMessage>;
export type CopyMessage = z.infer<typeof copyMessage>;
export type UploadMessage = z.infer<typeof uploadMessage>;
export type PartMessage = z.infer<typeof partMessage>;
export type FinishMessage = z.infer<typeof finishMessage>;
export type AbortMessage = z.infer<typeof abortMessage>;

/**
 * An object that a reader missed in R2 and got from the source, to be copied. It belongs to no migration and is in no
 * outbox: where it is lost, the next miss sends another, and the next migration copies the object anyway.
 */
export const throughMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("through"),
  dataset: z.string(),
  datasetId: z.string(),
  /** Relative to the dataset's prefix, as the source spells it. */
  key: z.string().min(1),
  /** The source's, as the reader was told. */
  etag: z.string().min(1),
  size: z.number().int().nonnegative(),
  /** Milliseconds since 1970. */
  lastModified: z.number(),
});
export type ThroughMessage = z.infer<typeof throughMessage>;

/** The writer of what was copied because it was read: the place of a migration's id, on objects and in their rows. */
export const throughWriter = (datasetId: string): string => `through:${datasetId}`;

/** What the migration queue carries. */
export const queuedMessage = z.discriminatedUnion("type", [...migrationMessage.options, throughMessage]);

/** Rows on their way to a Dataset object, and who waits for them to be there. */
export const manifestMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("rows"),
  /** The row of the sender's outbox. */
  seq: z.number().int(),
  dataset: z.string(),
  datasetId: z.string(),
  sender: z.strictObject({ kind: z.enum(["migration", "job"]), id: z.string() }),
  rows: z.array(rowSchema),
});
export type ManifestMessage = z.infer<typeof manifestMessage>;

/** A message before its outbox gives it a `seq`. */
export type Unsent<T> = T extends { seq: number } ? Omit<T, "seq"> : never;
