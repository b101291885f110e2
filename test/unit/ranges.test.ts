import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutRange, cutsOf, type KeyRange, midpoint, width } from "../../workers/core/migration/ranges.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";

const isIn = (key: string, { after, end }: KeyRange) =>
  (after === null || compareUtf8(after, key) < 0) && (end === null || compareUtf8(key, end) <= 0);

/** Keys as they are written, and as they are feared. */
const plainKey = fc
  .array(fc.constantFrom("a", "b", "0", "9", "/", "~", " ", "-"), { maxLength: 8 })
  .map((all) => all.join(""));
const hostileKey = fc
  .array(
    fc.oneof(
      fc.constantFrom("\0", "\u0001", "\u007f", "\u009f", "é", "\ud7ff", "\ue000", "\uffff", "\u{1F600}", "\u{10ffff}"),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
      fc.constantFrom("a", "~", " "),
    ),
    { maxLength: 6 },
  )
  .map((all) => all.join(""));
const key = fc.oneof(plainKey, hostileKey);
const bound = fc.option(key, { nil: null, freq: 6 });

describe("the middle of a range", () => {
  test.each<[string, KeyRange, string, string]>([
    ["of everything", { after: null, end: null }, "", "O"],
    ["of a prefix", { after: null, end: null }, "era5/", "era5/O"],
    ["of what is left of a prefix", { after: "era5/a", end: null }, "era5/", "era5/p"],
    ["of numbers", { after: "a/0001", end: "a/9999" }, "", "a/4"],
    ["of neighbours is behind the first", { after: "a/00", end: "a/01" }, "", "a/00O"],
    ["of years", { after: "year=1980/x", end: "year=2020/x" }, "", "year=1e"],
    ["behind ASCII is in the script that was come to", { after: "\u65e5", end: null }, "", "\u82f2"],
  ])("%s", (_which, { after, end }, prefix, expected) => {
    expect(midpoint(after, end, prefix)).toBe(expected);
  });

  test.each<[string, KeyRange, string]>([
    ["where nothing lies between", { after: "a", end: "a " }, ""],
    ["where only control characters do", { after: "a", end: "a\u001f\u001f" }, ""],
    ["before the first character", { after: null, end: " " }, ""],
    ["where the range is empty", { after: "b", end: "b" }, ""],
    ["where the range runs backwards", { after: "b", end: "a" }, ""],
    ["where the range ends before the prefix", { after: null, end: "a" }, "b/"],
    ["where the range begins behind the prefix", { after: "b0", end: null }, "b/"],
    ["where the prefix holds a control character", { after: null, end: null }, "\u0001/"],
    ["behind the last of all texts", { after: "\u{10ffff}".repeat(256), end: null }, ""],
    ["below a prefix that has all of a key's bytes", { after: null, end: null }, "a".repeat(1024)],
  ])("is null %s", (_where, { after, end }, prefix) => {
    expect(midpoint(after, end, prefix)).toBeNull();
  });

  test("is found in keys that are as long as keys may be", () => {
    const long = "a".repeat(1024);
    for (const [after, end] of [
      [long, null],
      [long, "b"],
      [`${"a".repeat(1023)}~`, null],
      ["~".repeat(1024), null],
    ] as const) {
      const middle = midpoint(after, end, "");
      expect(middle).not.toBeNull();
      expect(isIn(middle ?? "", { after, end })).toBe(true);
    }
    expect(midpoint("a".repeat(1024), `${"a".repeat(1023)}c`, "")).toBe(`${"a".repeat(1023)}b`);
    expect(midpoint("a".repeat(1024), `${"a".repeat(1023)}b`, "")).toBeNull();
  });

  test("is strictly between, below the prefix, and can be written", () => {
    fc.assert(
      fc.property(key, bound, bound, (prefix, a, b) => {
        const [after, end] = [a === null ? null : prefix + a, b === null ? null : prefix + b];
        const middle = midpoint(after, end, prefix);
        if (middle === null) return;
        expect(compareUtf8(after ?? "", middle)).toBeLessThan(0);
        if (end !== null) expect(compareUtf8(middle, end)).toBeLessThan(0);
        expect(middle.startsWith(prefix)).toBe(true);
        expect(middle.isWellFormed()).toBe(true);
        expect(middle).not.toMatch(/\p{Cc}/u);
        expect(Buffer.byteLength(middle)).toBeLessThanOrEqual(1024);
      }),
      { numRuns: 20_000 },
    );
  });

  test("is there whenever there is any text between that can be written", () => {
    fc.assert(
      fc.property(fc.uniqueArray(key, { minLength: 3, maxLength: 3 }), (keys) => {
        const [after, between, end] = keys.toSorted(compareUtf8);
        if (after === undefined || between === undefined || end === undefined || /\p{Cc}/u.test(between)) return;
        expect(midpoint(after, end, "")).not.toBeNull();
        expect(midpoint(after, null, "")).not.toBeNull();
      }),
      { numRuns: 20_000 },
    );
  });

  test("leaves neither half with less than a fifth of the key space, between keys of printable ASCII", () => {
    const printable = fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(printable, printable, printable, (prefix, a, b) => {
        const [low, high] = [a, b].toSorted(compareUtf8);
        if (low === undefined || high === undefined || high.startsWith(low)) return;
        const middle = midpoint(prefix + low, prefix + high, prefix);
        const whole = width(prefix + low, prefix + high, prefix);
        for (const half of [width(prefix + low, middle, prefix), width(middle, prefix + high, prefix)]) {
          expect(half - whole).toBeGreaterThan(Math.log(0.2));
        }
      }),
      { numRuns: 5000 },
    );
  });
});

