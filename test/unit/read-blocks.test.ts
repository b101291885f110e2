import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ByteRange, type ByteSpan, resolveRange } from "../../workers/core/http/range.ts";
import { BLOCK_BYTES, HELD_MAX_BYTES, SINGLE_BLOCK_MAX_BYTES, TAIL_BYTES } from "../../workers/core/limits.ts";
import {
  aimOf,
  type Block,
  blocksOf,
  blocksWithin,
  cut,
  holds,
  runsOf,
  servesOthers,
} from "../../workers/core/read/blocks.ts";

const MiB = 1024 * 1024;
const MAX = Number.MAX_SAFE_INTEGER;
const RUNS = { numRuns: 2000 };

/** Sizes and places at which something begins or ends, and one byte to each side. */
const EDGES = [0, TAIL_BYTES, BLOCK_BYTES, SINGLE_BLOCK_MAX_BYTES, 3 * MiB, HELD_MAX_BYTES, 64 * MiB];
const near = (edge: number) => fc.integer({ min: -2, max: 2 }).map((by) => Math.max(0, edge + by));
const anySize = fc.oneof(
  fc.constantFrom(...EDGES).chain(near),
  fc.nat(20 * MiB),
  // A large object with a last block shorter than the tail, and longer.
  fc.tuple(fc.integer({ min: 4, max: 200 }), fc.nat(BLOCK_BYTES)).map(([blocks, rest]) => blocks * BLOCK_BYTES + rest),
);

/** A span of an object: anywhere, and often at a block's edge or at the tail's. */
const spanOf = (size: number): fc.Arbitrary<ByteSpan> => {
  const edges = [0, size - TAIL_BYTES, size, Math.floor(size / 2 / BLOCK_BYTES) * BLOCK_BYTES, SINGLE_BLOCK_MAX_BYTES];
  const place = fc
    .oneof(fc.nat(Math.max(0, size - 1)), fc.constantFrom(...edges.map((edge) => Math.max(0, edge))).chain(near))
    .map((at) => Math.min(at, Math.max(0, size - 1)));
  return fc.tuple(place, place).map(([a, b]) => {
    const [offset, last] = [Math.min(a, b), Math.max(a, b)];
    return { offset, length: size === 0 ? 0 : last - offset + 1 };
  });
};
const sized = anySize.chain((size) => fc.tuple(fc.constant(size), spanOf(size)));

/** In the plainest way: which bytes a block's id names in an object of this size. */
function named(id: string, size: number): ByteSpan {
  if (id === "whole") return { offset: 0, length: size };
  if (id === "tail") return { offset: size - TAIL_BYTES, length: TAIL_BYTES };
  const offset = /^(0|[1-9]\d*)$/.test(id) ? Number(id) * BLOCK_BYTES : Number.NaN;
  return { offset, length: Math.min(offset + BLOCK_BYTES, size) - offset };
}

/** Blocks that are not what their id names, lie beyond the object, have no bytes, or are there twice. */
const misnamed = (blocks: readonly Block[], size: number): Block[] =>
  blocks.filter((block, index) => {
    const { offset, length } = named(block.id, size);
    const isNamed = block.offset === offset && block.length === length;
    const isInside = offset >= 0 && offset + length <= size && (length > 0 || size === 0);
    return !isNamed || !isInside || blocks.findIndex(({ id }) => id === block.id) !== index;
  });
const endOf = ({ offset, length }: ByteSpan): number => offset + length;
const idsOf = (blocks: readonly Block[]): string[] => blocks.map(({ id }) => id);

/** The number of the block that a byte lies in. */
const blockAt = (offset: number): string => String(Math.floor(offset / BLOCK_BYTES));

