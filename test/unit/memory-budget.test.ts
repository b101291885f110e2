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
    expect(budget.reserve(1, 60_000)).toBeNull();
    expect(budget.reserve(100, 60_001)).not.toBeNull();
  });
});