describe("repeated halving", () => {
  /** Halves until no range holds two keys; the number of cuts, and ranges that cannot be cut with more than one. */
  function halve(keys: readonly string[], prefix: string) {
    const stuck: string[][] = [];
    let cuts = 0;
    const queue: { range: KeyRange; keys: readonly string[] }[] = [{ range: { after: null, end: null }, keys }];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const { range, keys: held } = next;
      if (held.length < 2) continue;
      const middle = midpoint(range.after, range.end, prefix);
      if (middle === null) {
        stuck.push([...held]);
        continue;
      }
      cuts++;
      if (cuts > 100_000) throw new Error("It does not end.");
      for (const half of cutRange(range, [middle]))
        queue.push({ range: half, keys: held.filter((name) => isIn(name, half)) });
    }
    return { cuts, stuck };
  }

  test("ends, with any two keys apart, however they are spelt", () => {
    const writable = key.filter((text) => !/\p{Cc}/u.test(text));
    fc.assert(
      fc.property(writable, fc.uniqueArray(writable, { maxLength: 30 }), (prefix, rests) => {
        const keys = rests.filter((rest) => rest !== "").map((rest) => prefix + rest);
        const { cuts, stuck } = halve(keys, prefix);
        expect(stuck).toEqual([]);
        // A character of a million is found in some twenty steps, from wherever one begins.
        expect(cuts).toBeLessThan(200 * (1 + keys.length));
      }),
      { numRuns: 2000 },
    );
  });

  test("ends where keys are around the surrogates, which are no characters", () => {
    const keys = ["\u00e9\ud7ff", "\u00e9\ud7ffa", "\u00e9\ue000", "\u{10ffff}", "\u{10ffff}a"];
    const { cuts, stuck } = halve(keys, "");
    expect(stuck).toEqual([]);
    expect(cuts).toBeLessThan(200 * keys.length);
    expect(midpoint("\ud7fe", "\ue000", "")).toBe("\ud7ff");
  });

  test("ends where keys differ only by what cannot be written, and leaves these together", () => {
    expect(halve(["a\u0001", "a\u0002", "b"], "")).toMatchObject({ stuck: [["a\u0001", "a\u0002"]] });
  });

  test("takes some cuts for each key, and some for each character that all begin with", () => {
    const keys = Array.from({ length: 1000 }, (_, i) => `year=2024/part-${String(i).padStart(5, "0")}.parquet`);
    const { cuts, stuck } = halve(keys, "");
    expect(stuck).toEqual([]);
    expect(cuts).toBeLessThan(2000);
  });
});

