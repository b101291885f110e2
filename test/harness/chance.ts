/** Mulberry32: numbers in [0, 1) that follow from the seed. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** The seed of this run: the environment's PENSTOCK_SEED, else another one each time. */
export const seedOf = (asked: string | undefined): number =>
  asked === undefined || asked === "" ? Date.now() % 1_000_000 : Number.parseInt(asked, 10);
