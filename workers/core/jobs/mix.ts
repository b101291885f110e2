/**
 * Mixes 32 bits so that each bit of the answer hangs on each bit of the question: the finaliser of MurmurHash3 (Austin
 * Appleby, public domain). One to one, and no cipher: who knows a few answers can work out the question.
 */
export function mix32(word: number): number {
  let mixed = word | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}
