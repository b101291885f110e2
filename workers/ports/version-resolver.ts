import type { Result } from "../core/result.ts";

/**
 * What a sealed version says of its keys. It never changes: an answer may be remembered for good. (The moving head,
 * `live`, has no resolver: there a read itself teaches what is at the key.)
 */
export interface VersionResolver {
  /**
   * What is sealed at the key, relative to the dataset's prefix and in Unicode NFC; `object-not-found` for no such key.
   * `original`: the object itself, and not a document that we made of its folder's metadata, which is served in its place to
   * whoever may read all that it tells of.
   */
  resolve(key: string, original?: boolean): Promise<Result<SealedObject>>;
  /**
   * What is sealed at each of many keys, in their order; null where nothing is. Costs what the index's pages cost that they
   * are on, each once; `too-many-keys` where that is more than it may be.
   */
  resolveMany(keys: readonly string[], options?: LookUp): Promise<Result<(SealedObject | null)[]>>;
}

export interface LookUp {
  /** Of the key at this place of the list; false unless given. */
  original?: (index: number) => boolean;
  /** What it may cost, unless it may cost what fits one request of a client. */
  most?: { requests: number; pages: number };
}

export interface SealedObject {
  /** Bytes. */
  size: number;
  /** R2's ETag, without quotes: the bytes that were sealed are the ones at this ETag, and no others are served. */
  etag: string;
  /** The key in the SYSTEM bucket of a document that we made, which is served under the object's key. */
  document?: string;
}
