import * as z from "zod";
import type { Proof, Row, Stage } from "./row.ts";

/** Of a version's making: `sealing` goes on by itself; what failed is another number's work. */
export const VERSION_STATES = ["sealing", "sealed", "failed"] as const;
export type VersionState = (typeof VERSION_STATES)[number];

/** Names that move from version to version; none that could be taken for a number or for the head. */
export const aliasSchema = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be 1 to 63 of a-z, 0-9 and "-", and begin with a letter')
  .refine((name) => name !== "live", 'must not be "live", which is the moving head');

/** How a caller names a version: the moving head, a number, or an alias. */
export type VersionName = { kind: "live" } | { kind: "number"; number: number } | { kind: "alias"; alias: string };

export function parseVersionName(text: string): VersionName | null {
  if (text === "live") return { kind: "live" };
  if (/^[1-9]\d{0,8}$/.test(text)) return { kind: "number", number: Number(text) };
  return aliasSchema.safeParse(text).success ? { kind: "alias", alias: text } : null;
}

/** The body of `POST /v1/datasets/:dataset/versions`. */
export const sealBodySchema = z.strictObject({
  note: z.string().max(1000).default(""),
  /** Moved to the version once it is sealed. */
  aliases: z.array(aliasSchema).max(10).default([]),
});
export type SealBody = z.infer<typeof sealBodySchema>;

/** How many objects there are, and their bytes. */
export interface VersionCounts {
  objects: number;
  bytes: number;
  stages: Partial<Record<Stage | "none", { objects: number; bytes: number }>>;
  proofs: Partial<Record<Proof, number>>;
}

/** One version, as it is told. Times are RFC 3339. */
export interface VersionInfo extends VersionCounts {
  number: number;
  state: VersionState;
  /** Why it failed. */
  problem: string | null;
  note: string;
  /** The dataset's count of changes at the moment that was sealed. */
  seq: number;
  /** The version before it; null for the first. */
  parent: number | null;
  createdAt: string;
  sealedAt: string | null;
  aliases: string[];
  /** Keys of the consolidated metadata that were made, and why others were not. */
  derived: string[];
  warnings: string[];
}

/** A Parquet file of a version: the objects, or the changes since its parent. */
export interface SealedFile {
  kind: "manifest" | "changes";
  /** Its key in the SYSTEM bucket. */
  key: string;
  rows: number;
  bytes: number;
  etag: string;
  sha256: string;
  /** The first key of each row group, exact: Parquet's own statistics may be cut. */
  groups: string[];
  lastKey: string;
}

/** A document that we made: served under `key` by the edge, and kept elsewhere. */
export interface Derived {
  key: string;
  stored: string;
  size: number;
  etag: string;
  /** The ETag of the original at the key; null where there is none. */
  original: string | null;
}

/** What it takes to look a key up. */
export interface SealedIndex {
  number: number;
  /** Hex. */
  salt: string;
  pages: number;
  key: string;
  etag: string;
  bytes: number;
  derived: Derived[];
}

/** What an object is at one moment, for a diff. */
export type DiffSide = Pick<Row, "size" | "etag"> & { stage: string | null; category: string | null };

/** One change from a version to the next. */
export interface Change {
  key: string;
  before: DiffSide | null;
  after: DiffSide | null;
}

/** What readers may get of a version's own files, by name. */
export function filesOf(
  datasetId: string,
  {
    info,
    files,
    index,
    document,
  }: {
    info: { number: number };
    files: readonly SealedFile[];
    index: SealedIndex | null;
    document: { bytes: number; etag: string; sha256: string } | null;
  },
): Map<string, { size: number; etag: string; sha256: string | null; key: string }> {
  const folder = versionFolder(datasetId, info.number);
  const named = files.map(({ key, bytes, etag, sha256 }) => ({
    key,
    size: bytes,
    etag,
    sha256: sha256 as string | null,
  }));
  if (index !== null) named.push({ key: index.key, size: index.bytes, etag: index.etag, sha256: null });
  if (document !== null)
    named.push({ key: `${folder}version.json`, size: document.bytes, etag: document.etag, sha256: document.sha256 });
  return new Map(named.map((file) => [file.key.slice(folder.length), file]));
}

/** Where a version is kept in the SYSTEM bucket. */
export const versionFolder = (datasetId: string, number: number): string => `datasets/${datasetId}/versions/${number}/`;
