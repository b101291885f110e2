import { mix32 } from "./mix.ts";

/** 32-bit words that the order of an epoch hangs on: of them one a round. */
const ROUNDS = 8;
/**
 * Bits of half a number, at least. A network on a few bits reaches few permutations; on 256 numbers, walked until one is in
 * range, a list of three units is shuffled as well as one of a million.
 */
const HALF_BITS_MIN = 4;

/** The order in which the units of an epoch are handed out. */
export interface Order {
  /** The unit at a position; both count from 0, and `position` is below the number of units. Takes constant time. */
  unitAt(position: number): number;
}

/** The text whose SHA-256 makes the key of an epoch's order: seed, epoch and the digest of the unit list, and nothing else. */
export const orderText = (seed: number, epoch: number, listDigest: string): string =>
  `penstock order 1\n${seed}\n${epoch}\n${listDigest}`;

/**
 * A permutation of 0 to `count` - 1 that keeps no list: who knows the key works out any position by itself, so that any
 * number of nodes, and a job that resumes, agree on the order.
 *
 * A balanced Feistel network (Luby and Rackoff, 1988) permutes the numbers of an even number of bits; what falls beyond
 * `count` is put through again until it does not, which permutes what is left ("cycle walking": Black and Rogaway,
 * "Ciphers with Arbitrary Finite Domains", 2002). The numbers are at most four times as many as the units, above 256.
 *
 * @param key eight 32-bit words that look like chance; see `orderText`
 * @param shuffle false: units come in the order of their list
 */
export function createOrder(count: number, key: readonly number[], shuffle: boolean): Order {
  if (!shuffle || count < 2) return { unitAt: (position) => position };
  const halfBits = Math.max(HALF_BITS_MIN, Math.ceil(Math.log2(count) / 2));
  const mask = 2 ** halfBits - 1;
  const words = Array.from({ length: ROUNDS }, (_, round) => mix32((key[round] ?? 0) + round));
  const permute = (number: number): number => {
    let left = number >>> halfBits;
    let right = number & mask;
    for (const word of words) {
      const next = (left ^ mix32(right ^ word)) & mask;
      left = right;
      right = next;
    }
    // At most 20 bits for the million units of a job; 32 would still be exact.
    return ((left << halfBits) | right) >>> 0;
  };
  return {
    unitAt(position) {
      let unit = permute(position);
      while (unit >= count) unit = permute(unit);
      return unit;
    },
  };
}
