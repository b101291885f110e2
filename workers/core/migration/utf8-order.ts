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
