import { inject } from "vitest";
import { randomFrom } from "../../harness/chance.ts";

/** This run's seed: PENSTOCK_SEED, or another one each time. Tests that use it have it in their names. */
export const SEED = inject("seed");

/** Dice of their own for each test that takes some. */
export const dice = (salt: number): (() => number) => randomFrom(SEED + salt);
