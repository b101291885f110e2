import { expect, test } from "vitest";
import { jobBodySchema } from "../../workers/core/jobs/request.ts";
import { likelyFit } from "../../workers/core/jobs/units/likely-fit.ts";

const { units } = jobBodySchema.parse({ name: "a", dataset: "era5@1", input: { keys: ["a"] } });
const fit = (count: number, parts: number, listBytes: number, shuffle = true) =>
  likelyFit({ unitList: { count, bytes: 0, digest: "", parts, listBytes }, units: { ...units, shuffle } });
const [KB, MB] = [1024, 1024 * 1024];

test("as many units are asked for as fit one answer: by their parts, and by the pages of the list that are read for them", () => {
  expect(fit(100, 100_000, 6 * MB)).toBe(4);
  expect(fit(100, 300, 100 * KB)).toBe(1334);
  // Of a million small ones in a shuffled order each is on a page of its own.
  expect(fit(1_000_000, 1_000_000, 60 * MB)).toBe(128);
  expect(fit(1_000_000, 1_000_000, 60 * MB, false)).toBeGreaterThan(1000);
  // Each with more than a page.
  expect(fit(100, 1000, 100 * MB)).toBe(8);
});

test("one unit is always asked for, and all where nothing is known of the list", () => {
  expect(fit(1, 1000, MB)).toBe(4);
  expect(fit(2, 2000, 40 * MB)).toBe(1);
  const unitList = { count: 10, bytes: 0, digest: "" };
  expect(likelyFit({ unitList, units })).toBeGreaterThan(1000);
});
