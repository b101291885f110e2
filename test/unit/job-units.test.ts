import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Cutter } from "../../workers/core/jobs/units/cut.ts";
import { beginningOf, meets, RangeFollower, rangesOf } from "../../workers/core/jobs/units/key-ranges.ts";
import { NamedObjects } from "../../workers/core/jobs/units/named-objects.ts";
import { recordParts } from "../../workers/core/jobs/units/record-parts.ts";
import type { Part, Unit } from "../../workers/core/jobs/units/unit.ts";
import { UNIT_PARTS_MAX } from "../../workers/core/limits.ts";
import { compileGlobs } from "../../workers/core/migration/glob.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { IndexBuilder } from "../../workers/core/records/index-builder.ts";
import { must } from "../harness/must.ts";

interface Grouped {
  part: Part;
  group: string;
}

function cut(parts: readonly Grouped[], targetBytes: number): Unit[] {
  const cutter = new Cutter(targetBytes);
  const units = parts.flatMap(({ part, group }) => cutter.push(part, group) ?? []);
  const last = cutter.end();
  return last === null ? units : [...units, last];
}
const sized = (sizes: readonly number[], group = "objects"): Grouped[] =>
  sizes.map((size, n) => ({ part: { key: `k${n}`, size }, group }));
const sizesOf = (units: readonly Unit[]) => units.map(({ parts }) => parts.map(({ size }) => size));

describe("parts are cut into units", () => {
  const grouped = fc.array(
    fc.record({
      part: fc.record({ key: fc.string({ maxLength: 3 }), size: fc.nat(30) }),
      group: fc.constantFrom("a", "b"),
    }),
    { maxLength: 60 },
  );

  it("that hold each once and in order, none above the target but one of a single part, and none of two groups", () => {
    fc.assert(
      fc.property(grouped, fc.integer({ min: 1, max: 40 }), (parts, target) => {
        const units = cut(parts, target);
        expect(units.flatMap((unit) => unit.parts)).toEqual(parts.map(({ part }) => part));
        let at = 0;
        for (const unit of units) {
          const groups = new Set(parts.slice(at, (at += unit.parts.length)).map(({ group }) => group));
          expect(groups.size).toBe(1);
          expect(unit.bytes).toBe(unit.parts.reduce((sum, { size }) => sum + size, 0));
          if (unit.bytes > target) expect(unit.parts).toHaveLength(1);
        }
      }),
    );
  });

  it("as full as the target allows, the next part alone", () => {
    expect(sizesOf(cut(sized([4, 4, 2, 1, 11, 0, 9]), 10))).toEqual([[4, 4, 2], [1], [11], [0, 9]]);
  });

  it("of so many parts at most, however small", () => {
    const counts = cut(sized(Array.from({ length: UNIT_PARTS_MAX * 2 + 1 }, () => 0)), 10);
    expect(counts.map(({ parts }) => parts.length)).toEqual([UNIT_PARTS_MAX, UNIT_PARTS_MAX, 1]);
  });
});

describe("ranges of keys", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "/", "é", "\u{1f600}", "\uffff"), maxLength: 4 });

  it("hold what begins with one of the texts, and nothing else", () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 5 }), fc.array(text, { maxLength: 20 }), (beginnings, keys) => {
        const follower = new RangeFollower(rangesOf(beginnings));
        for (const key of keys.sort(compareUtf8))
          expect(follower.holds(key), key).toBe(beginnings.some((beginning) => key.startsWith(beginning)));
      }),
    );
  });

  it("meet every run of keys that holds one of theirs", () => {
    fc.assert(
      fc.property(text, fc.array(text, { minLength: 1, maxLength: 10 }), (beginning, keys) => {
        const sorted = keys.sort(compareUtf8);
        const [range] = rangesOf([beginning]);
        const isMet = range !== undefined && meets(range, sorted[0] ?? "", `${sorted.at(-1)}\0`);
        if (sorted.some((key) => key.startsWith(beginning))) expect(isMet).toBe(true);
      }),
    );
  });

  it("of a glob begin with what each of its keys begins with", () => {
    const globs: [string, string][] = [
      ["a/b*.json", "a/b"],
      ["a/**/z", "a/"],
      ["{a,b}/c", ""],
      ["a\\*b", "a"],
      ["a/b", "a/b"],
      ["a[bc]", "a"],
    ];
    for (const [glob, beginning] of globs) expect(beginningOf(glob), glob).toBe(beginning);
    for (const key of ["a/z", "a/b/z"]) expect(must(compileGlobs(["a/**/z"]))(key)).toBe(true);
  });
});

describe("prefixes and globs", () => {
  const asked = (prefixes: string[], globs: string[], keys: string[]) => {
    const objects = new NamedObjects({ prefixes, globs });
    return { named: keys.filter((key) => objects.has(key)), refusal: objects.refusal };
  };

  it("name what any of them matches", () => {
    const { named, refusal } = asked(["a/"], ["b/*.json"], ["a/1", "a/2", "b/1.json", "b/2.txt", "c"]);
    expect([named, refusal]).toEqual([["a/1", "a/2", "b/1.json"], null]);
  });

  it("are refused by the first that matches nothing, also where another matches", () => {
    expect(asked(["a/", "x/"], [], ["a/1"]).refusal).toMatchObject({ code: "empty-input", field: "input.prefixes.1" });
    const { refusal } = asked(["a/"], ["a/*", "a/*.png"], ["a/1"]);
    expect(refusal).toMatchObject({ code: "empty-input", field: "input.globs.1" });
  });
});

describe("the records of an object", () => {
  const lines = Array.from({ length: 9000 }, (_, n) => `{"record":${n},"text":"${"x".repeat(n % 97)}"}\n`);
  const bytes = new TextEncoder().encode(`\ufeff${lines.join("")}\n\n`);
  const indexed = (content: Uint8Array) => {
    const said = { kind: "lines" as const, encoding: null };
    const builder = new IndexBuilder({ key: "d/a.jsonl", etag: "e", size: content.length, gzip: false, said });
    builder.push(content);
    return builder.finish();
  };

  it("are handed out as ranges that begin where a record does, and leave none out", () => {
    for (const target of [1, 100_000, 150_000, bytes.length, 10 * bytes.length]) {
      const parts = recordParts("a.jsonl", indexed(bytes), target);
      // After the byte order mark.
      let [offset, record] = [3, 0];
      for (const part of parts) {
        expect([part.range?.offset, part.records?.first]).toEqual([offset, record]);
        const { offset: from = 0, length = 0 } = part.range ?? {};
        expect(part.size).toBe(length);
        const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(from, from + length));
        const found = text.split("\n").filter((line) => line !== "");
        expect(found).toHaveLength(part.records?.count ?? 0);
        expect(JSON.parse(found[0] ?? "")).toMatchObject({ record });
        [offset, record] = [offset + length, record + found.length];
      }
      expect([offset, record]).toEqual([bytes.length, lines.length]);
      if (target > 100_000 && parts.length > 1)
        expect(Math.max(...parts.map(({ size }) => size))).toBeLessThan(target + 1);
    }
    expect(recordParts("a.jsonl", indexed(bytes), bytes.length)).toHaveLength(1);
    expect(recordParts("a.jsonl", indexed(bytes), 1).length).toBeGreaterThan(3);
  });

  it("are no ranges where there are none", () => {
    expect(recordParts("a.jsonl", indexed(new TextEncoder().encode("\n \n")), 10)).toEqual([]);
    expect(recordParts("a.jsonl", indexed(new Uint8Array(0)), 10)).toEqual([]);
  });
});
