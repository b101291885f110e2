import { parseCrc64 } from "../migration/crc64.ts";
import { ORIGIN, rareStorageClass } from "../migration/origin.ts";
import { parseTags } from "../migration/tags.ts";
import { foundBy, type Row, UNKNOWN_ORIGIN } from "./row.ts";

/** What R2 tells of an object: its own metadata, and what stands in the user's. */
export interface Stored {
  size: number;
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  /** Hex. */
  md5: string | null;
  checksums?: { sha256?: string; crc64nvme?: string };
  http: { contentType?: string; contentEncoding?: string };
  custom: Readonly<Record<string, string>>;
}

/**
 * The row of an object that was found in R2: what R2 itself vouches for. The user's metadata say nothing here, though they
 * may look like those of a copy: whoever may put objects can write them, and a tool that copies or edits an object keeps them.
 *
 * @param key relative to the dataset's prefix, in NFC
 * @param finder who found it
 */
export function rowOfFound(key: string, { checksums, http, ...stored }: Stored, finder: string): Row {
  return {
    key,
    size: stored.size,
    etag: stored.etag,
    uploadedAt: stored.lastModified,
    contentType: http.contentType ?? null,
    contentEncoding: http.contentEncoding ?? null,
    md5: stored.md5,
    sha256: checksums?.sha256 ?? null,
    crc64nvme: checksums?.crc64nvme ?? null,
    ...UNKNOWN_ORIGIN,
    writer: foundBy(finder),
  };
}

/**
 * The row of a copy of ours, with what the copy left in the metadata. Only for who knows that the object is one: because it
 * has just put it, or has found it where nobody else puts.
 *
 * @param writer who made it, where the metadata do not say: a copy that was found may be of another of ours
 */
export function rowOfCopy(key: string, stored: Stored, writer: string): Omit<Row, "proof" | "origin"> {
  const { custom } = stored;
  const found = rowOfFound(key, stored, writer);
  const modifiedAt = Number(custom[ORIGIN.modifiedAt]);
  const spelt = custom[ORIGIN.key];
  const crc64nvme = custom[ORIGIN.crc64nvme];
  const tags = custom[ORIGIN.tags];
  return {
    ...found,
    crc64nvme: found.crc64nvme ?? (crc64nvme === undefined || parseCrc64(crc64nvme) === null ? null : crc64nvme),
    sourceKey: spelt === undefined ? null : decoded(spelt),
    sourceEtag: custom[ORIGIN.etag] ?? null,
    sourceModifiedAt: isTime(modifiedAt) && custom[ORIGIN.modifiedAt] !== undefined ? modifiedAt : null,
    storageClass: rareStorageClass(custom[ORIGIN.storageClass]),
    tags: tags === undefined ? null : parseTags(tags),
    writer: custom[ORIGIN.migration] ?? writer,
  };
}

/** What a `Date` can be (ECMAScript, 21.4.1.1). */
const isTime = (milliseconds: number): boolean => Math.abs(milliseconds) <= 8.64e15;

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
