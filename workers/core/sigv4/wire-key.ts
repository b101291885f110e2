/**
 * A key as it goes on the wire to an S3 endpoint: each byte outside RFC 3986's unreserved set is percent-encoded, a
 * slash stays a slash. Slashes beside a dot segment become %2F, for `new URL()` would otherwise rewrite the path and
 * another key would be read. S3 signs the decoded key, in which they are the same.
 */
export function encodeWireKey(key: string): string {
  if (PLAIN.test(key) && !(key.includes(".") && DOT_SEGMENT.test(key))) return key;
  const segments = key.split("/");
  return segments
    .map((segment, index) => {
      const next = segments[index + 1];
      const encoded = encodeRfc3986(segment);
      if (next === undefined) return encoded;
      return encoded + (isHazard(segment) || isHazard(next) ? "%2F" : "/");
    })
    .join("");
}

/** Nothing to be encoded. */
const PLAIN = /^[A-Za-z0-9_.~/-]*$/;
const DOT_SEGMENT = /(^|\/)\.{1,2}(\/|$)/;

/** `encodeURIComponent` leaves !'()* alone; RFC 3986, section 2.3, does not list them as unreserved. */
export function encodeRfc3986(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.codePointAt(0)?.toString(16).toUpperCase() ?? ""}`,
  );
}

const isHazard = (segment: string): boolean => segment === "." || segment === "..";
