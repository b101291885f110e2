/**
 * Where a data URL points, read from the URL as it was sent. `URL` is of no use here: it resolves dot segments, and a
 * key is bytes, not a file name (CLIENTS.md, clause 9). Two doors, each with the key in the path or in the query:
 *
 *     /d/<dataset>[@<version>]/<key>[?token=<token>]       /d/<dataset>[@<version>]?key=<key>
 *     /t/<capability>/<dataset>[@<version>]/<key>          /t/<capability>/<dataset>[@<version>]?key=<key>
 *
 * Every part is percent-decoded once, as strict UTF-8 (RFC 3986, section 2.4). `+` is a plus everywhere, in the query
 * too: this is not a form. A fragment is no part of a request (RFC 9110, section 7.1) and is dropped.
 */

import { failure } from "../failure.ts";
import { KEY_MAX_BYTES } from "../limits.ts";
import { fail, ok, type Result } from "../result.ts";

interface Place {
  readonly dataset: string;
  /** "live", or the number of a sealed version, as digits. */
  readonly version: string;
  readonly key: string;
}

export type DataTarget =
  | (Place & { readonly door: "d"; /** Null when absent or empty. */ readonly token: string | null })
  | (Place & { readonly door: "t"; readonly capability: string });

/** RFC 3986, section 3.1. */
const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;
const DOOR = /^\/[dt]\//;
const DATASET = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** `<number>.files` are the files that a version is kept in, instead of the objects that it names. */
const VERSION = /^(?:live|[1-9][0-9]{0,8}(?:\.files)?)$/;
/**
 * An empty segment within a path, or one that is `.` or `..`, which URL parsers recognise in their escaped form as well
 * (WHATWG URL, "double-dot URL path segment").
 */
const FRAGILE_SEGMENT = /\/(?:\/|(?:\.|%2e){1,2}(?:\/|$))/i;

/** Reads the raw URL of a data request. Every read passes here: it is taken apart by position, and not by one pattern. */
export function parseDataTarget(rawUrl: string): Result<DataTarget> {
  const { path, query } = pathAndQuery(rawUrl);
  if (!DOOR.test(path)) return fail(failure("unknown-route"));
  if (isRewrittenOnTheWay(path)) return refuseKey(WAY_OUT);
  const isCapability = path.startsWith("/t/");
  const placeStart = isCapability ? path.indexOf("/", 3) + 1 : 3;
  const placeEnd = endOf(path, "/", placeStart);
  if (placeStart === 0 || placeStart === placeEnd) return fail(failure("unknown-route"));

  const place = parsePlace(path.slice(placeStart, placeEnd));
  if (!place.ok) return place;
  const key = chooseKey(path.slice(placeEnd + 1), parameters(query, "key"));
  if (!key.ok) return key;

  const bearer = isCapability ? path.slice(3, placeStart - 1) : (parameters(query, "token")[0] ?? "");
  const secret = decodeOnce(bearer);
  if (secret === null) return fail(failure("invalid-token"));
  const { dataset, version } = place.value;
  return isCapability
    ? ok({ door: "t", capability: secret, dataset, version, key: key.value })
    : ok({ door: "d", token: secret === "" ? null : secret, dataset, version, key: key.value });
}

/**
 * The key that a route of the control API ends with, or names by `?key=`, from the raw URL of a request.
 *
 * @param segments of the path before the key
 * @example parseRouteKey("https://h/v1/datasets/era5/records/a%20b", 4) // "a b"
 */
export function parseRouteKey(rawUrl: string, segments: number): Result<string> {
  const { path, query } = pathAndQuery(rawUrl);
  if (isRewrittenOnTheWay(path)) {
    const wayOut =
      'An empty, "." or ".." segment does not survive in a path; name the key by ?key=<percent-encoded>, or write each ' +
      "slash beside such a segment as %2F";
    return refuseKey(wayOut);
  }
  return chooseKey(
    path
      .split("/")
      .slice(segments + 1)
      .join("/"),
    parameters(query, "key"),
  );
}

/** The two parts of an absolute URL as they were sent; both empty for what is none (RFC 3986, appendix B). */
function pathAndQuery(rawUrl: string): { path: string; query: string } {
  const scheme = SCHEME.exec(rawUrl)?.[0];
  if (scheme === undefined) return { path: "", query: "" };
  const fragment = endOf(rawUrl, "#", scheme.length);
  const question = Math.min(endOf(rawUrl, "?", scheme.length), fragment);
  const slash = Math.min(endOf(rawUrl, "/", scheme.length), question);
  return { path: rawUrl.slice(slash, question), query: rawUrl.slice(question + 1, fragment) };
}

