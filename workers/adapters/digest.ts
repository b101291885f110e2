/** Hex MD5 of bytes. MD5 is no security here: it is what S3's and R2's ETags are made of. */
export async function md5Of(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("MD5", bytes)).toHex();
}

/** Hex SHA-256 of bytes. */
export async function sha256Of(bytes: Uint8Array): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** CRC-64/NVME of bytes as S3 says it: the base64 of eight bytes. */
export async function crc64Of(bytes: Uint8Array): Promise<string> {
  const stream = new crypto.DigestStream("crc64nvme");
  const writer = stream.getWriter();
  await writer.write(bytes);
  await writer.close();
  return new Uint8Array(await stream.digest).toBase64();
}
