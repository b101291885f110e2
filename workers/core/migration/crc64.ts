/**
 * CRC-64/NVME, S3's default checksum of a whole object: polynomial 0xAD93D23594C93659, reflected, all ones in and out
 * (NVM Express NVM Command Set Specification 1.0, section 5.2.1.3.4; check value of "123456789": 0xAE8B14860A799888).
 *
 * Only the combining is here; the bytes are hashed by the runtime (`DigestStream`). A CRC is linear, so that of A followed by B is
 * that of A, shifted by B's length in zero bytes, XOR that of B. Shifting is multiplying by x^(8 · length) modulo the
 * polynomial, as in zlib's `crc32_combine`: the power by squaring, some 64 steps for each bit of the length.
 */
const POLYNOMIAL = 0x9a6c9329ac4bc9b5n; // bit-reversed: the top bit is x^0
const ONE = 1n << 63n;

/** A stretch of an object, in bytes, and its CRC. */
export interface Crc64Part {
  crc: bigint;
  length: number;
}

/** The CRC of A followed by B, from theirs and B's length in bytes. */
export const combineCrc64 = (crcA: bigint, crcB: bigint, lengthB: number): bigint =>
  multiply(shiftOf(lengthB), crcA) ^ crcB;

/** The CRC of stretches one after the other; that of nothing is 0. Equal lengths are shifted by one power, found once. */
export function combineCrc64Parts(parts: Iterable<Crc64Part>): bigint {
  const shifts = new Map<number, bigint>();
  let whole = 0n;
  for (const { crc, length } of parts) {
    const shift = shifts.get(length) ?? shiftOf(length);
    shifts.set(length, shift);
    whole = multiply(shift, whole) ^ crc;
  }
  return whole;
}

/** Reads `x-amz-checksum-crc64nvme`: the base64 of eight bytes, the highest first. Null for anything else. */
export function parseCrc64(base64: string): bigint | null {
  if (!/^[A-Za-z0-9+/]{11}=$/.test(base64)) return null;
  const bytes = [...atob(base64)].map((char) => BigInt(char.charCodeAt(0)));
  return bytes.reduce((value, byte) => (value << 8n) | byte, 0n);
}

export function formatCrc64(crc: bigint): string {
  const bytes = Array.from({ length: 8 }, (_, index) => Number((crc >> BigInt(56 - 8 * index)) & 0xffn));
  return btoa(String.fromCharCode(...bytes));
}

/** x^(8 · length) modulo the polynomial. */
function shiftOf(length: number): bigint {
  let power = ONE;
  let square = ONE >> 8n; // x^8
  for (let left = BigInt(length); left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) power = multiply(square, power);
    square = multiply(square, square);
  }
  return power;
}

/** The product of two polynomials over GF(2), modulo the polynomial. */
function multiply(a: bigint, b: bigint): bigint {
  let product = 0n;
  let multiple = b;
  for (let bit = ONE; bit > 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) product ^= multiple;
    multiple = (multiple & 1n) === 1n ? (multiple >> 1n) ^ POLYNOMIAL : multiple >> 1n;
  }
  return product;
}
