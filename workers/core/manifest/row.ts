import * as z from "zod";

/**
 * Why a copied object is believed identical to its source, strongest first:
 * `etag`   the source's multipart ETag came out equal in R2;
 * `sha256`, `crc64nvme`  the source's own checksum of the whole object matched what was computed on the way;
 * `md5`    the source's single-part ETag, enforced by R2 at the put;
 * `parts`  the multipart ETag computed from the parts as they were read equals R2's, and the sizes add up;
 * `size`   nothing better was possible; never called verified.
 */
export const PROOFS = ["etag", "sha256", "crc64nvme", "md5", "parts", "size"] as const;
export const proofSchema = z.enum(PROOFS);
export type Proof = (typeof PROOFS)[number];

export const STAGES = ["acquired", "raw", "processed"] as const;
export const stageSchema = z.enum(STAGES);
export type Stage = (typeof STAGES)[number];

/** What is known of one object of a dataset. The key is relative to the dataset's prefix and in Unicode NFC. */
export interface Row {
  key: string;
  /** Bytes. */
  size: number;
  /** R2's ETag, which pins the bytes. */
  etag: string;
  /** R2's time of upload, milliseconds since 1970. */
  uploadedAt: number;
  contentType: string | null;
  contentEncoding: string | null;
  /** Checksums of the whole object, where they are known. Hex; base64 of eight bytes for the CRC, as S3 says it. */
  md5: string | null;
  sha256: string | null;
  crc64nvme: string | null;
  /** Null for an object that no migration copied. */
  proof: Proof | null;
  /** Where it was copied from, `s3://bucket/prefix`, and the key there where it is spelt otherwise than ours. */
  origin: string | null;
  sourceKey: string | null;
  /** The source's ETag, time (milliseconds since 1970), storage class (null: the standard one) and tags at the copy. */
  sourceEtag: string | null;
  sourceModifiedAt: number | null;
  storageClass: string | null;
  tags: Readonly<Record<string, string>> | null;
  /**
   * The migration or job that wrote it; `through:<dataset id>` where a read had it copied, `found:<who>` where it was
   * found in R2 and none had written it: by a migration that met it equal, a notification, or a reconciliation.
   */
  writer: string;
}

/** Where an object stands in its owner's order. */
export interface Place {
  stage: Stage | null;
  category: string | null;
}

/** A row as the manifest keeps it. */
export interface StoredRow extends Row, Place {
  /** Milliseconds since 1970. */
  updatedAt: number;
  /** The dataset's count of changes at the row's last one. */
  seq: number;
}

/** What nobody has said of an object beyond its bytes. */
export const UNKNOWN_ORIGIN = {
  proof: null,
  origin: null,
  sourceKey: null,
  sourceEtag: null,
  sourceModifiedAt: null,
  storageClass: null,
  tags: null,
} as const;

const FOUND = "found:";
export const foundBy = (who: string): string => FOUND + who;
const wasFound = (writer: string): boolean => writer.startsWith(FOUND);

/** Whether a row is only of what was found in R2: nobody knows whether the object was copied, and from where. */
export const isOnlyFound = ({ writer, sourceEtag }: Pick<Row, "writer" | "sourceEtag">): boolean =>
  wasFound(writer) && sourceEtag === null;

/** The MD5 of an object that was put in one piece is its ETag. */
export const md5OfEtag = (etag: string): string | null => (/^[0-9a-f]{32}$/.test(etag) ? etag : null);

/** `s3://bucket/key` of what the row was copied from. */
export const sourceUriOf = ({ origin, sourceKey, key }: Pick<Row, "origin" | "sourceKey" | "key">): string | null =>
  origin === null ? null : origin + (sourceKey ?? key);

/** Who finds a copy of the same source object later may be able to prove less than who made it. */
function strongest(known: Row, said: Row): Proof | null {
  if (known.proof === null || said.proof === null) return said.proof ?? known.proof;
  if (known.sourceEtag !== said.sourceEtag) return said.proof;
  return PROOFS.indexOf(known.proof) <= PROOFS.indexOf(said.proof) ? known.proof : said.proof;
}

/**
 * What two rows of the same bytes (one key, one ETag) say together. What is known is never forgotten for what is not: a
 * notification of our own put, or a later finder, says nothing of proof or origin.
 */
export function mergeRows(known: Row, said: Row): Row {
  // A later copy of the same bytes has a newer origin; whoever merely found them has none.
  const copied = said.origin !== null || said.proof !== null ? said : known;
  const { origin, sourceKey, sourceEtag, sourceModifiedAt, storageClass, tags } = copied;
  return {
    key: known.key,
    size: said.size,
    etag: said.etag,
    uploadedAt: Math.max(known.uploadedAt, said.uploadedAt),
    contentType: said.contentType ?? known.contentType,
    contentEncoding: said.contentEncoding ?? known.contentEncoding,
    md5: said.md5 ?? known.md5,
    sha256: said.sha256 ?? known.sha256,
    crc64nvme: said.crc64nvme ?? known.crc64nvme,
    proof: strongest(known, said),
    origin,
    sourceKey,
    sourceEtag,
    sourceModifiedAt,
    storageClass,
    tags,
    writer: wasFound(said.writer) ? known.writer : said.writer,
  };
}

/**
 * The same where R2 has just shown the object: its metadata may have changed though its bytes have not, and of them R2 knows
 * all, also that there are none.
 */
export const mergeSeen = (known: Row, seen: Row): Row => ({
  ...mergeRows(known, seen),
  contentType: seen.contentType,
  contentEncoding: seen.contentEncoding,
});
