import { describe, expect, inject, it } from "vitest";
import { pagesIn, planPageRanges } from "../../workers/core/manifest/page-ranges.ts";
import { randomFrom } from "../harness/chance.ts";

const ranges = (pages: number[], readsMax: number) =>
  planPageRanges(pages, readsMax).map(({ first, end }) => `${first}-${end}`);

describe("the ranges in which pages of an index are read", () => {
  it("join pages beside one another, however they are ordered and repeated", () => {
    expect(ranges([7, 3, 4, 3, 0], 10)).toEqual(["0-1", "3-5", "7-8"]);
    expect(ranges([5], 1)).toEqual(["5-6"]);
    expect(ranges([], 5)).toEqual([]);
  });

  it("are as few as may be, with the smallest gaps read in vain", () => {
    expect(ranges([0, 2, 10, 13, 30], 3)).toEqual(["0-3", "10-14", "30-31"]);
    expect(ranges([0, 2, 10, 13, 30], 2)).toEqual(["0-14", "30-31"]);
    expect(ranges([0, 2, 10, 13, 30], 1)).toEqual(["0-31"]);
  });

  it("hold every page, in their order and apart, and no fewer pages would do with as many reads", () => {
    const random = randomFrom(inject("seed"));
    const roll = (below: number) => Math.floor(random() * below);
    for (let round = 0; round < 300; round++) {
      const pages = Array.from({ length: 1 + roll(8) }, () => roll(40));
      const readsMax = 1 + roll(6);
      const planned = planPageRanges(pages, readsMax);
      expect(planned.length).toBeLessThanOrEqual(readsMax);
      for (const page of pages) expect(planned.filter(({ first, end }) => page >= first && page < end)).toHaveLength(1);
      for (const [index, { first }] of planned.entries()) {
        expect(first).toBeGreaterThan(planned[index - 1]?.end ?? -1);
      }
      expect(pagesIn(planned)).toBe(fewest(pages, readsMax));
    }
  });
});

/** By trying where to cut. */
function fewest(pages: readonly number[], readsMax: number): number {
  const sorted = [...new Set(pages)].toSorted((a, b) => a - b);
  const from = (start: number, reads: number): number => {
    if (start === sorted.length) return 0;
    if (reads === 0) return Number.POSITIVE_INFINITY;
    const sizes = sorted.slice(start).map((last, ahead) => {
      return last - (sorted[start] ?? 0) + 1 + from(start + ahead + 1, reads - 1);
    });
    return Math.min(...sizes);
  };
  return from(0, readsMax);
}