describe("the width of a range", () => {
  test.each<[string, KeyRange, KeyRange]>([
    ["all and a part of it", { after: null, end: null }, { after: "a", end: null }],
    ["more and less of what is left", { after: "b", end: null }, { after: "x", end: null }],
    ["two letters and one", { after: "a", end: "c" }, { after: "a", end: "b" }],
    ["a short and a long common beginning", { after: "a/1", end: "a/2" }, { after: "a/b/1", end: "a/b/2" }],
    [
      "both with long ones",
      { after: `${"x".repeat(600)}1`, end: `${"x".repeat(600)}9` },
      { after: `${"x".repeat(600)}1`, end: `${"x".repeat(600)}2` },
    ],
    [
      "both with very long ones, of other characters",
      { after: `${"y".repeat(900)}1`, end: `${"y".repeat(900)}2` },
      { after: `${"x".repeat(901)}1`, end: `${"x".repeat(901)}2` },
    ],
    ["something and nothing", { after: "a", end: "a " }, { after: "b", end: "b" }],
  ])("tells %s apart", (_which, wide, narrow) => {
    expect(width(wide.after, wide.end, "")).toBeGreaterThan(width(narrow.after, narrow.end, ""));
  });

  test("counts from the prefix on", () => {
    expect(width("era5/a", "era5/b", "era5/")).toBe(width("a", "b", ""));
    expect(width(null, null, "era5/")).toBe(width("a", "era50", "era5/"));
  });

  test("is nothing where nothing is left", () => {
    for (const [after, end] of [
      ["a", "a"],
      ["b", "a"],
      ["b0", null],
    ] as const) {
      expect(width(after, end, "b/")).toBe(Number.NEGATIVE_INFINITY);
    }
  });

  test("of a part is never more than that of the whole", () => {
    fc.assert(
      fc.property(fc.uniqueArray(key, { minLength: 3, maxLength: 3 }), (keys) => {
        const [after, between, end] = keys.toSorted(compareUtf8);
        if (after === undefined || between === undefined || end === undefined) return;
        const whole = width(after, end, "") + 1e-6;
        expect(width(after, between, "")).toBeLessThanOrEqual(whole);
        expect(width(between, end, "")).toBeLessThanOrEqual(whole);
        expect(width(after, end, "")).toBeLessThanOrEqual(width(after, null, "") + 1e-6);
      }),
      { numRuns: 10_000 },
    );
  });
});

describe("cutting a range at keys", () => {
  test.each<[KeyRange, string[], (string | null)[]]>([
    [{ after: null, end: null }, [], [null, null]],
    [{ after: null, end: null }, ["b", "a"], [null, "a", "b", null]],
    [{ after: "a", end: "d" }, ["b", "b", "c"], ["a", "b", "c", "d"]],
    [{ after: "b", end: "d" }, ["a", "b", "d", "e", "c"], ["b", "c", "d"]],
    [{ after: null, end: "b" }, ["", "c"], [null, "b"]],
    [{ after: "\uff5e", end: null }, ["\u{1F600}"], ["\uff5e", "\u{1F600}", null]],
    [{ after: "\u{1F600}", end: null }, ["\uff5e"], ["\u{1F600}", null]],
  ])("%j at %j", (range, cuts, borders) => {
    const expected = borders.slice(1).map((end, i) => ({ after: borders[i], end }));
    expect(cutRange(range, cuts)).toEqual(expected);
  });

  test("has every key of the range in exactly one piece, and no other", () => {
    fc.assert(
      fc.property(
        bound,
        bound,
        fc.array(key, { maxLength: 8 }),
        fc.array(key, { maxLength: 20 }),
        (after, end, cuts, keys) => {
          const pieces = cutRange({ after, end }, cuts);
          for (const name of [...keys, ...cuts]) {
            expect(pieces.filter((piece) => isIn(name, piece)).length).toBe(isIn(name, { after, end }) ? 1 : 0);
          }
          expect([pieces[0]?.after, pieces.at(-1)?.end]).toEqual([after, end]);
        },
      ),
      { numRuns: 5000 },
    );
  });
});

describe("the cuts of a run, by the pages of the last one", () => {
  const pages = Array.from({ length: 10 }, (_, i) => `p${i}`);
  test.each<[number, string[]]>([
    [1, []],
    [2, ["p4"]],
    [3, ["p2", "p6"]],
    [5, ["p1", "p3", "p5", "p7"]],
    [10, ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"]],
    [100, ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"]],
    [0, []],
  ])("in %d ranges", (ranges, expected) => {
    expect(cutsOf(pages.toReversed(), ranges)).toEqual(expected);
  });

  test("there are none without pages, or with one", () => {
    expect(cutsOf([], 8)).toEqual([]);
    expect(cutsOf(["a"], 8)).toEqual([]);
  });

  test("ascend by bytes, are pages' ends, and make runs whose lengths differ by one at most", () => {
    fc.assert(
      fc.property(fc.uniqueArray(key, { maxLength: 60 }), fc.integer({ min: 1, max: 12 }), (upTos, ranges) => {
        const cuts = cutsOf(upTos, ranges);
        expect(cuts.length).toBe(Math.max(0, Math.min(ranges, upTos.length) - 1));
        expect(cuts).toEqual(cuts.toSorted(compareUtf8));
        const runs = cutRange(
          { after: null, end: null },
          cuts.filter((cut) => cut !== ""),
        );
        if (upTos.length < ranges || cuts.includes("")) return;
        const lengths = runs.map((run) => upTos.filter((upTo) => isIn(upTo, run)).length);
        expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(1);
      }),
      { numRuns: 5000 },
    );
  });
});
