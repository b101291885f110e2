import { METADATA_MAX_BYTES } from "../limits.ts";
import { storeKey } from "./join.ts";
import { ORIGIN } from "./origin.ts";
import { formatTags, type Tags } from "./tags.ts";

/** What is stored with an object beside its bytes. */
interface Metadata {
  http: Readonly<Partial<Record<HttpField, string>>> & { readonly expires?: number };
  custom: Readonly<Record<string, string>>;
}
type HttpField = "contentType" | "contentEncoding" | "contentLanguage" | "contentDisposition" | "cacheControl";

/** What a copy's metadata is made of. */
interface Origin extends Metadata {
  /** The source's. */
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
  /** Where it is not the standard one. */
  storageClass?: string;
  tags?: Tags;
}

/**
 * What is stored with a copy: the source's own metadata, and where the copy came from. What few objects have (storage
 * class, checksum, tags) goes along as far as there is room: no copy is refused for it.
 *
 * @param key as the source spells it, relative to the prefix
 * @param writer the migration's id, or `through:<dataset id>`
 * @param crc64nvme the source's, in base64, where the copy is only made if its bytes have it
 */
export function metadataOfCopy<T extends Origin>(
  from: T,
  key: string,
  writer: string,
  crc64nvme?: string,
): { http: T["http"]; custom: Record<string, string> } {
  const copy = {
    // R2 would guess a Content-Type where none is given.
    http: { contentType: "application/octet-stream", ...from.http },
    custom: {
      // A bucket that Penstock filled once names another origin.
      ...Object.fromEntries(Object.entries(from.custom).filter(([name]) => !name.startsWith("penstock-"))),
      [ORIGIN.migration]: writer,
      [ORIGIN.etag]: from.etag,
      [ORIGIN.modifiedAt]: String(from.lastModified),
      ...(storeKey(key) === key ? {} : { [ORIGIN.key]: encodeURIComponent(key) }),
    },
  };
  const { storageClass, tags } = from;
  if (storageClass !== undefined) addWithin(copy, ORIGIN.storageClass, storageClass);
  if (crc64nvme !== undefined) addWithin(copy, ORIGIN.crc64nvme, crc64nvme);
  if (tags !== undefined) addWithin(copy, ORIGIN.tags, formatTags(tags));
  return copy;
}

/** Adds an entry if R2 takes the metadata with it. */
function addWithin(
  { http, custom }: { http: Metadata["http"]; custom: Record<string, string> },
  name: string,
  value: string,
) {
  const bytes = metadataBytes({ http, custom }) + name.length + value.length;
  if (bytes <= METADATA_MAX_BYTES) custom[name] = value;
}

/** Bytes of metadata as R2 counts them towards its 8,192: names and values of the user's, values of HTTP's. */
export function metadataBytes({ custom, http }: Metadata): number {
  const text = [...Object.entries(custom).flat(), ...Object.values(http).map(String)].join("");
  return ASCII.test(text) ? text.length : new TextEncoder().encode(text).length;
}

/** One byte a character: the printable ones of ASCII. */
const ASCII = /^[ -~]*$/;
