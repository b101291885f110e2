import { describe, expect, test } from "vitest";
import { type Progress, RATE_SLOT_MS, RATE_SLOTS, rateOf, rateSpan, timeLeft } from "../../workers/core/jobs/pace.ts";

const progress = (more: Partial<Progress> = {}): Progress => ({
  ...{ epoch: 0, epochs: 3, units: 100, done: 40, leased: 8, waiting: 42, failed: 10 },
  ...more,
});
const rate = (unitsPerSecond: number) => ({ unitsPerSecond, bytesPerSecond: 0 });

describe("the span of a rate", () => {
  test("is the last five minutes of slots that are over", () => {
    const now = 1000 * RATE_SLOT_MS + 7;
    expect(rateSpan(now, 0)).toEqual({ from: 1000 - RATE_SLOTS, until: 1000, seconds: 300 });
  });

  test("begins with the first node that was heard, and is one slot at least", () => {
    const began = 100 * RATE_SLOT_MS + 4000;
    expect(rateSpan(began + 1000, began)).toEqual({ from: 100, until: 100, seconds: 10 });
    expect(rateSpan(103 * RATE_SLOT_MS, began)).toEqual({ from: 100, until: 103, seconds: 26 });
  });
});

test("a rate is a number even of no time at all", () => {
  expect(rateOf({ units: 10, bytes: 50 }, 5)).toEqual({ unitsPerSecond: 2, bytesPerSecond: 10 });
  expect(Number.isFinite(rateOf({ units: 1, bytes: 1 }, 0).unitsPerSecond)).toBe(true);
});

describe("the time left", () => {
  test("is that of the units that are neither done nor given up, and of the epochs after this one", () => {
    expect(timeLeft(progress(), rate(2))).toEqual({ epoch: 25, job: 125 });
    expect(timeLeft(progress({ epoch: 2 }), rate(2))).toEqual({ epoch: 25, job: 25 });
  });

  test("is nothing when all is done, at any rate", () => {
    expect(timeLeft(progress({ epoch: 2, done: 90 }), rate(0))).toEqual({ epoch: 0, job: 0 });
  });

  test("is not told while nothing is done, or where nothing is handed out", () => {
    expect(timeLeft(progress(), rate(0))).toEqual({ epoch: null, job: null });
    expect(timeLeft(null, rate(5))).toEqual({ epoch: null, job: null });
  });
});
