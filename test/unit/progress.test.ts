import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Pace, progress } from "../../workers/core/migration/status.ts";

const none = { objects: 0, bytes: 0 };
const pace = (more: Partial<Pace>): Pace => ({ seconds: 10, done: none, left: none, listingComplete: true, ...more });

describe("the rate", () => {
  test("is what was done, a second", () => {
    const { rate } = progress(pace({ done: { objects: 50, bytes: 2000 } }));
    expect(rate).toEqual({ objectsPerSecond: 5, bytesPerSecond: 200 });
  });

  test("is nothing before anything was done", () => {
    const { rate } = progress(pace({ left: { objects: 10, bytes: 10 } }));
    expect(rate).toEqual({ objectsPerSecond: 0, bytesPerSecond: 0 });
  });

  test("is a number at the very start, and where a clock went backwards", () => {
    for (const seconds of [0, -5]) {
      const { rate } = progress(pace({ seconds, done: { objects: 1, bytes: 1 } }));
      expect(Number.isFinite(rate.objectsPerSecond) && rate.objectsPerSecond > 0).toBe(true);
    }
  });
});

describe("the time left", () => {
  const left = { objects: 50, bytes: 5000 };

  test("is not told while the listing goes on: nobody knows how much there is", () => {
    const done = { objects: 50, bytes: 5000 };
    expect(progress(pace({ done, left, listingComplete: false })).secondsLeft).toBeNull();
    expect(progress(pace({ done, left: none, listingComplete: false })).secondsLeft).toBeNull();
  });

  test("is not told before anything was done", () => {
    expect(progress(pace({ left })).secondsLeft).toBeNull();
  });

  test("is not told where nothing was done of late: a run that stands still has no end", () => {
    expect(progress(pace({ seconds: 60, done: none, left })).secondsLeft).toBeNull();
  });

  test("is what the rest takes at this rate", () => {
    expect(progress(pace({ done: { objects: 50, bytes: 5000 }, left })).secondsLeft).toBe(10);
  });

  test("goes by the bytes where the large objects are still to come", () => {
    const done = { objects: 90, bytes: 1000 };
    expect(progress(pace({ done, left: { objects: 10, bytes: 9000 } })).secondsLeft).toBe(90);
  });

  test("goes by the objects where the small ones are still to come", () => {
    const done = { objects: 10, bytes: 9000 };
    expect(progress(pace({ done, left: { objects: 90, bytes: 1000 } })).secondsLeft).toBe(90);
  });

  test("goes by the objects alone where only empty ones were done", () => {
    expect(progress(pace({ done: { objects: 50, bytes: 0 }, left })).secondsLeft).toBe(10);
  });

  test("goes by the objects where more bytes came than were listed", () => {
    const done = { objects: 50, bytes: 5000 };
    expect(progress(pace({ done, left: { objects: 25, bytes: -700 } })).secondsLeft).toBe(5);
  });

  test.each<[string, Partial<Pace>]>([
    ["nothing is left", { done: left }],
    ["what is left failed: no object, and its bytes", { done: left, left: { objects: 0, bytes: 9000 } }],
    ["there was nothing at all", {}],
  ])("is none where %s", (_where, more) => {
    expect(progress(pace(more)).secondsLeft).toBe(0);
  });

  test("is never negative, and never anything but a number or unknown, whatever is counted", () => {
    const count = fc.record({ objects: fc.nat(), bytes: fc.nat() });
    const any = fc.record({
      seconds: fc.double({ min: -1000, max: 1e9, noNaN: true }),
      done: count,
      left: fc.record({ objects: fc.integer(), bytes: fc.integer() }),
      listingComplete: fc.boolean(),
    });
    fc.assert(
      fc.property(any, (counted) => {
        const { rate, secondsLeft } = progress(counted);
        const numbers = [rate.objectsPerSecond, rate.bytesPerSecond, secondsLeft ?? 0];
        expect(numbers.every((number) => Number.isFinite(number) && number >= 0)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("shrinks as the work is done at one rate", () => {
    const size = fc.integer({ min: 1, max: 1e6 });
    fc.assert(
      fc.property(size, size, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (objects, bytes, share) => {
        const done = { objects: 10, bytes: 1000 };
        const before = progress(pace({ done, left: { objects, bytes } })).secondsLeft ?? Number.NaN;
        const rest = { objects: objects * share, bytes: bytes * share };
        const after = progress(pace({ done, left: rest })).secondsLeft ?? Number.NaN;
        expect(after).toBeLessThan(before);
      }),
      { numRuns: 500 },
    );
  });
});
