import * as z from "zod";
import { md5OfEtag, proofSchema, type Row } from "../manifest/row.ts";

/**
 * What travels on the queues. A migration's message carries `v`, the migration's id and `seq`, the row of the sender's
 * outbox that is kept until the work is settled: a message that was lost is sent again from there, and a message
 * that arrives twice finds its work settled.
 *
 * Lists of objects travel as tuples: names of fields, five hundred times, would be half of a message, and a message is
 * billed by 64 KB.
 */
const common = { v: z.literal(1), migration: z.string(), seq: z.number().int() };

/** An object to copy: as the source listed it, and what R2 has at its key. */
export interface CopyItem {
  key: string;
  /** Bytes. */
  size: number;
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  /** R2's ETag at the key when it was listed; null: nothing was there. The put is conditional on it. */
  was: string | null;
}

const copyItemSchema = z
  .tuple([z.string(), z.number().int().nonnegative(), z.string(), z.number(), z.string().nullable()])
  .transform(([key, size, etag, lastModified, was]): CopyItem => ({ key, size, etag, lastModified, was }));
type SentItem = z.input<typeof copyItemSchema>;

/** A copy item as it travels. */
export const sentItem = ({ key, size, etag, lastModified, was }: CopyItem): SentItem => [
  key,
  size,
  etag,
  lastModified,
  was,
];

/** A page of the listing, or several one after the other: the keys in (after, end]; null is the start, or no end. */
export const listMessage = z.strictObject({
  ...common,
  type: z.literal("list"),
  after: z.string().nullable(),
  end: z.string().nullable(),
});

/**
 * The next keys of a list of keys: from byte `offset` of its object, which is still at `etag` (null: nothing of it was read);
 * `file` names one of a report's.
 */
export const keysMessage = z.strictObject({
  ...common,
  type: z.literal("keys"),
  file: z.string().nullable(),
  offset: z.number().int().nonnegative(),
  etag: z.string().nullable(),
});

const itemsOf = {
  ...common,
  /** How often these objects were tried before. */
  tries: z.number().int(),
  items: z.array(copyItemSchema),
};

export const copyMessage = z.strictObject({ ...itemsOf, type: z.literal("copy") });

/** Objects to read back and compare with what the source says of them. */
export const readMessage = z.strictObject({ ...itemsOf, type: z.literal("read") });

