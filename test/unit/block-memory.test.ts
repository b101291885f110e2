import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockMemory } from "../../workers/adapters/block-memory.ts";

const block = (length: number, fill = 0) => new Uint8Array(length).fill(fill);
/** A block takes its bytes, its name, and what an entry costs beside them. */
const cost = (key: string, length: number) => 256 + 2 * key.length + length;

describe("the blocks in an isolate's memory", () => {
  it("are those that were put, and no others", () => {
    const memory = new BlockMemory(1000, 100);
    const bytes = block(10, 7);
    memory.put("a", bytes);
    expect(memory.get("a")).toBe(bytes);
    expect(memory.get("b")).toBeNull();
    expect(memory.bytes).toBe(cost("a", 10));
  });

  it("give way to new ones, the one first that was not asked for the longest", () => {
    const memory = new BlockMemory(3 * cost("a", 10), 30);
    for (const key of ["a", "b", "c"]) memory.put(key, block(10));
    memory.get("a");
    memory.put("d", block(10));
    expect(["a", "b", "c", "d"].filter((key) => memory.get(key) !== null)).toEqual(["a", "c", "d"]);
  });

  it("are counted once, however often one is put", () => {
    const memory = new BlockMemory(1000, 30);
    for (let n = 0; n < 5; n++) memory.put("a", block(10));
    expect(memory.bytes).toBe(cost("a", 10));
  });

  it("do not make room for one that is longer than a block may be", () => {
    const memory = new BlockMemory(cost("a", 20), 20);
    memory.put("a", block(20));
    expect([memory.takes(20), memory.takes(21)]).toEqual([true, false]);
    memory.put("b", block(21));
    expect([memory.get("a") !== null, memory.get("b")]).toEqual([true, null]);
  });

  it("are none where the budget is nothing", () => {
    const memory = new BlockMemory(0, 100);
    memory.put("a", block(1));
    expect([memory.takes(1), memory.get("a"), memory.bytes]).toEqual([false, null, 0]);
  });

  it("are as a plain list of them would be, whatever is put and asked for", () => {
    const MAX = 2 * cost("a", 25);
    const step = fc.record({
      key: fc.constantFrom(..."abcdefgh"),
      length: fc.integer({ min: 1, max: 30 }),
      puts: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const memory = new BlockMemory(MAX, 25);
        let plain: { key: string; length: number }[] = [];
        for (const { key, length, puts } of steps) {
          const held = plain.find((each) => each.key === key);
          if (!puts) {
            expect(memory.get(key)?.length ?? null).toBe(held?.length ?? null);
            if (held !== undefined) plain = [...plain.filter((each) => each !== held), held];
            continue;
          }
          memory.put(key, block(length));
          if (held !== undefined || length > 25) continue;
          plain.push({ key, length });
          while (plain.reduce((sum, each) => sum + cost(each.key, each.length), 0) > MAX) plain.shift();
        }
        expect(memory.bytes).toBe(plain.reduce((sum, each) => sum + cost(each.key, each.length), 0));
        expect(memory.bytes).toBeLessThanOrEqual(MAX);
      }),
      { numRuns: 1000 },
    );
  });

  it("are bounded in number too: a block of no bytes, or of one, takes memory beside them", () => {
    // 1 MiB of memory cannot hold 100,000 blocks and their names, which are as long as keys.
    for (const length of [0, 1]) {
      const memory = new BlockMemory(1024 * 1024, 256 * 1024);
      for (let n = 0; n < 100_000; n++) memory.put(`DATASETS/key-${n}?etag=x&block=whole`, block(length));
      expect(memory.get("DATASETS/key-0?etag=x&block=whole")).toBeNull();
    }
  });
});
