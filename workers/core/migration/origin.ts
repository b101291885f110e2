/** The custom metadata that a copied object carries: where it came from. */
export const ORIGIN = {
  /** The migration that wrote it, or `through:<dataset id>` where a read had it copied. */
  migration: "penstock-migration",
  /** The source's ETag; what readers see as the object's ETag. */
  etag: "penstock-source-etag",
  /** The source's Last-Modified, milliseconds since 1970. */
  modifiedAt: "penstock-source-modified",
  /** The source's key, percent-encoded, where R2's differs from it (it is in Unicode NFC). */
  key: "penstock-source-key",
  /** The source's storage class, where it is not the standard one. */
  storageClass: "penstock-source-storage-class",
  /** The source's tags, as `formatTags` writes them, where there are any. */
  tags: "penstock-source-tags",
  /** The source's CRC-64/NVME of the whole, in base64, where the bytes were compared with it. R2 keeps a SHA-256 itself. */
  crc64nvme: "penstock-crc64nvme",
} as const;

/** Where a dataset's objects come from: what its rows name as their origin, with the key behind it. */
export const formatOrigin = (bucket: string, prefix: string): string => `s3://${bucket}/${prefix}`;

/** A storage class as rows have it: null for the standard one, which S3 leaves unsaid in headers, and for what is no name. */
export const rareStorageClass = (said: string | undefined): string | null =>
  said === undefined || said === "STANDARD" || !/^[A-Za-z0-9_-]{1,64}$/.test(said) ? null : said;
