import { type ColumnSource, parquetWriteBuffer } from "hyparquet-writer";
import { modifiedAt } from "../core/manifest/query.ts";
import { sourceUriOf, type StoredRow } from "../core/manifest/row.ts";
import type { Change } from "../core/manifest/version.ts";

type BasicType = NonNullable<ColumnSource["type"]>;

interface Column<T> {
  name: string;
  type: BasicType;
  isNullable: boolean;
  of(row: T): string | bigint | Date | null;
}

const text = <T>(name: string, of: (row: T) => string | null, isNullable = true): Column<T> => ({
  name,
  type: "STRING",
  isNullable,
  of,
});
const time = <T>(name: string, of: (row: T) => number | null, isNullable = true): Column<T> => ({
  name,
  type: "TIMESTAMP",
  isNullable,
  of(row) {
    const at = of(row);
    return at === null ? null : new Date(at);
  },
});
const number = <T>(name: string, of: (row: T) => number | null, isNullable = false): Column<T> => ({
  name,
  type: "INT64",
  isNullable,
  of(row) {
    const value = of(row);
    return value === null ? null : BigInt(value);
  },
});

/** The manifest as a table: the names are those of the JSON, so that one query serves both. */
const ROW: readonly Column<StoredRow>[] = [
  text("key", (row) => row.key, false),
  number("size", (row) => row.size),
  text("etag", (row) => row.etag, false),
  text("md5", (row) => row.md5),
  text("sha256", (row) => row.sha256),
  text("crc64nvme", (row) => row.crc64nvme),
  text("proof", (row) => row.proof),
  text("contentType", (row) => row.contentType),
  text("contentEncoding", (row) => row.contentEncoding),
  text("stage", (row) => row.stage),
  text("category", (row) => row.category),
  text("storageClass", (row) => row.storageClass),
  text("tags", (row) => (row.tags === null ? null : JSON.stringify(row.tags))),
  text("sourceUri", sourceUriOf),
  text("sourceEtag", (row) => row.sourceEtag),
  time("sourceModifiedAt", (row) => row.sourceModifiedAt),
  text("writer", (row) => row.writer, false),
  time("modifiedAt", modifiedAt, false),
  time("uploadedAt", (row) => row.uploadedAt, false),
  time("updatedAt", (row) => row.updatedAt, false),
  number("seq", (row) => row.seq),
];

const CHANGE: readonly Column<Change>[] = [
  text("key", ({ key }) => key, false),
  text("change", ({ before, after }) => (before === null ? "added" : after === null ? "removed" : "changed"), false),
  ...(["before", "after"] as const).flatMap((side): Column<Change>[] => [
    number(`${side}Size`, (change) => change[side]?.size ?? null, true),
    text(`${side}Etag`, (change) => change[side]?.etag ?? null),
    text(`${side}Stage`, (change) => change[side]?.stage ?? null),
    text(`${side}Category`, (change) => change[side]?.category ?? null),
  ]),
];

/** Names and types of the columns, as they are told. */
const shown = (columns: readonly { name: string; type: BasicType; isNullable: boolean }[]) =>
  columns.map(({ name, type, isNullable }) => ({ name, type, nullable: isNullable }));
export const ROW_COLUMNS = shown(ROW);
export const CHANGE_COLUMNS = shown(CHANGE);

/** Rows of a group, where nobody asks for others: what a reader decodes at least. */
const GROUP_ROWS = 5_000;

/** A Parquet file of rows. At most some ten thousand: it is built in memory. */
export const rowsToParquet = (rows: readonly StoredRow[], groupRows = GROUP_ROWS): Uint8Array =>
  write(ROW, rows, groupRows);

/** A Parquet file of what changed from one version to the next. */
export const changesToParquet = (changes: readonly Change[], groupRows = GROUP_ROWS): Uint8Array =>
  write(CHANGE, changes, groupRows);

function write<T>(columns: readonly Column<T>[], rows: readonly T[], rowGroupSize: number): Uint8Array {
  const columnData = columns.map(({ name, type, isNullable, of }): ColumnSource => ({
    name,
    type,
    nullable: isNullable,
    data: rows.map((row) => of(row)),
  }));
  // Whole keys in the statistics: keys have long common beginnings, and engines prune by them.
  const options = { rowGroupSize, statisticsTruncateLength: 1024, createdBy: "penstock" };
  return new Uint8Array(parquetWriteBuffer({ columnData, ...options }));
}
