import { storeKey } from "./join.ts";
import { ORIGIN } from "./origin.ts";

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
}

/**
 * What is stored with a copy: the source's own metadata, and where the copy came from.
 *
 * @param key as the source spells it, relative to the prefix
 * @param writer the migration's id, or `through:<dataset id>`
 */
export function metadataOfCopy<T extends Origin>(
  from: T,
  key: string,
  writer: string,
): { http: T["http"]; custom: Record<string, string> } {
  return {
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
}

/** Bytes of metadata as R2 counts them towards its 8,192: names and values of the user's, values of HTTP's. */
export function metadataBytes({ custom, http }: Metadata): number {
  const text = [...Object.entries(custom).flat(), ...Object.values(http).map(String)].join("");
  return ASCII.test(text) ? text.length : new TextEncoder().encode(text).length;
}

/** One byte a character: the printable ones of ASCII. */
const ASCII = /^[ -~]*$/;