describe("the blocks of a span", () => {
  it("cover it without a gap, ascending, and none of them in vain", () => {
    fc.assert(
      fc.property(sized, ([size, span]) => {
        const blocks = blocksOf(span, size) ?? [{ id: "", ...span }];
        expect(blocks[0]?.offset).toBeLessThanOrEqual(span.offset);
        expect(blocks.at(-1)?.length).toBeGreaterThanOrEqual(endOf(span) - (blocks.at(-1)?.offset ?? 0));
        const after = blocks.slice(1).map(({ offset }) => offset);
        expect(after).toEqual(blocks.slice(0, -1).map(endOf));
        const vain = blocks.filter((block) => block.offset >= endOf(span) || endOf(block) <= span.offset);
        expect(size === 0 ? [] : vain).toEqual([]);
      }),
      RUNS,
    );
  });

  it("have ids that name the same bytes for every span: they are cached by them", () => {
    fc.assert(
      fc.property(sized, ([size, span]) => {
        expect(misnamed(blocksOf(span, size) ?? [], size)).toEqual([]);
      }),
      RUNS,
    );
  });

  it("are together no longer than what is held, and two blocks", () => {
    fc.assert(
      fc.property(sized, ([size, span]) => {
        const blocks = blocksOf(span, size);
        const length = (blocks ?? []).reduce((sum, block) => sum + block.length, 0);
        expect(length).toBeLessThanOrEqual(HELD_MAX_BYTES + 2 * BLOCK_BYTES);
        expect(blocks === null).toBe(span.length > HELD_MAX_BYTES);
      }),
      RUNS,
    );
  });

  it.each<[string, number, ByteSpan, string[] | null]>([
    ["nothing of an empty object", 0, { offset: 0, length: 0 }, ["whole"]],
    ["a byte of a small object", MiB, { offset: MiB - 1, length: 1 }, ["whole"]],
    ["a byte of the first object that is not small", MiB + 1, { offset: 0, length: 1 }, ["0"]],
    ["the last byte of it", MiB + 1, { offset: MiB, length: 1 }, ["tail"]],
    ["the last byte of a block", 9 * MiB, { offset: BLOCK_BYTES - 1, length: 1 }, ["0"]],
    ["two bytes across blocks", 9 * MiB, { offset: BLOCK_BYTES - 1, length: 2 }, ["0", "1"]],
    ["exactly the tail", 9 * MiB, { offset: 9 * MiB - TAIL_BYTES, length: TAIL_BYTES }, ["tail"]],
    [
      "a byte before the tail",
      9 * MiB,
      { offset: 9 * MiB - TAIL_BYTES - 1, length: 1 },
      [blockAt(9 * MiB - TAIL_BYTES - 1)],
    ],
    ["all of an object that can be held", HELD_MAX_BYTES, { offset: 0, length: HELD_MAX_BYTES }, ["whole"]],
    ["all of one that cannot", HELD_MAX_BYTES + 1, { offset: 0, length: HELD_MAX_BYTES + 1 }, null],
  ])("of %s", (_what, size, span, ids) => {
    const blocks = blocksOf(span, size);
    expect(blocks === null ? null : idsOf(blocks)).toEqual(ids);
  });
});

describe("the blocks within what was read", () => {
  it("lie in it from end to end, and are named as always", () => {
    fc.assert(
      fc.property(sized, ([size, span]) => {
        const blocks = blocksWithin(span, size);
        expect(misnamed(blocks, size)).toEqual([]);
        expect(blocks.filter((block) => block.offset < span.offset || endOf(block) > endOf(span))).toEqual([]);
      }),
      RUNS,
    );
  });
});

/** What a client may ask, of an object of whatever size. */
const anyRange: fc.Arbitrary<ByteRange> = (() => {
  const position = fc.oneof(
    fc.nat(80 * MiB),
    fc.constantFrom(...EDGES).chain(near),
    fc.constantFrom(MAX - BLOCK_BYTES, MAX - 1, MAX),
  );
  const length = fc.oneof(fc.nat(9 * MiB), fc.nat(1000), fc.constant(MAX));
  return fc.oneof(
    fc.tuple(position, length).map(([start, more]) => ({
      ...{ kind: "bounded" as const, start, end: Math.min(MAX, start + more) },
    })),
    position.map((start) => ({ kind: "from" as const, start })),
    length.map((suffix) => ({ kind: "suffix" as const, length: suffix })),
  );
})();

