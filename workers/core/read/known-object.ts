import * as z from "zod";
import { ORIGIN } from "../migration/origin.ts";

const knownObject = z.strictObject({
  /** Bytes. */
  size: z.number(),
  /** The store's ETag: pins the bytes. */
  etag: z.string(),
  /** What the client sees: the source's ETag where one was recorded with the copy, so that a copy changes nothing. */
  logicalEtag: z.string(),
  /** Likewise the source's time of change; milliseconds since 1970. */
  lastModified: z.number(),
  /** Whether the two are the source's. */
  isCopy: z.boolean(),
  /** The source's key, percent-encoded, where R2's differs from it; relative to the dataset's prefix. */
  sourceKey: z.string().nullable(),
  /** The stored headers that are replayed. */
  http: z.strictObject({
    contentType: z.string().optional(),
    contentEncoding: z.string().optional(),
    contentLanguage: z.string().optional(),
    contentDisposition: z.string().optional(),
  }),
});

/** What a reader needs to know of an object before its bytes. */
export type KnownObject = z.infer<typeof knownObject>;

/** What an entity tag may consist of (RFC 9110, section 8.8.3), in ASCII. */
const ETAG = /^[\x21\x23-\x7e]{1,256}$/;
/** The last second that an HTTP date can say, in milliseconds since 1970. */
const LAST_DATE = 253_402_300_799_000;

/** Reads what a store tells of an object. */
export function knowObject(info: {
  size: number;
  etag: string;
  lastModified: number;
  http: KnownObject["http"] & object;
  custom: Readonly<Record<string, string>>;
}): KnownObject {
  const { size, etag, lastModified, http, custom } = info;
  const { contentType, contentEncoding, contentLanguage, contentDisposition } = http;
  const origin = custom[ORIGIN.etag] ?? "";
  const isCopy = ETAG.test(origin);
  const modified = custom[ORIGIN.modifiedAt] ?? "";
  const isDated = isCopy && /^\d{1,15}$/.test(modified) && Number(modified) <= LAST_DATE;
  return {
    size,
    etag,
    logicalEtag: isCopy ? origin : etag,
    lastModified: Math.min(Math.max(0, isDated ? Number(modified) : lastModified), LAST_DATE),
    isCopy,
    sourceKey: isCopy ? (custom[ORIGIN.key] ?? null) : null,
    http: {
      ...(contentType === undefined ? {} : { contentType }),
      ...(contentEncoding === undefined ? {} : { contentEncoding }),
      ...(contentLanguage === undefined ? {} : { contentLanguage }),
      ...(contentDisposition === undefined ? {} : { contentDisposition }),
    },
  };
}

/** As ASCII text that a header may carry: the same for each of an object's blocks, and made once. */
export function formatKnownObject(object: KnownObject): string {
  const known = formatted.get(object);
  if (known !== undefined) return known;
  const text = encodeURIComponent(JSON.stringify(object));
  formatted.set(object, text);
  return text;
}
const formatted = new WeakMap<KnownObject, string>();

/** The object that the text tells of; null for what is no such text. */
export function parseKnownObject(text: string): KnownObject | null {
  try {
    return knownObject.safeParse(JSON.parse(decodeURIComponent(text))).data ?? null;
  } catch {
    return null; // Neither percent-encoding nor JSON.
  }
}
