import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryBudget } from "../../workers/adapters/memory-budget.ts";

describe("the bytes that an isolate holds", () => {
  it("are bounded, and what was given back can be taken again", () => {
    const budget = new MemoryBudget(100);
    const release = budget.reserve(60, 0);
    expect(release).not.toBeNull();
    expect(budget.reserve(41, 0)).toBeNull();
    expect(budget.reserve(40, 0)).not.toBeNull();
    release?.();
    expect(budget.reserve(60, 0)).not.toBeNull();
    expect(budget.reserve(1, 0)).toBeNull();
  });

  it("are forgotten after a minute: work after an answer may be cut off and never say so", () => {
    const budget = new MemoryBudget(100);
    expect(budget.reserve(100, 0)).not.toBeNull();
    expect(budget.reserve(1, 600_000)).toBeNull();
    expect(budget.reserve(100, 600_001)).not.toBeNull();
  });

  it("count what is there in spite of them, and take nothing beside it until it has gone", () => {
    const budget = new MemoryBudget(100);
    const release = budget.hold(150, 0);
    expect(budget.reserve(1, 0)).toBeNull();
    release();
    expect(budget.reserve(100, 0)).not.toBeNull();
  });

  it("are given back once, however often that is said, and not again after they were forgotten", () => {
    const budget = new MemoryBudget(100);
    const release = budget.reserve(50, 0);
    expect(budget.reserve(50, 30_000)).not.toBeNull();
    expect(budget.reserve(50, 600_001)).not.toBeNull(); // The first is forgotten, the second is not.
    release?.();
    release?.();
    expect(budget.reserve(1, 600_001)).toBeNull();
  });

  it("are never more than the maximum, whatever is taken and given back", () => {
    const step = fc.record({ bytes: fc.integer({ min: 1, max: 60 }), gives: fc.boolean(), which: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const budget = new MemoryBudget(100);
        const taken: { bytes: number; release: () => void }[] = [];
        const held = () => taken.reduce((sum, { bytes }) => sum + bytes, 0);
        for (const { bytes, gives, which } of steps) {
          if (gives) {
            for (const { release } of taken.splice(which, 1)) release();
            continue;
          }
          const release = budget.reserve(bytes, 0);
          expect(release !== null).toBe(held() + bytes <= 100);
          if (release !== null) taken.push({ bytes, release });
        }
      }),
      { numRuns: 1000 },
    );
  });
});
