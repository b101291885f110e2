import { type Failure, failure } from "../core/failure.ts";
import { METADATA_MAX_BYTES } from "../core/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import type { Metadata } from "../ports/object-store.ts";

/**
 * Metadata as the headers of a write to S3.
 *
 * User metadata travels in headers, which are US-ASCII. S3, and R2's S3 API, take RFC 2047 for other text: they decode
 * it before they store it, and encode it again in their answers (Amazon S3 User Guide, "Working with object metadata"; R2's "S3
 * API extensions"). So what came from S3 with such a value, which we keep as S3 said it, goes back as it came, and what was
 * written to R2 by its binding becomes the same text there. Servers that decode nothing keep, and say, the encoded form.
 * Names are lower-case; a byte that no header name may have is percent-encoded.
 *
 * Refused with `metadata-too-large` beyond 8,192 bytes as they are sent: no store takes more, and some end the connection instead
 * of saying so. AWS takes 2 KB of user metadata, and says that itself.
 */
export function formatMetadata({ http, custom }: Metadata): Result<Headers> {
  const headers = new Headers();
  const entries = {
    "content-type": http.contentType,
    "content-encoding": http.contentEncoding,
    "content-language": http.contentLanguage,
    "content-disposition": http.contentDisposition,
    "cache-control": http.cacheControl,
    expires: http.expires === undefined ? undefined : new Date(http.expires).toUTCString(),
  };
  let bytes = 0;
  for (const [name, value] of Object.entries(entries)) {
    if (value === undefined) continue;
    // RFC 9110, section 5.5: control characters in a value are replaced by blanks before it is passed on.
    const line = value.replaceAll(/\p{Cc}/gu, " ");
    headers.set(name, line);
    bytes += utf8(line).length;
  }
  for (const [name, value] of Object.entries(custom)) {
    const line = encodeWords(value);
    const token = encodeName(name);
    // Names that differ in case alone are one: their values are joined by a comma, as S3 itself does.
    headers.append(`x-amz-meta-${token}`, line);
    bytes += token.length + line.length;
  }
  return bytes > METADATA_MAX_BYTES ? fail(tooLarge(bytes)) : ok(headers);
}

const tooLarge = (bytes: number): Failure =>
  failure("metadata-too-large", `Its metadata is ${bytes} bytes; no store takes more than ${METADATA_MAX_BYTES}.`);

/** RFC 9110, section 5.6.2: the characters of a token, but for the capitals. */
const encodeName = (name: string): string =>
  [...utf8(name.toLowerCase())]
    .map((byte) => String.fromCharCode(byte))
    .map((char) =>
      /[a-z0-9!#$&'*+.^_`|~-]/.test(char) ? char : `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
    )
    .join("");

/** RFC 2047, section 2: an encoded word has at most 75 characters, of which 12 are its frame; 45 bytes are 60 in base64. */
const WORD_MAX_BYTES = 45;

/** The value itself where it is printable ASCII that a header brings unchanged; else as RFC 2047's encoded words. */
function encodeWords(value: string): string {
  if (/^(?:[!-~](?:[ -~]*[!-~])?)?$/.test(value)) return value;
  const words: string[] = [];
  let word = "";
  // By code points: a word must not end within a character (RFC 2047, section 5).
  for (const char of value) {
    if (utf8(word + char).length > WORD_MAX_BYTES) {
      words.push(word);
      word = "";
    }
    word += char;
  }
  return [...words, word].map((each) => `=?UTF-8?B?${utf8(each).toBase64()}?=`).join(" ");
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
