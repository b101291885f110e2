import { HEX } from "./hmac.ts";
import { ALGORITHM } from "./canonical.ts";
import { absorb, BLOCK, digestInto, EMPTY, hmacStates, PADDING, viewOf } from "./sha256.ts";

const encoder = new TextEncoder();

/**
 * From a canonical request to its signature: the digest of the request, in the string to sign, under the signing key. What
 * all strings to sign of one time and scope begin with is hashed once.
 *
 * Buffers are used again, so it does not take two texts at once: there is no await within.
 */
export function createTextSigner(key: Uint8Array, time: string, scope: string): (canonicalRequest: string) => string {
  const { inner, outer } = hmacStates(key);
  const beginning = encoder.encode(`${ALGORITHM}\n${time}\n${scope}\n`);
  const whole = beginning.length - (beginning.length % BLOCK);
  const begun = absorb(inner, beginning.subarray(0, whole));
  const rest = beginning.length - whole;

  let request = new Uint8Array(4096);
  const stringToSign = new Uint8Array(rest + 64 + PADDING);
  stringToSign.set(beginning.subarray(whole));
  const innerDigest = new Uint8Array(32 + PADDING);
  const views = { request: viewOf(request), stringToSign: viewOf(stringToSign), innerDigest: viewOf(innerDigest) };
  const words = new Int32Array(8);

  return (canonicalRequest) => {
    // A UTF-16 unit is at most three bytes of UTF-8.
    const room = canonicalRequest.length * 3 + PADDING;
    if (room > request.length) views.request = viewOf((request = new Uint8Array(room)));
    const { written } = encoder.encodeInto(canonicalRequest, request);
    digestInto(words, EMPTY, views.request, written);
    writeHex(words, stringToSign, rest);
    digestInto(words, begun, views.stringToSign, rest + 64);
    for (let at = 0; at < 8; at++) views.innerDigest.setInt32(at * 4, words[at] as number);
    digestInto(words, outer, views.innerDigest, 32);
    return hexOf(words);
  };
}

const DIGITS = encoder.encode("0123456789abcdef");

/** 64 digits of ASCII. */
function writeHex(words: Int32Array, into: Uint8Array, offset: number): void {
  let at = offset;
  for (const word of words)
    for (let shift = 28; shift >= 0; shift -= 4) into[at++] = DIGITS[(word >>> shift) & 15] as number;
}

function hexOf(words: Int32Array): string {
  let text = "";
  for (const word of words) {
    text += `${HEX[word >>> 24]}${HEX[(word >>> 16) & 255]}${HEX[(word >>> 8) & 255]}${HEX[word & 255]}`;
  }
  return text;
}
