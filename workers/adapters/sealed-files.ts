import { type AsyncBuffer, type FileMetaData, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { failure } from "../core/failure.ts";
import type { SealedFile } from "../core/manifest/version.ts";
import { compareUtf8 } from "../core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { damaged } from "./index-pages.ts";
import { createR2Store } from "./r2-store.ts";
import { WeighedMemo } from "./weighed-memo.ts";

/** A group's rows as they are in the file: a record of columns each. */
export type Records = readonly Readonly<Record<string, unknown>>[];

/**
 * What this isolate keeps of files, which never change: their footers, and groups as they were decoded. Together they have
 * 16 MiB of its 128 MB, which is some two groups of 5,000 rows.
 */
const KEPT_BYTES = 16 * 1024 * 1024;
const kept = new WeighedMemo<FileMetaData | Records>(KEPT_BYTES);
/** Bytes from a file's end in which its footer is looked for first. */
const FOOTER_BYTES = 64 * 1024;
/** Of a footer in memory, a column of one group: measured, with statistics of short keys. */
const COLUMN_FOOTER_BYTES = 6 * 1024;

const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** hyparquet's own take U+FEFF away where a text begins with it, and a key may. */
const PARSERS = { stringFromBytes: (bytes: Uint8Array) => text.decode(bytes) };

/** A row group of one of the files of a version. */
export interface Group {
  file: SealedFile;
  /** Its number in the file. */
  index: number;
  firstKey: string;
}

/** The groups of a version's files of one kind, ascending by key. */
export const groupsOf = (files: readonly SealedFile[], kind: SealedFile["kind"]): Group[] =>
  files
    .filter((file) => file.kind === kind)
    .flatMap((file) => file.groups.map((firstKey, index) => ({ file, index, firstKey })));

/**
 * Reads the rows of one group, pinned to the ETag of the file as it was sealed: R2's word that its bytes are those.
 *
 * @param columns the only ones to be read; such a group is not kept
 */
export async function readGroup(
  env: Env,
  { file, index }: Group,
  columns: string[] | null = null,
): Promise<Result<Records>> {
  const name = `${file.key}?etag=${file.etag}`;
  const held = kept.get(`${name}&group=${index}`) as Records | null;
  if (held !== null) return ok(held);
  const buffer = bufferOf(env, file);
  try {
    const metadata = (kept.get(name) as FileMetaData | null) ?? (await readFooter(buffer, name));
    const before = metadata.row_groups.slice(0, index).reduce((sum, { num_rows }) => sum + Number(num_rows), 0);
    const rows = Number(metadata.row_groups[index]?.num_rows ?? 0);
    const options = { file: buffer, metadata, parsers: PARSERS, rowStart: before, rowEnd: before + rows };
    const read = await parquetReadObjects(columns === null ? options : { ...options, columns });
    if (columns === null) kept.set(`${name}&group=${index}`, read, bytesOf(read));
    return ok(read);
  } catch (error) {
    if (error instanceof Unreadable) return fail(damaged(error.failure, file.key));
    return fail(failure("version-damaged", `"${file.key}" cannot be read as Parquet: ${String(error).slice(0, 200)}`));
  }
}

async function readFooter(buffer: AsyncBuffer, name: string): Promise<FileMetaData> {
  const metadata = await parquetMetadataAsync(buffer, { initialFetchSize: FOOTER_BYTES });
  const columns = metadata.row_groups.reduce((sum, group) => sum + group.columns.length, 0);
  kept.set(name, metadata, metadata.metadata_length + columns * COLUMN_FOOTER_BYTES);
  return metadata;
}

/** The file as a reader of Parquet wants it. What R2 does not give is thrown as `Unreadable`. */
function bufferOf(env: Env, file: SealedFile): AsyncBuffer {
  const store = createR2Store(env.SYSTEM);
  return {
    byteLength: file.bytes,
    async slice(start, end = file.bytes) {
      const range = { kind: "bounded" as const, start, end: end - 1 };
      const got = await store.get(file.key, { range, ifMatch: file.etag });
      if (!got.ok) throw new Unreadable(got.failure);
      const bytes = await new Response(got.value.body).arrayBuffer().catch(() => null);
      if (bytes?.byteLength === got.value.length) return bytes;
      const detail = `R2 broke off in the middle of "${file.key}"; ask again.`;
      throw new Unreadable(failure("store-unavailable", detail));
    },
  };
}

/** Of decoded rows, what they take in memory, near enough: an object with its fields, and what each holds. */
function bytesOf(records: Records): number {
  let bytes = 0;
  for (const record of records) {
    bytes += 64;
    for (const value of Object.values(record)) {
      bytes += 8;
      if (typeof value === "string") bytes += 16 + value.length;
      else if (value instanceof Date) bytes += 96;
      else if (typeof value === "bigint") bytes += 24;
    }
  }
  return bytes;
}

class Unreadable extends Error {
  readonly failure;
  constructor(problem: ReturnType<typeof failure>) {
    super(problem.detail);
    this.failure = problem;
  }
}

/** The last group that begins at the key or before it: what follows the key begins there. */
export function lastFrom(groups: readonly Group[], key: string): number {
  let [low, high] = [0, groups.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareUtf8(groups[middle]?.firstKey ?? "", key) <= 0) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
