import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { progress } from "../../workers/core/migration/status.ts";

type Counts = Parameters<typeof progress>[1];

const none = { objects: 0, bytes: 0 };
const counts = (more: Partial<Counts>): Counts => ({
  listed: none,
  copied: none,
  skipped: none,
  failedObjects: 0,
  listingComplete: true,
  ...more,
});

describe("the rate", () => {
  test("is what was copied, a second since the start; what was skipped is no speed", () => {
    const { rate } = progress(
      10_000,
      counts({
        listed: { objects: 1000, bytes: 9000 },
        copied: { objects: 50, bytes: 2000 },
        skipped: { objects: 900, bytes: 7000 },
      }),
    );
    expect(rate).toEqual({ objectsPerSecond: 5, bytesPerSecond: 200 });
  });

  test("is nothing before anything was copied", () => {
    expect(progress(5000, counts({ listed: { objects: 10, bytes: 10 } })).rate).toEqual({
      objectsPerSecond: 0,
      bytesPerSecond: 0,
    });
  });

  test("is a number at the very start", () => {
    const { rate } = progress(0, counts({ listed: { objects: 1, bytes: 1 }, copied: { objects: 1, bytes: 1 } }));
    expect(Number.isFinite(rate.objectsPerSecond)).toBe(true);
  });
});

describe("the time left", () => {
  const listed = { objects: 100, bytes: 10_000 };

  test("is not told while the listing goes on: nobody knows how much there is", () => {
    const copied = { objects: 50, bytes: 5000 };
    expect(progress(10_000, counts({ listed, copied, listingComplete: false })).secondsLeft).toBeNull();
    expect(progress(10_000, counts({ listed: copied, copied, listingComplete: false })).secondsLeft).toBeNull();
  });

  test("is not told before anything was copied", () => {
    expect(progress(10_000, counts({ listed })).secondsLeft).toBeNull();
    expect(progress(10_000, counts({ listed, skipped: { objects: 10, bytes: 1000 } })).secondsLeft).toBeNull();
  });

  test("is what the rest takes at the rate so far", () => {
    const copied = { objects: 50, bytes: 5000 };
    expect(progress(10_000, counts({ listed, copied })).secondsLeft).toBe(10);
  });

  test("goes by the bytes where the large objects are still to come", () => {
    const copied = { objects: 90, bytes: 1000 };
    expect(progress(10_000, counts({ listed, copied })).secondsLeft).toBe(90);
  });

  test("goes by the objects where the small ones are still to come", () => {
    const copied = { objects: 10, bytes: 9000 };
    expect(progress(10_000, counts({ listed, copied })).secondsLeft).toBe(90);
  });

  test("goes by the objects alone where only empty ones were copied", () => {
    const copied = { objects: 50, bytes: 0 };
    expect(progress(10_000, counts({ listed, copied })).secondsLeft).toBe(10);
  });

  test("leaves out what was skipped and what failed", () => {
    const copied = { objects: 20, bytes: 2000 };
    const skipped = { objects: 60, bytes: 6000 };
    const { secondsLeft } = progress(10_000, counts({ listed, copied, skipped, failedObjects: 20 }));
    expect(secondsLeft).toBe(0);
    expect(progress(10_000, counts({ listed, copied, skipped })).secondsLeft).toBe(10);
  });

  test.each<[string, Partial<Counts>]>([
    ["everything was copied", { listed, copied: listed }],
    ["everything was skipped", { listed, skipped: listed }],
    ["everything failed", { listed, failedObjects: 100 }],
    ["there is nothing", {}],
  ])("is none when %s", (_when, more) => {
    expect(progress(10_000, counts(more)).secondsLeft).toBe(0);
  });

  test("is never negative, and never anything but a number or unknown, whatever is counted", () => {
    const count = fc.record({ objects: fc.nat(), bytes: fc.nat() });
    const any = fc.record({
      listed: count,
      copied: count,
      skipped: count,
      failedObjects: fc.nat(),
      listingComplete: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.integer({ min: -1000, max: 1e9 }), any, (elapsedMs, counted) => {
        const { rate, secondsLeft } = progress(elapsedMs, counted);
        const numbers = [rate.objectsPerSecond, rate.bytesPerSecond, secondsLeft ?? 0];
        expect(numbers.every((number) => Number.isFinite(number) && number >= 0)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});
