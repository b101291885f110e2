import { modifiedAt } from "../../core/manifest/query.ts";
import { sourceUriOf, type StoredRow } from "../../core/manifest/row.ts";

const time = (at: number): string => new Date(at).toISOString();

/** An object as the API shows it. Where it came from is told to whoever may read its dataset. */
export const entryOf = (row: StoredRow) => ({
  key: row.key,
  size: row.size,
  etag: row.etag,
  md5: row.md5,
  sha256: row.sha256,
  crc64nvme: row.crc64nvme,
  proof: row.proof,
  contentType: row.contentType,
  contentEncoding: row.contentEncoding,
  stage: row.stage,
  category: row.category,
  storageClass: row.storageClass,
  tags: row.tags,
  sourceUri: sourceUriOf(row),
  sourceEtag: row.sourceEtag,
  sourceModifiedAt: row.sourceModifiedAt === null ? null : time(row.sourceModifiedAt),
  writer: row.writer,
  modifiedAt: time(modifiedAt(row)),
  uploadedAt: time(row.uploadedAt),
  updatedAt: time(row.updatedAt),
  seq: row.seq,
});

export type Entry = ReturnType<typeof entryOf>;

/** An object that is no more, in a listing of changes. */
export const removedOf = ({ key, at, seq }: { key: string; at: number; seq: number }) => ({
  key,
  removed: true,
  removedAt: time(at),
  seq,
});
