import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";

/** Well-formed text, with many characters from where UTF-8 and UTF-16 disagree, and long common prefixes. */
const character = fc.oneof(
  fc.constantFrom("a", "b", "/", "\u{7F}", "\u{80}", "\u{7FF}", "\u{800}"),
  fc.constantFrom("\u{D7FF}", "\u{E000}", "\u{FF5E}", "\u{FFFF}", "\u{10000}", "\u{1F600}", "\u{1F601}", "\u{10FFFF}"),
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
);
const text = fc.array(character, { maxLength: 6 }).map((characters) => characters.join(""));

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));

describe("keys are compared by their UTF-8 bytes", () => {
  test.each([
    ["", "a"],
    ["a", "b"],
    ["a", "aa"],
    ["a/", "a0"],
    ["Z", "a"],
    ["z", "é"],
    ["\u{7FF}", "\u{800}"],
    ["\u{D7FF}", "\u{E000}"],
    ["\u{FF5E}", "\u{1F600}"],
    ["\u{FFFF}", "\u{10000}"],
    ["\u{1F600}", "\u{1F601}"],
    ["\u{1F600}", "\u{1F600}a"],
    ["\u{FF5E}z", "\u{1F600}a"],
  ])("%j comes before %j", (first, second) => {
    expect(compareUtf8(first, second)).toBeLessThan(0);
    expect(compareUtf8(second, first)).toBeGreaterThan(0);
    expect(byBytes(first, second)).toBe(-1);
  });

  test("JavaScript's own order is another one: that is why this one exists", () => {
    const keys = ["\u{1F600}", "\u{FF5E}"];
    expect(keys.toSorted()).toEqual(["\u{1F600}", "\u{FF5E}"]);
    expect(keys.toSorted(compareUtf8)).toEqual(["\u{FF5E}", "\u{1F600}"]);
  });

  test("any two well-formed keys are in the order of their bytes", () => {
    fc.assert(
      fc.property(text, text, text, (prefix, a, b) => {
        expect(Math.sign(compareUtf8(prefix + a, prefix + b))).toBe(byBytes(prefix + a, prefix + b));
      }),
      { numRuns: 20_000 },
    );
  });

  test("a listing sorted by it is the listing sorted by bytes", () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 40 }), (keys) => {
        expect(keys.toSorted(compareUtf8)).toEqual(keys.toSorted(byBytes));
      }),
    );
  });

  test("only a key and itself are equal", () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(compareUtf8(a, b) === 0).toBe(a === b);
        expect(compareUtf8(a, a)).toBe(0);
      }),
      { numRuns: 2000 },
    );
  });
});
