/** Hex MD5 of bytes. MD5 is no security here: it is what S3's and R2's ETags are made of. */
export async function md5Of(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("MD5", bytes)).toHex();
}
