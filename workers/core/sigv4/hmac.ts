/** Signs data with the key that it was made with. */
export type Sign = (data: Uint8Array) => Promise<Uint8Array>;

/**
 * The only cryptography that the pure core may know; `adapters/web-hmac.ts` implements it.
 *
 * A key is imported once and used many times: importing it anew for each of 10,000 URLs costs more than signing them.
 */
export interface Hmac {
  /** SHA-256 (FIPS 180-4): 32 bytes. */
  sha256(data: Uint8Array): Promise<Uint8Array>;
  /** HMAC-SHA-256 (RFC 2104) under `key`, which must not be empty: WebCrypto refuses an empty key. */
  hmacKey(key: Uint8Array): Promise<Sign>;
}

/** The two digits of each byte. */
export const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower-case hexadecimal, as SigV4 and SHA-256 digests are written. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}
