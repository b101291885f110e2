/**
 * A plain reference for the URLs of the data plane: percent-decoding and UTF-8 byte by byte (RFC 3986, section 2.1;
 * RFC 3629, section 3), the path segment by segment, and no pattern anywhere.
 */

export type ReferenceTarget =
  | { door: "d"; dataset: string; version: string; key: string; token: string | null }
  | { door: "t"; dataset: string; version: string; key: string; capability: string };

/** What a URL names, or the code under which it is refused. */
export function referenceTarget(url: string): ReferenceTarget | string {
  const { path, query } = takeApart(url);
  const [empty, door, ...segments] = path.split("/");
  if (empty !== "" || (door !== "d" && door !== "t") || segments.length === 0) return "unknown-route";
  const inner = segments.slice(0, -1);
  if (inner.includes("") || segments.some(isDots)) return "invalid-key";

  const capability = door === "t" ? segments.shift() : undefined;
  const place = segments.shift();
  if (place === undefined || place === "") return "unknown-route";
  const [dataset = "", version = "live", ...more] = (decode(place) ?? "").split("@");
  if (!isName(dataset)) return "invalid-name";
  if (more.length > 0 || !isVersion(version)) return "unknown-version";

  const inPath = segments.join("/");
  const inQuery = valuesOf(query, "key");
  if (inQuery.length + (inPath === "" ? 0 : 1) > 1) return "invalid-key";
  const key = decode(inQuery[0] ?? inPath);
  const refused = key === null ? "invalid-key" : referenceKeyRefusal(key);
  if (key === null || refused !== null) return refused ?? "invalid-key";

  const secret = decode(capability ?? valuesOf(query, "token")[0] ?? "");
  if (secret === null) return "invalid-token";
  if (capability !== undefined) return { door: "t", capability: secret, dataset, version, key };
  return { door: "d", dataset, version, key, token: secret === "" ? null : secret };
}

/** Why R2 cannot hold a key; null if it can. */
export function referenceKeyRefusal(key: string): "invalid-key" | "key-too-long" | null {
  if (key === "") return "invalid-key";
  let bytes = 0;
  for (const char of key) {
    const code = char.codePointAt(0) ?? 0;
    if (code === 0 || (code >= 0xd800 && code <= 0xdfff)) return "invalid-key";
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
  }
  return bytes > 1024 ? "key-too-long" : null;
}

/** The path and the query of an absolute URL; both empty when it is none. */
function takeApart(url: string): { path: string; query: string } {
  const scheme = url.indexOf("://");
  if (scheme < 1 || !isScheme(url.slice(0, scheme))) return { path: "", query: "" };
  const [beforeFragment = ""] = url.slice(scheme + 3).split("#");
  const question = beforeFragment.indexOf("?");
  const beforeQuery = question < 0 ? beforeFragment : beforeFragment.slice(0, question);
  const slash = beforeQuery.indexOf("/");
  return {
    path: slash < 0 ? "" : beforeQuery.slice(slash),
    query: question < 0 ? "" : beforeFragment.slice(question + 1),
  };
}

/** The values of a parameter as they are written; a name that only decodes to this one is another. */
function valuesOf(query: string, name: string): string[] {
  if (query === "") return [];
  return query.split("&").flatMap((pair) => {
    const [left, ...rest] = pair.split("=");
    return left === name ? [rest.join("=")] : [];
  });
}

/** Decodes once; null for an escape that is cut short, or bytes that are not UTF-8. */
function decode(text: string): string | null {
  let decoded = "";
  let rest = text;
  while (rest !== "") {
    const [plain = ""] = rest.split("%");
    decoded += plain;
    rest = rest.slice(plain.length);
    if (rest === "") break;
    const lead = byteAt(rest, 0);
    if (lead === null) return null;
    const length = lead < 0x80 ? 1 : lead >> 5 === 0b110 ? 2 : lead >> 4 === 0b1110 ? 3 : lead >> 3 === 0b11110 ? 4 : 0;
    if (length === 0) return null;
    let code = length === 1 ? lead : lead & (0x7f >> length);
    for (let index = 1; index < length; index++) {
      const byte = byteAt(rest, index);
      if (byte === null || byte >> 6 !== 0b10) return null;
      code = code * 64 + (byte & 0x3f);
    }
    const shortest = [0, 0, 0x80, 0x800, 0x1_0000][length] ?? 0;
    if (code < shortest || code > 0x10_ffff || (code >= 0xd800 && code <= 0xdfff)) return null;
    decoded += String.fromCodePoint(code);
    rest = rest.slice(3 * length);
  }
  return decoded;
}

/** The byte of the escape `%XX` with this number at the beginning of the text; null where there is none. */
function byteAt(text: string, index: number): number | null {
  const escape = text.slice(3 * index, 3 * index + 3);
  const digits = [...escape.slice(1)].map((digit) => "0123456789abcdef".indexOf(digit.toLowerCase()));
  const [high = -1, low = -1] = digits;
  return escape.startsWith("%") && high >= 0 && low >= 0 ? high * 16 + low : null;
}

/** `.` or `..`, escaped or not: what a URL parser on the way resolves. */
function isDots(segment: string): boolean {
  return [".", ".."].includes(segment.toLowerCase().split("%2e").join("."));
}

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const DIGITS = "0123456789";

function isName(text: string): boolean {
  const isSpelt = [...text].every((char) => `${LETTERS}${DIGITS}-`.includes(char));
  return isSpelt && text.length >= 1 && text.length <= 63 && !text.startsWith("-");
}

function isVersion(text: string): boolean {
  const isNumber = text !== "" && text.length <= 9 && [...text].every((char) => DIGITS.includes(char));
  return text === "live" || (isNumber && !text.startsWith("0"));
}

function isScheme(text: string): boolean {
  const [first = "", ...rest] = text.toLowerCase();
  return LETTERS.includes(first) && rest.every((char) => `${LETTERS}${DIGITS}+.-`.includes(char));
}
