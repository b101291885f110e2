import type { ByteRange } from "../core/http/range.ts";
import type { Result } from "../core/result.ts";

/**
 * The stores that objects come from and go to. Few mandatory methods; an ability that not every store has is an
 * interface of its own. Keys are whole keys in the bucket. ETags are opaque and without quotes.
 *
 * Failures every adapter uses alike: `object-not-found`, `precondition-failed`, `range-not-satisfiable`. What else can
 * go wrong is named by the adapter (`source-*` by an S3 source, `store-*` by R2).
 */
export interface ObjectReader {
  /** One page in ascending UTF-8 byte order of the keys after `after`; at most `limit` (1 to 1,000, which is the default). */
  list(options: { prefix: string; after: string | null; limit?: number }): Promise<Result<ListPage>>;
  /**
   * What is known without the bytes. An answer to HEAD has no body, so the `object-not-found` of an S3 source rests on
   * the status alone, and may be a proxy's: who would take it for a missing object confirms it by a `get` of one byte,
   * which is `object-not-found` only where S3 says NoSuchKey.
   *
   * With `checksums` the store is asked for those of the whole object, and may have none.
   */
  head(key: string, options?: { checksums?: boolean }): Promise<Result<ObjectInfo>>;
  /**
   * The bytes of `range`, or all; pinned to an ETag by `ifMatch`. The body yields exactly `length` bytes or errors.
   * `checksums` is as for `head`, and means nothing beside a range: what a range comes with may be a part's.
   */
  get(key: string, options?: { range?: ByteRange; ifMatch?: string; checksums?: boolean }): Promise<Result<ObjectBody>>;
}

/** A store that tells in one operation whether an object is still at an ETag, and what is there if it is not. */
export interface Refresher {
  /** The object without a body where it is still at `etag`; else as `get` answers. */
  refresh(key: string, etag: string, range?: ByteRange): Promise<Result<(ObjectInfo & { body: null }) | ObjectBody>>;
}

/** A store that tells the part size a multipart object was uploaded with. */
export interface PartSizeReader {
  /** The length in bytes of part 1, and how many parts there are; null where the store does not tell. */
  firstPart(key: string): Promise<Result<{ bytes: number; parts: number } | null>>;
}

/** A store that keeps tags beside its objects. */
export interface TagReader {
  /** The tags of an object; null where there are none, or the store does not tell them to us. */
  tags(key: string): Promise<Result<Readonly<Record<string, string>> | null>>;
}

/** A store that tells what "folders" there are. */
export interface PrefixReader {
  /**
   * The prefixes that begin with `prefix` and end at the next "/", after `after`, ascending: those that one request
   * tells, and none when there is none after `after` among the next 1,000 keys and prefixes.
   */
  prefixes(options: { prefix: string; after: string | null }): Promise<Result<string[]>>;
}

export interface ObjectWriter {
  /** Writes the whole object or nothing. `md5` or `sha256` (hex; not both) is enforced by the store: `checksum-mismatch`. */
  put(key: string, body: ReadableStream<Uint8Array> | Uint8Array, options: PutOptions): Promise<Result<ObjectInfo>>;
  /** Removes the object; removing nothing succeeds. */
  delete(key: string): Promise<Result<null>>;
}

/** Multipart uploads: all parts of equal size but the last (R2 limits), each at least 5 MiB but the last. */
export interface MultipartWriter {
  createUpload(key: string, metadata: Metadata): Promise<Result<string>>;
  /** Returns the part's ETag. A part sent twice replaces the first. */
  uploadPart(
    key: string,
    uploadId: string,
    partNumber: number,
    body: ReadableStream<Uint8Array> | Uint8Array,
    size: number,
  ): Promise<Result<string>>;
  /**
   * `upload-lost` when there is no such upload or a part is not the one named. Overwrites what is at the key, but for
   * what `onlyIf` says, as of a put, where the store knows conditions here (R2 does not).
   */
  completeUpload(
    key: string,
    uploadId: string,
    parts: readonly { partNumber: number; etag: string }[],
    onlyIf?: PutOptions["onlyIf"],
  ): Promise<Result<ObjectInfo>>;
  /** Aborting an upload that is gone succeeds. */
  abortUpload(key: string, uploadId: string): Promise<Result<null>>;
}

export type ObjectStore = ObjectReader & ObjectWriter & MultipartWriter;

export interface PutOptions extends Metadata {
  size: number;
  md5?: string;
  sha256?: string;
  /** Write only where there is nothing ("absent"), or where the object still has this ETag. */
  onlyIf?: "absent" | { etag: string };
}

export interface Metadata {
  http: HttpMetadata;
  custom: Record<string, string>;
}

/** The representation headers that are stored with an object and carried along. */
export interface HttpMetadata {
  contentType?: string;
  contentEncoding?: string;
  contentLanguage?: string;
  contentDisposition?: string;
  cacheControl?: string;
  /** Milliseconds since 1970. */
  expires?: number;
}

export interface ListedObject {
  key: string;
  /** Bytes. */
  size: number;
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  storageClass?: string;
}

export interface ListPage {
  objects: ListedObject[];
  /** What to pass as `after` for the next page; null at the end. */
  next: string | null;
  /** Entries that say too little of an object to copy it: no size, say. Absent where there are none. */
  malformed?: { key: string; detail: string }[];
}

/** Checksums that the store vouches for, of the whole object. */
export interface Checksums {
  /** Hex. */
  sha256?: string;
  /** As S3 says it: the base64 of eight bytes. */
  crc64nvme?: string;
}

export interface ObjectInfo extends Metadata {
  key: string;
  size: number;
  etag: string;
  lastModified: number;
  /** Hex MD5 of the whole object where the store vouches for it. */
  md5: string | null;
  /** Only where they were asked for and there are any. */
  checksums?: Checksums;
  /** Where it is not the standard one. */
  storageClass?: string;
  /** How many tags it has, where there are any and the store tells. */
  tagCount?: number;
  /** Only where somebody has asked for them. */
  tags?: Readonly<Record<string, string>>;
  /** It is encrypted so that its ETag, though it may look like MD5s, says nothing of its bytes (SSE-KMS, SSE-C). */
  encrypted?: true;
}

export interface ObjectBody extends ObjectInfo {
  offset: number;
  length: number;
  body: ReadableStream<Uint8Array>;
}
