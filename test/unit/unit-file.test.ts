import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  findPages,
  formatUnitIndex,
  PageWriter,
  parsePage,
  parseUnitIndex,
  UNIT_PAGE_BYTES,
  type UnitIndex,
  type UnitPage,
} from "../../workers/core/jobs/units/unit-file.ts";
import type { Part, Unit } from "../../workers/core/jobs/units/unit.ts";

const size = fc.nat(1_000_000);
const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
const part: fc.Arbitrary<Part> = fc.oneof(
  fc.record({ key, size }),
  fc.tuple(key, size, size, size, size).map(([name, length, offset, first, count]) => ({
    ...{ key: name, size: length },
    ...{ range: { offset, length }, records: { first, count } },
  })),
  fc.record({ key, size, array: key, chunk: fc.array(size, { maxLength: 4 }) }),
);
const unit: fc.Arbitrary<Unit> = fc
  .array(part, { minLength: 1, maxLength: 8 })
  .map((parts) => ({ parts, bytes: parts.reduce((sum, each) => sum + each.size, 0) }));

function write(units: readonly Unit[]): UnitPage[] {
  const writer = new PageWriter();
  const pages = units.flatMap((each) => writer.push(each) ?? []);
  const last = writer.end();
  expect(writer.count).toBe(units.length);
  return last === null ? pages : [...pages, last];
}
const read = (page: UnitPage) => parsePage(new TextDecoder().decode(page.bytes)) ?? [];
const objects = (count: number, length: number): Unit[] =>
  Array.from({ length: count }, (_, n) => ({ parts: [{ key: String(n).padStart(length, "k"), size: 1 }], bytes: 1 }));

/** An index over pages, so many to a file. */
function indexOf(pages: readonly UnitPage[], units: number, perFile: number): UnitIndex {
  const files: UnitIndex["files"] = [];
  for (let at = 0; at < pages.length; at += perFile) {
    let offset = 0;
    const placed = pages.slice(at, at + perFile).map(({ first, bytes }): [number, number, number] => {
      offset += bytes.length;
      return [first, offset - bytes.length, bytes.length];
    });
    files.push({ etag: `e${files.length}`, pages: placed });
  }
  return { v: 1, units, bytes: 0, digest: "0".repeat(64), files };
}

describe("pages of units", () => {
  it("read back as they were written, each of at most 64 KiB", () => {
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 200 }), (units) => {
        const pages = write(units);
        expect(pages.flatMap(read)).toEqual(units);
        let first = 0;
        for (const page of pages) {
          expect(page.first).toBe(first);
          first += read(page).length;
          expect(page.bytes.length).toBeLessThanOrEqual(UNIT_PAGE_BYTES);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("are filled, and hold a larger unit alone", () => {
    const pages = write(objects(5000, 100));
    expect(pages.length).toBeGreaterThan(5);
    for (const page of pages.slice(0, -1)) expect(page.bytes.length).toBeGreaterThan(UNIT_PAGE_BYTES - 200);
    const large = { parts: objects(1000, 100).flatMap(({ parts }) => parts), bytes: 1000 };
    expect(write([...objects(1, 10), large, ...objects(1, 10)]).map((page) => read(page).length)).toEqual([1, 1, 1]);
  });

  it("are not read where they are none", () => {
    for (const text of ["", "{}", "[1]", "[[1]]", '[[["k"]]]', '[[["k",-1]]]', '[[["k",1,2]]]', '[[["k",1,"a",[-1]]]]'])
      expect(parsePage(text), text).toBeNull();
    expect(parsePage('[[["k",1,2,3,4,5]]]')).toBeNull();
  });
});

describe("the index of a list of units", () => {
  it("finds the page of each unit, once, in the order asked for", () => {
    const units = objects(3000, 150);
    const pages = write(units);
    for (const perFile of [1, 2, 100]) {
      const index = parseUnitIndex(formatUnitIndex(indexOf(pages, units.length, perFile)));
      if (index === null) throw new Error("no index");
      const holds = fc.array(fc.nat(units.length - 1), { maxLength: 10 });
      fc.assert(
        fc.property(holds, (numbers) => {
          const found = findPages(index, numbers) ?? [];
          for (const number of numbers)
            expect(found.filter(({ first, end }) => first <= number && number < end)).toHaveLength(1);
          for (const { file, etag, offset, length, first, end } of found) {
            expect(etag).toBe(`e${file}`);
            const page = pages.find((each) => each.first === first);
            expect([length, end - first]).toEqual([page?.bytes.length, page === undefined ? 0 : read(page).length]);
            const before = pages.slice(file * perFile).filter((each) => each.first < first);
            expect(offset).toBe(before.reduce((sum, { bytes }) => sum + bytes.length, 0));
          }
          const needed = numbers.map((number) => found.findIndex(({ first, end }) => first <= number && number < end));
          expect([...new Set(needed)]).toEqual(found.map((_, n) => n));
        }),
      );
    }
  });

  it("finds no page of a unit that there is not", () => {
    const index = indexOf(write(objects(3, 10)), 3, 1);
    for (const number of [3, -1, 0.5, Number.NaN]) expect(findPages(index, [0, number])).toBeNull();
    expect(findPages(index, [])).toEqual([]);
  });

  it("is not read where it is none", () => {
    const index = indexOf(write(objects(3, 10)), 3, 1);
    for (const wrong of [{}, { ...index, v: 2 }, { ...index, digest: "x" }, { ...index, more: 1 }])
      expect(parseUnitIndex(JSON.stringify(wrong))).toBeNull();
    expect(parseUnitIndex("{")).toBeNull();
  });
});
