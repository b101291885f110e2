import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MESSAGE_MAX_BYTES } from "../../workers/core/limits.ts";
import { pack } from "../../workers/core/migration/pack.ts";

const LOOSE = { items: Infinity, weight: Infinity };
const nothing = () => 0;
const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

describe("items are cut into messages, in their order", () => {
  test("no items make no message", () => {
    expect(pack([], LOOSE, nothing)).toEqual([]);
  });

  test("few make one", () => {
    expect(pack([1, 2, 3], LOOSE, nothing)).toEqual([[1, 2, 3]]);
  });

  test("by their number", () => {
    expect(pack([1, 2, 3, 4, 5], { ...LOOSE, items: 2 }, nothing)).toEqual([[1, 2], [3, 4], [5]]);
    expect(pack([1, 2], { ...LOOSE, items: 1 }, nothing)).toEqual([[1], [2]]);
  });

  test("by their weight, full to the last unit", () => {
    expect(pack([3, 3, 4, 1, 9, 1], { ...LOOSE, weight: 10 }, (n) => n)).toEqual([[3, 3, 4], [1, 9], [1]]);
  });

  test("one that is heavier than a message may be goes alone", () => {
    expect(pack([1, 100, 1], { ...LOOSE, weight: 10 }, (n) => n)).toEqual([[1], [100], [1]]);
    expect(pack([100], { ...LOOSE, weight: 10 }, (n) => n)).toEqual([[100]]);
  });

  test("by their bytes as JSON, counted in UTF-8", () => {
    const wide = "é".repeat(10_000); // 20,002 bytes with its quotes
    expect(pack([wide, wide, wide], LOOSE, nothing)).toEqual([[wide, wide], [wide]]);
    const escaped = "\u0001".repeat(4000); // 24,002 bytes: "\u0001" is six in JSON
    expect(pack([escaped, escaped, escaped], LOOSE, nothing)).toEqual([[escaped, escaped], [escaped]]);
  });

  test("with room for the message's own fields: an item that would take it waits for the next", () => {
    const kilobyte = "x".repeat(997); // 1,000 bytes with its quotes and comma
    const messages = pack(
      Array.from({ length: 130 }, () => kilobyte),
      LOOSE,
      nothing,
    );
    expect(messages.map(({ length }) => length)).toEqual([59, 59, 12]);
  });

  test("one that is longer than a message may be goes alone, also as the first", () => {
    const long = "x".repeat(MESSAGE_MAX_BYTES);
    const lengths = (items: string[]) =>
      pack(items, LOOSE, nothing).map((message) => message.map(({ length }) => length));
    expect(lengths([long])).toEqual([[MESSAGE_MAX_BYTES]]);
    expect(lengths([long, "x", long])).toEqual([[MESSAGE_MAX_BYTES], [1], [MESSAGE_MAX_BYTES]]);
  });
});

describe("whatever is packed", () => {
  const item = fc.record({ key: fc.string({ unit: "binary", maxLength: 1024 }), size: fc.nat(100) });
  const items = fc.array(item, { maxLength: 300, size: "max" });
  const limits = fc.record({ items: fc.integer({ min: 1, max: 400 }), weight: fc.integer({ min: 0, max: 10_000 }) });
  const runs = { numRuns: 200 };

  test("nothing is lost, doubled or moved, and no message is empty", () => {
    fc.assert(
      fc.property(items, limits, (all, within) => {
        const messages = pack(all, within, ({ size }) => size);
        expect(messages.flat()).toEqual(all);
        expect(messages.every((message) => message.length > 0)).toBe(true);
      }),
      runs,
    );
  });

  test("every message keeps within the limits, with room for its own fields", () => {
    fc.assert(
      fc.property(items, limits, (all, within) => {
        for (const message of pack(all, within, ({ size }) => size)) {
          const weight = message.reduce((sum, { size }) => sum + size, 0);
          expect(message.length).toBeLessThanOrEqual(within.items);
          expect(bytesOf(message)).toBeLessThanOrEqual(MESSAGE_MAX_BYTES - 500);
          if (message.length > 1) expect(weight).toBeLessThanOrEqual(within.weight);
        }
      }),
      runs,
    );
  });

  test("no message ends before it must: the next one's first item would not have fitted", () => {
    fc.assert(
      fc.property(items, limits, (all, within) => {
        const messages = pack(all, within, ({ size }) => size);
        for (const [index, message] of messages.slice(0, -1).entries()) {
          const more = [...message, ...(messages[index + 1]?.slice(0, 1) ?? [])];
          const weight = more.reduce((sum, { size }) => sum + size, 0);
          const fits =
            more.length <= within.items && weight <= within.weight && bytesOf(more) <= MESSAGE_MAX_BYTES - 600;
          expect(fits).toBe(false);
        }
      }),
      runs,
    );
  });
});