/** Objects in R2 that the source has no more, at the ETag that a migration gave them. */
export const deleteMessage = z.strictObject({
  ...common,
  type: z.literal("delete"),
  items: z.array(z.tuple([z.string(), z.string()]).transform(([key, etag]) => ({ key, etag }))),
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

/** The end of the report: what no page and no batch has written. */
export const reportMessage = z.strictObject({ ...common, type: z.literal("report") });

export const migrationMessage = z.discriminatedUnion("type", [
  listMessage,
  keysMessage,
  copyMessage,
  readMessage,
  deleteMessage,
  uploadMessage,
  partMessage,
  finishMessage,
  abortMessage,
  reportMessage,
]);
export type MigrationMessage = z.infer<typeof migrationMessage>;
/** As it is sent: with tuples. */
export type SentMigrationMessage = z.input<typeof migrationMessage>;
export type ListMessage = z.infer<typeof listMessage>;
export type KeysMessage = z.infer<typeof keysMessage>;
export type CopyMessage = z.infer<typeof copyMessage>;
export type ReadMessage = z.infer<typeof readMessage>;
export type DeleteMessage = z.infer<typeof deleteMessage>;
export type UploadMessage = z.infer<typeof uploadMessage>;
export type PartMessage = z.infer<typeof partMessage>;
export type FinishMessage = z.infer<typeof finishMessage>;
export type AbortMessage = z.infer<typeof abortMessage>;
export type ReportMessage = z.infer<typeof reportMessage>;

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

const index = z.number().int().nonnegative();
const sentRow = z.tuple([
  z.string(), // key
  z.number().int().nonnegative(), // size
  z.string(), // etag
  z.number(), // uploadedAt
  index.nullable(), // contentType, in `words`
  proofSchema.nullable(),
  z.union([z.string(), z.literal(0)]).nullable(), // sourceEtag; 0: it is the etag
  z.number().nullable(), // sourceModifiedAt
  index, // writer, in `words`
  // Left out where there is nothing behind.
  index.nullable().default(null), // origin, in `words`
  // What few objects have; left out where there is nothing.
  z
    .strictObject({
      contentEncoding: z.string(),
      md5: z.string(),
      sha256: z.string(),
      crc64nvme: z.string(),
      sourceKey: z.string(),
      storageClass: z.string(),
      tags: z.record(z.string(), z.string()),
    })
    .partial()
    .default({}),
]);
type SentRow = z.input<typeof sentRow>;

/** Rows on their way to a Dataset object, and who waits for them to be there. */
export const manifestMessage = z
  .strictObject({
    v: z.literal(1),
    type: z.literal("rows"),
    /** The row of the sender's outbox. */
    seq: z.number().int(),
    dataset: z.string(),
    datasetId: z.string(),
    sender: z.strictObject({ kind: z.enum(["migration", "job"]), id: z.string() }),
    /** Of a checkpoint: by this name no version is sealed while some of its messages are settled and others not. */
    hold: z.string().optional(),
    /** Content types, writers and origins, which many rows share. */
    words: z.array(z.string()),
    rows: z.array(sentRow),
  })
  .transform(({ words, rows, ...message }) => ({ ...message, rows: rows.map((row) => rowFrom(row, words)) }));
export type ManifestMessage = z.output<typeof manifestMessage>;
export type SentManifestMessage = z.input<typeof manifestMessage>;

/** Rows as they travel. */
export function sentRows(rows: readonly Row[]): Pick<SentManifestMessage, "words" | "rows"> {
  const words = new Map<string, number>();
  const indexOf = (word: string | null): number | null => {
    if (word === null) return null;
    const known = words.get(word);
    if (known === undefined) words.set(word, words.size);
    return known ?? words.size - 1;
  };
  const sent = rows.map((row): SentRow => {
    const head = [
      row.key,
      row.size,
      row.etag,
      row.uploadedAt,
      indexOf(row.contentType),
      row.proof,
      row.sourceEtag === row.etag ? 0 : row.sourceEtag,
      row.sourceModifiedAt,
      indexOf(row.writer) ?? 0,
    ] as const;
    const origin = indexOf(row.origin);
    const details = rare(row);
    if (details !== null) return [...head, origin, details];
    return origin === null ? [...head] : [...head, origin];
  });
  return { words: [...words.keys()], rows: sent };
}

/** What few rows say, null where it is nothing. The MD5 goes without saying where it is the ETag. */
function rare(row: Row): NonNullable<SentRow[10]> | null {
  const { contentEncoding, sha256, crc64nvme, sourceKey, storageClass, tags } = row;
  const md5 = row.md5 === md5OfEtag(row.etag) ? null : row.md5;
  const said = Object.entries({ contentEncoding, md5, sha256, crc64nvme, sourceKey, storageClass, tags }).filter(
    ([, value]) => value !== null,
  );
  return said.length === 0 ? null : Object.fromEntries(said);
}

function rowFrom(row: z.output<typeof sentRow>, words: readonly string[]): Row {
  const [key, size, etag, uploadedAt, type, proof, sourceEtag, sourceModifiedAt, writer, origin, details] = row;
  const wordAt = (at: number | null) => (at === null ? null : (words[at] ?? null));
  return {
    key,
    size,
    etag,
    uploadedAt,
    contentType: wordAt(type),
    contentEncoding: details.contentEncoding ?? null,
    md5: details.md5 ?? md5OfEtag(etag),
    sha256: details.sha256 ?? null,
    crc64nvme: details.crc64nvme ?? null,
    proof,
    origin: wordAt(origin),
    sourceKey: details.sourceKey ?? null,
    sourceEtag: sourceEtag === 0 ? etag : sourceEtag,
    sourceModifiedAt,
    storageClass: details.storageClass ?? null,
    tags: details.tags ?? null,
    writer: wordAt(writer) ?? "",
  };
}

/** A message before its outbox gives it a `seq`. */
export type Unsent<T> = T extends { seq: number } ? Omit<T, "seq"> : never;
