import type { Row } from "../../../workers/core/manifest/row.ts";

/** Rows that are put in one call, as a message of the queue has them, and chunks in a folder. */
export const BATCH_ROWS = 1000;
export const FOLDER_ROWS = 1000;
/** Of ten rows one has a stage: the others are the chunks of an array. */
const CHUNKS_OF_TEN = 9;
/** Files of a category in one stage; the first is its `dataset.json`. */
const CATEGORY_FILES = 100;
const STAGES = ["processed", "raw", "acquired"] as const;
const UPLOADED_AT = Date.UTC(2026, 9, 1);

export const NAMED = "dataset.json";

/** Rows of a corpus of so many, by index; the same each time, in Node and in workerd. */
export const chunksOf = (rows: number): number => Math.floor((rows * CHUNKS_OF_TEN) / 10);

/** Ascending within the chunks and within each stage's files. */
export function keyAt(index: number, rows: number): string {
  const staged = index - chunksOf(rows);
  if (staged < 0) return `${folderAt(Math.floor(index / FOLDER_ROWS))}${digits(index % FOLDER_ROWS, 3)}/0`;
  const group = Math.floor(staged / CATEGORY_FILES);
  const file = staged % CATEGORY_FILES;
  const name = file === 0 ? NAMED : `part-${digits(file, 5)}.jsonl`;
  return `${STAGES[group % STAGES.length] ?? ""}/${categoryAt(Math.floor(group / STAGES.length))}/${name}`;
}

export const folderAt = (folder: number): string => `t2m/c/${digits(folder, 4)}/`;
export const categoryAt = (category: number): string => `category-${digits(category, 5)}`;
/** Categories that have their `dataset.json` in the first stage. */
export const categoriesOf = (rows: number): number =>
  Math.max(1, Math.floor((rows - chunksOf(rows)) / CATEGORY_FILES / STAGES.length));

/** As a migration writes it. */
export function rowAt(index: number, rows: number): Row {
  const etag = hex(index);
  return {
    key: keyAt(index, rows),
    size: 4096 + (index % 61_440),
    etag,
    uploadedAt: UPLOADED_AT + index,
    contentType: "application/octet-stream",
    contentEncoding: null,
    md5: etag,
    sha256: null,
    crc64nvme: null,
    proof: "md5",
    origin: "s3://bench/cubes/era5/",
    sourceKey: null,
    sourceEtag: etag,
    sourceModifiedAt: UPLOADED_AT - index,
    storageClass: null,
    tags: null,
    writer: "mig_01bench",
  };
}

/** Of the changes from the first version to the second, spread over all keys. */
export interface Changes {
  readonly added: readonly Row[];
  readonly placed: readonly string[];
  readonly removed: readonly string[];
}

/** Changes from the first version to the second: a page of them. */
export const changesIn = (rows: number): number => Math.max(1, Math.min(1000, Math.floor(rows / 10)));

/** Not the first file of a category, by which a name is resolved. */
const changedAt = (change: number, rows: number): number => change * Math.floor(rows / changesIn(rows)) + 1;
export const isChanged = (index: number, rows: number): boolean =>
  (index - 1) % Math.floor(rows / changesIn(rows)) === 0;

/** Four tenths are added, three placed anew and three removed. */
export function changesOf(rows: number): Changes {
  const tenths = Array.from({ length: changesIn(rows) }, (_, at) => ({
    row: rowAt(changedAt(at, rows), rows),
    tenth: at % 10,
  }));
  const of = (from: number, upTo: number) =>
    tenths.filter(({ tenth }) => tenth >= from && tenth < upTo).map(({ row }) => row);
  return {
    added: of(0, 4).map((row) => ({ ...row, key: `${row.key}.added` })),
    placed: of(4, 7).map(({ key }) => key),
    removed: of(7, 10).map(({ key }) => key),
  };
}

const digits = (value: number, length: number): string => String(value).padStart(length, "0");

/** 32 hex digits that look like an MD5: four rounds of MurmurHash3's finaliser. */
function hex(seed: number): string {
  let text = "";
  for (let word = 1; word <= 4; word++) {
    let bits = (seed * 4 + word) | 0;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    text += ((bits ^ (bits >>> 16)) >>> 0).toString(16).padStart(8, "0");
  }
  return text;
}
