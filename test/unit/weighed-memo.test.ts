import { describe, expect, it } from "vitest";
import { WeighedMemo } from "../../workers/adapters/weighed-memo.ts";

describe("a memo with a budget of bytes", () => {
  it("forgets what was not asked for the longest, and never holds more than its budget", () => {
    const memo = new WeighedMemo<string>(10);
    memo.set("a", "A", 4);
    memo.set("b", "B", 4);
    expect(memo.get("a")).toBe("A");
    memo.set("c", "C", 4);
    expect([memo.get("a"), memo.get("b"), memo.get("c"), memo.bytes]).toEqual(["A", null, "C", 8]);
  });

  it("does not keep what is larger than itself, nor count twice what it has", () => {
    const memo = new WeighedMemo<string>(10);
    memo.set("a", "A", 6);
    memo.set("a", "A", 6);
    memo.set("large", "L", 11);
    expect([memo.get("a"), memo.get("large"), memo.bytes]).toEqual(["A", null, 6]);
  });
});