/** Where the character is from `start` on, or the end. */
function endOf(text: string, character: string, start: number): number {
  const index = text.indexOf(character, start);
  return index < 0 ? text.length : index;
}

/** A key that R2 can hold and a URL can name; `field` is where the caller wrote it. */
export function checkKey(key: string, field = "key"): Result<string> {
  if (key === "") return refuseKey("The key is empty; name an object", field);
  if (key.includes("\0")) return refuseKey("The key holds a NUL, which no object's key may", field);
  if (!key.isWellFormed()) return refuseKey("The key holds half a surrogate pair, which UTF-8 cannot write", field);
  // A UTF-16 unit is at most three bytes of UTF-8: short keys, which most are, need no encoding.
  if (key.length * 3 > KEY_MAX_BYTES && utf8Length(key) > KEY_MAX_BYTES)
    return fail(failure("key-too-long", undefined, { field }));
  return ok(key);
}

/**
 * The URL under which {@link parseDataTarget} finds `key` again, byte for byte, and which no URL parser on the way
 * rewrites. `base` is everything up to the dataset, without a trailing slash; `key` has passed {@link checkKey}.
 *
 * @example formatDataUrl("https://h/d/era5", "a b/../c") // "https://h/d/era5/a%20b%2F..%2Fc"
 */
export function formatDataUrl(base: string, key: string): string {
  if (isDots(key)) return `${base}?key=${key}`;
  const segments = key.split("/");
  const last = segments.length - 1;
  const path = segments.map((segment, index) => {
    const before = segments[index - 1];
    if (before === undefined) return encodeURIComponent(segment);
    // An empty last segment is a trailing slash, which survives.
    const fragile = before === "" || isDots(before) || isDots(segment) || (segment === "" && index < last);
    return (fragile ? "%2F" : "/") + encodeURIComponent(segment);
  });
  return `${base}/${path.join("")}`;
}

/** Bytes of the text in UTF-8. */
export function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length;
}

const WAY_OUT =
  'An empty, "." or ".." segment does not survive in a path; address the key as /d/<dataset>?key=<percent-encoded> ' +
  "(or /t/<capability>/<dataset>?key=<percent-encoded>), or write each slash beside such a segment as %2F";

/** Whether a proxy, a client or the platform may have changed the path, or would: then the key is anybody's guess. */
function isRewrittenOnTheWay(path: string): boolean {
  return FRAGILE_SEGMENT.test(path);
}

function parsePlace(segment: string): Result<Omit<Place, "key">> {
  const text = decodeOnce(segment) ?? "";
  const at = text.indexOf("@");
  const [dataset, version] = at < 0 ? [text, "live"] : [text.slice(0, at), text.slice(at + 1)];
  if (!DATASET.test(dataset)) {
    const rule = "A dataset's name is 1 to 63 of a-z, 0-9 and -, and does not begin with -";
    return fail(failure("invalid-name", rule, { field: "dataset" }));
  }
  if (!VERSION.test(version)) {
    return fail(failure("unknown-version", "A version is live, or a number from 1", { field: "version" }));
  }
  return ok({ dataset, version });
}

function chooseKey(inPath: string, inQuery: readonly string[]): Result<string> {
  const [fromQuery, ...others] = inQuery;
  if (others.length > 0 || (fromQuery !== undefined && inPath !== "")) {
    return refuseKey("The key is named more than once; name it in the path or by one ?key=");
  }
  const key = decodeOnce(fromQuery ?? inPath);
  if (key === null) return refuseKey("The key's percent-encoding is not UTF-8; encode a literal % as %25");
  return checkKey(key);
}

/** The raw values of a query parameter, in order. */
function parameters(query: string, name: string): string[] {
  if (query === "") return [];
  const pairs = query.split("&").map((pair) => (pair.includes("=") ? pair : `${pair}=`));
  return pairs.filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1));
}

/** `decodeURIComponent` is strict: it refuses overlong forms, surrogates and escapes cut short (RFC 3629, section 3). */
function decodeOnce(text: string): string | null {
  if (!text.includes("%")) return text.isWellFormed() ? text : null;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function isDots(segment: string): boolean {
  return segment === "." || segment === "..";
}

function refuseKey(detail: string, field = "key"): Result<never> {
  return fail(failure("invalid-key", detail, { field }));
}
