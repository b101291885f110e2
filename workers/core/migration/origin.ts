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
} as const;