describe("what an unknown object is asked for", () => {
  it("includes every byte that the client asked for, whatever the size turns out to be", () => {
    fc.assert(
      fc.property(anyRange, anySize, (range, size) => {
        const asked = resolveRange(range, size);
        if (asked === "unsatisfiable") return;
        const brought = resolveRange(aimOf(range) ?? { kind: "from", start: 0 }, size);
        if (brought === "unsatisfiable") throw new Error("What can be satisfied was asked for unsatisfiably.");
        expect(brought.offset).toBeLessThanOrEqual(asked.offset);
        expect(brought.offset + brought.length).toBeGreaterThanOrEqual(asked.offset + asked.length);
      }),
      RUNS,
    );
  });

  it("is a range of safe integers, of no more than is held or than the client asked for", () => {
    fc.assert(
      fc.property(anyRange, (range) => {
        const aim = aimOf(range);
        if (range.kind === "from") {
          expect(aim ?? { kind: "from", start: 0 }).toMatchObject({ kind: "from" });
          if (aim?.kind === "from") expect(range.start - aim.start).toBeLessThan(BLOCK_BYTES);
        } else if (range.kind === "suffix") {
          expect(aim).toEqual({ kind: "suffix", length: Math.max(range.length, TAIL_BYTES) });
        } else {
          if (aim?.kind !== "bounded") throw new Error("It is another kind of range.");
          expect([aim.start, aim.end].every(Number.isSafeInteger)).toBe(true);
          expect(aim.end - aim.start).toBeLessThan(
            Math.max(HELD_MAX_BYTES, range.end - range.start + 1 + SINGLE_BLOCK_MAX_BYTES),
          );
        }
      }),
      RUNS,
    );
  });

  it("is the whole where the client wants the whole", () => {
    expect(aimOf(null)).toBeNull();
  });

  /** The blocks that a second read of the range looks for, of which the first one brought neither them nor others. */
  const unkept = (range: ByteRange, size: number): string[] => {
    const span = resolveRange(range, size);
    const brought = resolveRange(aimOf(range) ?? { kind: "from", start: 0 }, size);
    if (span === "unsatisfiable" || brought === "unsatisfiable" || brought.length > HELD_MAX_BYTES) return [];
    const kept = blocksWithin(brought, size);
    const holdsAll = (block: Block) => block.offset <= span.offset && endOf(block) >= endOf(span);
    if (kept.some((block) => servesOthers(block, size) && holdsAll(block))) return [];
    return idsOf(blocksOf(span, size) ?? []).filter((id) => !idsOf(kept).includes(id));
  };

  it("brings all the blocks that the second read of a range looks for", () => {
    const ranges = fc
      .oneof(anySize, fc.nat(80 * MiB))
      .chain((start) => fc.oneof(fc.nat(1000), fc.nat(MiB)).map((more) => ({ start, end: start + more })));
    fc.assert(
      fc.property(ranges, anySize, ({ start, end }, size) => {
        fc.pre(start < size - TAIL_BYTES || size <= SINGLE_BLOCK_MAX_BYTES);
        expect(unkept({ kind: "bounded", start, end }, size)).toEqual([]);
      }),
      RUNS,
    );
  });

  it("brings the block that the second read of a footer by its place looks for", () => {
    const size = 64 * MiB + 10_000;
    expect(unkept({ kind: "bounded", start: size - 1000, end: size - 1 }, size)).toEqual([]);
  });

  it("brings the block that the second read of a suffix looks for, of an object of whatever size", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: TAIL_BYTES }), anySize, (length, size) => {
        expect(unkept({ kind: "suffix", length }, size)).toEqual([]);
      }),
      RUNS,
    );
  });
});

describe("bytes that were read", () => {
  const anyBytes = fc.record({
    bytes: fc.uint8Array({ maxLength: 40 }),
    offset: fc.nat(30),
    span: fc.record({ offset: fc.nat(80), length: fc.nat(50) }),
  });

  it("hold a span where each of its places is one of theirs, and are cut to it", () => {
    fc.assert(
      fc.property(anyBytes, ({ bytes, offset, span }) => {
        const at = (place: number) => bytes[place - offset];
        const wanted = Array.from({ length: span.length }, (_, index) => at(span.offset + index));
        fc.pre(span.length > 0);
        const isHeld = wanted.every((byte) => byte !== undefined);
        expect(holds(bytes, offset, span)).toBe(isHeld);
        if (isHeld) expect([...cut(bytes, offset, span)]).toEqual(wanted);
        else expect(() => cut(bytes, offset, span)).toThrow("does not hold");
      }),
      RUNS,
    );
  });

  it("that are not there are an error, never no bytes", () => {
    expect(() => cut(undefined, 0, { offset: 0, length: 0 })).toThrow("does not hold");
  });
});

describe("runs of blocks", () => {
  it("keep every block in its order, and join those that touch and no others", () => {
    const blocks = fc
      .uniqueArray(fc.nat(40), { maxLength: 30 })
      .map((numbers) =>
        numbers
          .toSorted((a, b) => a - b)
          .map((number) => ({ id: String(number), offset: number * BLOCK_BYTES, length: BLOCK_BYTES })),
      );
    fc.assert(
      fc.property(blocks, (given) => {
        const runs = runsOf(given);
        expect(runs.flat()).toEqual(given);
        const numbersOf = (run: readonly Block[]) => run.map(({ id }) => Number(id));
        for (const run of runs) {
          const numbers = numbersOf(run);
          expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
        }
        const ends = runs.map((run) => [numbersOf(run)[0] ?? 0, numbersOf(run).at(-1) ?? 0] as const);
        for (const [index, [first]] of ends.slice(1).entries())
          expect(first).toBeGreaterThan((ends[index]?.[1] ?? 0) + 1);
      }),
      RUNS,
    );
  });
});
