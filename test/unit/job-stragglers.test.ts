import { describe, expect, test } from "vitest";
import { type NodePace, stragglersOf } from "../../workers/core/jobs/stragglers.ts";

/** A node that took so many seconds for each unit that it has done. */
const node = (name: string, seconds: number, more: Partial<NodePace> = {}): NodePace => {
  const { done = 10 } = more;
  return { name, done, busyMs: seconds * 1000 * done, openMs: null, ...more };
};
const peers = [node("a", 10), node("b", 11), node("c", 9)];
const names = (nodes: NodePace[]) => [...stragglersOf(nodes)];

describe("a straggler", () => {
  test("takes more than twice the median time for a unit", () => {
    expect(names([...peers, node("slow", 22)])).toEqual(["slow"]);
    // The median of 9, 10, 11 and 20 is 10.5.
    expect(names([...peers, node("slow", 20)])).toEqual([]);
    expect(names([node("a", 10), node("b", 10), node("c", 20)])).toEqual([]);
    expect(names([node("a", 10), node("b", 10), node("c", 20.1)])).toEqual(["c"]);
  });

  test("is not told by fewer than three units", () => {
    expect(names([...peers, node("slow", 1000, { done: 2 })])).toEqual([]);
    expect(names([...peers, node("slow", 1000, { done: 3 })])).toEqual(["slow"]);
  });

  test("is not told among fewer than three nodes that have done some units", () => {
    expect(names([node("a", 10), node("slow", 1000), node("new", 10, { done: 2 })])).toEqual([]);
    expect(names([node("a", 10), node("slow", 1000, { openMs: 3_600_000 })])).toEqual([]);
  });

  test("holds a unit for more than three times the median, also one that has done nothing yet", () => {
    const holding = (openMs: number) => node("new", 0, { done: 0, busyMs: 0, openMs });
    expect(names([...peers, holding(30_000)])).toEqual([]);
    expect(names([...peers, holding(30_001)])).toEqual(["new"]);
  });

  test("of quick units holds one for more than ten seconds", () => {
    const quick = ["a", "b", "c"].map((name) => node(name, 0.01));
    const holding = (openMs: number) => node("d", 0.01, { openMs });
    expect(names([...quick, holding(10_000)])).toEqual([]);
    expect(names([...quick, holding(10_001)])).toEqual(["d"]);
  });

  test("is nobody where all are alike, or nobody is there", () => {
    expect(names([])).toEqual([]);
    expect(names(peers)).toEqual([]);
    expect(names(["a", "b", "c"].map((name) => node(name, 0)))).toEqual([]);
  });

  test("may be several, and less than half of them do not hide each other", () => {
    expect(names([...peers, node("slow-1", 100), node("slow-2", 200)])).toEqual(["slow-1", "slow-2"]);
  });
});
