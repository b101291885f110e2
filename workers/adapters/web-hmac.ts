/** WebCrypto behind the core's ports. Runs in workerd and in Node 24, which share `crypto.subtle`. */
import { type Hmac, toHex } from "../core/sigv4/hmac.ts";

const HMAC_SHA256 = { name: "HMAC", hash: "SHA-256" };

const encoder = new TextEncoder();

export const webHmac: Hmac = {
  async sha256(data) {
    return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  },
  async hmacKey(key) {
    const imported = await crypto.subtle.importKey("raw", key, HMAC_SHA256, false, ["sign"]);
    return async (data) => new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
  },
};

/** The lower-case hex SHA-256 of a text's UTF-8 bytes: how API tokens are listed in the configuration. */
export async function sha256Hex(text: string): Promise<string> {
  return toHex(await webHmac.sha256(encoder.encode(text)));
}

/** HKDF-SHA256 (RFC 5869) with an empty salt: 32 bytes for the purpose that `info` names. */
export async function hkdf(master: Uint8Array, info: string): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", master, "HKDF", false, ["deriveBits"]);
  const algorithm = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: encoder.encode(info) };
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, 256));
}

/**
 * Whether two digests are equal, in a time that tells nothing of where they differ. Only their length shows, so give it
 * values of a fixed length: MACs, or the SHA-256 of what is compared. (`crypto.subtle.timingSafeEqual` is workerd's
 * alone.)
 */
export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (const [index, byte] of a.entries()) difference |= byte ^ (b[index] ?? 0);
  return difference === 0;
}
