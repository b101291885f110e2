/**
 * What the benchmark's objects hold. One tile of random bytes, repeated; each key begins somewhere else in it. Its length
 * is a prime, so that bytes from a wrong block, offset or key are never the right ones by accident, and bytes at any
 * offset are compared by memcmp, at a cost that does not show beside what is measured.
 */
const PERIOD = 1_048_573;

let made: Buffer | null = null;

/** The same bytes in every thread and every run. */
function tile(): Buffer {
  if (made !== null) return made;
  const next = randomFrom(1);
  made = Buffer.from(Uint8Array.from({ length: PERIOD }, () => next() * 256));
  return made;
}

/** mulberry32: numbers from 0 to below 1, always the same for a seed. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** FNV-1a: where in the tile an object of this key begins. */
export function shiftOf(key: string): number {
  let hash = 0x811c_9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x0100_0193);
  return (hash >>> 0) % PERIOD;
}

/** The first `size` bytes of the object with this key. */
export function contentOf(key: string, size: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(size);
  const shift = shiftOf(key);
  for (let at = 0; at < size;) at += tile().copy(bytes, at, (shift + at) % PERIOD);
  return bytes;
}

/** Whether these are the bytes at `offset` of the object that begins at `shift`. */
export function isContent(bytes: Buffer, shift: number, offset: number): boolean {
  for (let at = 0; at < bytes.length;) {
    const from = (shift + offset + at) % PERIOD;
    const length = Math.min(PERIOD - from, bytes.length - at);
    if (tile().compare(bytes, at, at + length, from, from + length) !== 0) return false;
    at += length;
  }
  return true;
}
