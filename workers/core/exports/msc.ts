import type { StoredRow } from "../manifest/row.ts";

/**
 * The manifest that NVIDIA's Multi-Storage Client reads in place of listing a bucket (`ManifestMetadataProvider`): an index,
 * and parts with a line an object, named relative to the index. Its keys are relative to the base path of the profile that
 * it is for: `<bucket>/<prefix of the dataset>`.
 */
export const MSC_INDEX = "msc_manifest_index.json";

/** @param parts how many there are */
export const formatMscIndex = (parts: number): string =>
  `${JSON.stringify({
    version: "1",
    parts: Array.from({ length: parts }, (_, index) => ({ path: `parts/${partName(index)}` })),
    format: "jsonl",
  })}\n`;

const partName = (index: number): string => `msc_manifest_part${String(index + 1).padStart(6, "0")}.jsonl`;

/** The number of a part, from 0; null for what is no part's name. */
export function parseMscPart(name: string): number | null {
  const digits = /^msc_manifest_part(\d{6,9})\.jsonl$/.exec(name)?.[1];
  if (digits === undefined) return null;
  const index = Number(digits) - 1;
  return index >= 0 && partName(index) === name ? index : null;
}

/** @param modifiedAt RFC 3339. The ETag is R2's own, for the client reads from R2. */
export const formatMscLine = (
  row: Pick<StoredRow, "key" | "size" | "etag" | "contentType">,
  modifiedAt: string,
): string =>
  `${JSON.stringify({
    key: row.key,
    size_bytes: row.size,
    last_modified: modifiedAt,
    ...(row.contentType === null ? {} : { content_type: row.contentType }),
    etag: row.etag,
  })}\n`;
