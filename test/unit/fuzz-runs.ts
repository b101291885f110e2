/**
 * How many generated cases each of the pure modules of the read path is compared on, on every run of the tests: a million
 * together, most of them where a case is cheap. Seeds are new each time; fast-check prints the seed of what fails.
 */
export const RUNS = {
  rangeFields: 150_000,
  spans: 120_000,
  tagLists: 110_000,
  conditions: 110_000,
  dates: 110_000,
  urls: 160_000,
  urlsOfKeys: 40_000,
  keys: 60_000,
  storedHeaders: 60_000,
  scopes: 60_000,
  tokens: 20_000,
} as const;

/** Milliseconds: a guard against a hang, far above what a slow machine takes. */
export const PATIENCE = 300_000;

/** As it stands in the name of a test. */
export const count = (runs: number): string => runs.toLocaleString("en");
