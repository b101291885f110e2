/**
 * Compares two keys by their UTF-8 bytes, the order of S3 and R2 listings.
 *
 * UTF-8 bytes order as code points do. JavaScript compares UTF-16 units, where surrogates (0xD800 to 0xDFFF), which
 * stand for code points above U+FFFF, come before U+E000 to U+FFFF: so units from 0xD800 up are rotated.
 */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);

/**
 * The first key after all keys that begin with the prefix, in UTF-8 order: its last code point, one up. Null where
 * there is no end: the empty prefix.
 */
export function prefixEnd(prefix: string): string | null {
  const points = Array.from(prefix, (char) => char.codePointAt(0) ?? 0);
  while (points.at(-1) === 0x10ffff) points.pop();
  const last = points.pop();
  if (last === undefined) return null;
  // The surrogates are no code points of their own.
  return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
}
