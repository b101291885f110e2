import {
  type AsyncBuffer,
  cachedAsyncBuffer,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from "hyparquet";
import type { SealedFile } from "../../../workers/core/manifest/version.ts";

export interface RangedBucket {
  get(
    key: string,
    options: { range: { offset: number; length: number } },
  ): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>;
}

/** A footer of one of our files is less: the statistics of five groups. */
const FOOTER_BYTES = 64 * 1024;

/**
 * What one would do without an index: the file by the first keys that version.json has, its footer, and by the statistics
 * there the one row group, of which three columns are decoded. What was read is held.
 */
export class ParquetLookup {
  readonly #files: readonly SealedFile[];
  readonly #open: (file: SealedFile) => Promise<{ buffer: AsyncBuffer; metadata: FileMetaData }>;

  constructor(bucket: RangedBucket, files: readonly SealedFile[]) {
    this.#files = files.filter(({ kind }) => kind === "manifest");
    const opened = new Map<string, { buffer: AsyncBuffer; metadata: FileMetaData }>();
    this.#open = async ({ key, bytes }) => {
      const known = opened.get(key);
      if (known !== undefined) return known;
      const slice = async (start: number, end = bytes) => {
        const part = await bucket.get(key, { range: { offset: start, length: end - start } });
        if (part === null) throw new Error(`${key} is not there.`);
        return part.arrayBuffer();
      };
      const buffer = cachedAsyncBuffer({ byteLength: bytes, slice }, { minSize: 0 });
      const metadata = await parquetMetadataAsync(buffer, { initialFetchSize: FOOTER_BYTES });
      opened.set(key, { buffer, metadata });
      return { buffer, metadata };
    };
  }

  async find(key: string): Promise<{ size: number; etag: string } | null> {
    const file = this.#files.findLast(({ groups }) => (groups[0] ?? "") <= key);
    if (file === undefined) return null;
    const { buffer, metadata } = await this.#open(file);
    const [row] = await parquetReadObjects({
      file: buffer,
      metadata,
      columns: ["key", "size", "etag"],
      filter: { key: { $eq: key } },
    });
    return row === undefined ? null : { size: Number(row["size"]), etag: String(row["etag"]) };
  }
}
