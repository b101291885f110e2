import type { Result } from "../core/result.ts";

/**
 * What a sealed version says of its keys. It never changes: an answer may be remembered for good. (The moving head,
 * `live`, has no resolver: there a read itself teaches what is at the key.)
 */
export interface VersionResolver {
  /** What is sealed at the key, relative to the dataset's prefix and in Unicode NFC; `object-not-found` for no such key. */
  resolve(key: string): Promise<Result<SealedObject>>;
}

export interface SealedObject {
  /** Bytes. */
  size: number;
  /** R2's ETag, without quotes: the bytes that were sealed are the ones at this ETag, and no others are served. */
  etag: string;
}
