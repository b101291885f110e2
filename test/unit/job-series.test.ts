import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Extent,
  extentOf,
  FIRST_SLOT_MS,
  formatSaid,
  joined,
  joinedSaid,
  parseSaid,
  samplesOf,
  type Slot,
  slotOf,
  widened,
  widthFor,
} from "../../workers/core/jobs/series.ts";
import { SERIES_SLOTS_MAX } from "../../workers/core/limits.ts";

const DAY = 86_400_000;

describe("what a heartbeat adds", () => {
  test("is each number that it has, and nothing for a loss of null", () => {
    expect(samplesOf({ step: 3, loss: null, metrics: { "grad/norm": 0.5 } })).toEqual([
      ["step", 3],
      ["grad/norm", 0.5],
    ]);
    expect(samplesOf({})).toEqual([]);
    expect(samplesOf({ step: 0, epoch: 0, loss: 0 }).map(([name]) => name)).toEqual(["step", "epoch", "loss"]);
  });
});

describe("the width of a slot", () => {
  test("doubles when the time no longer fits, to the millisecond", () => {
    const fits = FIRST_SLOT_MS * SERIES_SLOTS_MAX;
    expect(widthFor(FIRST_SLOT_MS, fits - 1)).toBe(FIRST_SLOT_MS);
    expect(widthFor(FIRST_SLOT_MS, fits)).toBe(2 * FIRST_SLOT_MS);
    expect(widthFor(2 * FIRST_SLOT_MS, 0)).toBe(2 * FIRST_SLOT_MS);
  });

  test("of the longest job is twenty minutes or so", () => {
    expect(widthFor(FIRST_SLOT_MS, 7 * DAY)).toBe(1_280_000);
  });

  test("has a place for every time, from the start on", () => {
    expect(slotOf(-5, FIRST_SLOT_MS)).toBe(0);
    expect(slotOf(FIRST_SLOT_MS - 1, FIRST_SLOT_MS)).toBe(0);
    expect(slotOf(FIRST_SLOT_MS, FIRST_SLOT_MS)).toBe(1);
  });
});

describe("extents", () => {
  test("join into what both said, and the later has the last word", () => {
    const both = joined(joined(undefined, extentOf(5)), extentOf(-1));
    expect(both).toEqual({ count: 2, sum: 4, least: -1, most: 5, last: -1 });
  });

  test("of the largest numbers there are keep a sum that JSON has", () => {
    const most = extentOf(Number.MAX_VALUE);
    const sum = joined(joined(most, most), extentOf(-Number.MAX_VALUE)).sum;
    expect(Number.isFinite(sum)).toBe(true);
  });

  test("come back from their text as they were, whatever their name", () => {
    const said = new Map([
      ["__proto__", extentOf(1)],
      ["loss", extentOf(0.1)],
    ]);
    expect(parseSaid(formatSaid(said))).toEqual(said);
  });
});

test("any sequence of heartbeats keeps counts, sums, least, most and last, in no more slots than may be", () => {
  const beat = fc.record({
    afterMs: fc.oneof(fc.integer({ min: 0, max: 60_000 }), fc.integer({ min: 0, max: DAY })),
    name: fc.constantFrom("loss", "step", "a"),
    value: fc.integer({ min: -1_000_000, max: 1_000_000 }),
  });
  fc.assert(
    fc.property(fc.array(beat, { maxLength: 300 }), (beats) => {
      let [elapsed, width] = [0, FIRST_SLOT_MS];
      let slots: Slot[] = [];
      const truth = new Map<string, number[]>();
      for (const { afterMs, name, value } of beats) {
        elapsed += afterMs;
        const wider = widthFor(width, elapsed);
        if (wider !== width) slots = widened(slots, wider / width);
        width = wider;
        const [slot, more] = [slotOf(elapsed, width), new Map([[name, extentOf(value)]])];
        const last = slots.at(-1);
        if (last?.slot === slot) slots[slots.length - 1] = { slot, said: joinedSaid(last.said, more) };
        else slots.push({ slot, said: more });
        truth.set(name, [...(truth.get(name) ?? []), value]);
        expect(slots.every((each, at) => each.slot > (slots[at - 1]?.slot ?? -1) && each.slot < SERIES_SLOTS_MAX)).toBe(
          true,
        );
      }
      for (const [name, values] of truth) {
        const whole = slots.flatMap(({ said }) => said.get(name) ?? []);
        const all = whole.reduce<Extent | undefined>((before, each) => joined(before, each), undefined);
        expect(all).toEqual({
          count: values.length,
          sum: values.reduce((sum, value) => sum + value, 0),
          least: Math.min(...values),
          most: Math.max(...values),
          last: values.at(-1),
        });
      }
    }),
    { numRuns: 300 },
  );
});
