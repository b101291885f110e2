/**
 * The headers on every data answer, from what is stored with the object.
 *
 * Whoever wrote the object chose its metadata, and the object is served from our origin. So stored values are replayed
 * only when they are field values at all, and nothing stored can run: `nosniff` keeps the type what it says, the
 * sandbox gives a document no origin, and a type that browsers execute or render as markup is a download.
 */

/** The part of R2's HTTP metadata that is replayed. A stored `Cache-Control` is not: caching follows the version. */
export interface StoredHeaders {
  readonly contentType?: string | undefined;
  readonly contentEncoding?: string | undefined;
  readonly contentLanguage?: string | undefined;
  readonly contentDisposition?: string | undefined;
}

export interface DataHeaderOptions {
  /** How long the answer may be kept, such as `private, max-age=60`; `no-transform` is added here if it is missing. */
  readonly cacheControl: string;
}

/** What an object is when nobody said (RFC 9110, section 8.3). */
const DEFAULT_TYPE = "application/octet-stream";

/** What no object has a say in. */
const FIXED: readonly (readonly [string, string])[] = [
  ["X-Content-Type-Options", "nosniff"],
  ["Content-Security-Policy", "sandbox; default-src 'none'"],
  ["Cross-Origin-Resource-Policy", "cross-origin"],
  ["Referrer-Policy", "no-referrer"],
  ["Accept-Ranges", "bytes"],
];

/** Names and values, each name once, ready for `Headers`. */
export function dataHeaders(stored: StoredHeaders, options: DataHeaderOptions): [string, string][] {
  const type = fieldValue(stored.contentType) ?? DEFAULT_TYPE;
  const disposition = fieldValue(stored.contentDisposition);
  const replayed: readonly (readonly [string, string | undefined])[] = [
    ["Content-Type", type],
    ["Content-Encoding", fieldValue(stored.contentEncoding)],
    ["Content-Language", fieldValue(stored.contentLanguage)],
    ["Content-Disposition", isActive(type) ? asAttachment(disposition) : disposition],
    ["Cache-Control", untransformed(options.cacheControl)],
  ];
  const present = replayed.flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, value]]));
  return [...FIXED.map(([name, value]): [string, string] => [name, value]), ...present];
}

/** Visible Latin-1, blanks and tabs (RFC 9110, section 5.5): no CR, LF, NUL or other control, nothing past one byte. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]+$/;

/** The value without the blanks around it; undefined when it is empty or cannot stand in a header. */
function fieldValue(text: string | undefined): string | undefined {
  const value = text !== undefined && FIELD_VALUE.test(text) ? text.trim() : "";
  return value === "" ? undefined : value;
}

/** Markup, scripts, and containers of either: what a browser may run or render with links and forms. */
const ACTIVE_TYPES: readonly RegExp[] = [
  /^text\/html$/,
  /^(?:text|application)\/(?:xml|xsl)$/,
  /^image\/svg$/,
  /^[^/]+\/.*\+xml$/,
  // The JavaScript types of WHATWG MIME Sniffing, section 4.6, with their versions and synonyms.
  /^(?:text|application)\/(?:x-)?(?:java|ecma|j|live)script[\d.]*$/,
  /^multipart\//,
];

/**
 * Looks at every word of the field, not at the first alone: given `text/plain, text/html` browsers follow the last
 * (WHATWG Fetch, "extract a MIME type"), and some end a type at a blank or a bracket. A false alarm costs a download.
 */
function isActive(contentType: string): boolean {
  const words = contentType.toLowerCase().split(/[\s,;(]+/);
  return words.some((word) => ACTIVE_TYPES.some((type) => type.test(word)));
}

const TOKEN = "[!#$%&'*+.^_`|~0-9a-z-]+";
const QUOTED = '"(?:[^"\\\\]|\\\\.)*"';
const PARAMETER = new RegExp(`;[ \\t]*(${TOKEN})[ \\t]*=[ \\t]*(${QUOTED}|${TOKEN})[ \\t]*`, "giy");

/**
 * `attachment`, with the file's name if the stored disposition gives one (RFC 6266, section 4.1). Parameters that do
 * not parse to the last character are dropped together: half-understood ones are how a browser is talked out of it.
 */
function asAttachment(stored = ""): string {
  const semicolon = stored.indexOf(";");
  if (semicolon < 0) return "attachment";
  const text = stored.endsWith(";") ? stored.slice(semicolon, -1) : stored.slice(semicolon);

  const parameters = [...text.matchAll(PARAMETER)];
  if (parameters.map(([whole]) => whole).join("") !== text) return "attachment";
  const names = parameters.filter(([, name = ""]) => /^filename\*?$/i.test(name));
  return ["attachment", ...names.map(([, name = "", value = ""]) => `${name.toLowerCase()}=${value}`)].join("; ");
}

/** Stored bytes are what the ETag and the ranges are about, so no cache on the way may change them (RFC 9111, 5.2.2.6). */
function untransformed(cacheControl: string): string {
  return /\bno-transform\b/i.test(cacheControl) ? cacheControl : `${cacheControl}, no-transform`;
}
