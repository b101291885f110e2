import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EVERYTHING, type ManifestQuery, type Position } from "../../workers/core/manifest/query.ts";
import type { StoredRow } from "../../workers/core/manifest/row.ts";
import { SortedPage } from "../../workers/core/manifest/sorted-rows.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";

const rowOf = (key: string): StoredRow => ({
  ...{ key, size: 1, etag: "e", uploadedAt: 0, contentType: null, contentEncoding: null, md5: null, sha256: null },
  ...{ crc64nvme: null, proof: null, origin: null, sourceKey: null, sourceEtag: null, sourceModifiedAt: null },
  ...{ storageClass: null, tags: null, writer: "", stage: null, category: null, updatedAt: 0, seq: 1 },
});
const sorted = (keys: readonly string[], count: { looks: number } = { looks: 0 }) => ({
  length: keys.length,
  keyAt(index: number): string {
    count.looks++;
    return keys[index] ?? "";
  },
  rowAt: (index: number) => rowOf(keys[index] ?? ""),
});

/** All pages, each made of runs of so many keys. */
function listed(keys: readonly string[], query: ManifestQuery, limit: number, run: number): string[] {
  const found: string[] = [];
  for (let after: Position | null = null; ;) {
    const page = new SortedPage(query, after, limit);
    let isOver = true;
    for (let at = 0; at < keys.length && isOver; at += run) isOver = page.take(sorted(keys.slice(at, at + run)));
    const { rows, prefixes, next } = page.page(1, isOver);
    found.push(...[...rows.map(({ key }) => key), ...prefixes].sort(compareUtf8));
    if (next === null) return found;
    after = next;
  }
}

/** The same, said plainly. */
function expected(keys: readonly string[], { prefix, suffix, delimiter }: ManifestQuery): string[] {
  const told = keys.flatMap((key) => {
    if (!key.startsWith(prefix)) return [];
    const at = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
    if (at >= 0) return [key.slice(0, at + 1)];
    return key.endsWith(suffix) ? [key] : [];
  });
  return [...new Set(told)];
}

describe("a page of sorted rows", () => {
  it("has what the query finds, once, whatever the length of pages and runs", () => {
    const key = fc.string({ unit: fc.constantFrom("a", "b", "/", "\u{1f600}", "\uffff"), minLength: 1, maxLength: 6 });
    const asked = fc.record({
      prefix: fc.constantFrom("", "a", "a/", "b/a", "\u{1f600}"),
      delimiter: fc.constantFrom(null, "/", "a"),
      suffix: fc.constantFrom("", "b"),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(key, { maxLength: 40 }),
        asked,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 9 }),
        (some, query, limit, run) => {
          const keys = some.toSorted(compareUtf8);
          const whole = { ...EVERYTHING, ...query };
          expect(listed(keys, whole, limit, run)).toEqual(expected(keys, whole));
        },
      ),
      { numRuns: 500 },
    );
  });

  it("of folders looks at a few keys for each, however many rows there are", () => {
    const keys = Array.from({ length: 5000 }, (_, i) => `by-sample/sample-${String(i).padStart(8, "0")}/data.bin`);
    const count = { looks: 0 };
    const page = new SortedPage({ ...EVERYTHING, prefix: "by-sample/", delimiter: "/" }, null, 10_000);
    page.take(sorted(keys, count));
    expect(page.page(1, true).prefixes).toHaveLength(5000);
    expect(count.looks).toBeLessThan(3 * keys.length);
  });

  it("skips what a folder stands for, and what is before the page, by halving", () => {
    const keys = [...Array.from({ length: 5000 }, (_, i) => `a/${String(i).padStart(5, "0")}`), "b"];
    const count = { looks: 0 };
    const page = new SortedPage({ ...EVERYTHING, delimiter: "/" }, null, 10);
    page.take(sorted(keys, count));
    expect(page.page(1, true)).toMatchObject({ prefixes: ["a/"], rows: [{ key: "b" }] });
    const late = new SortedPage(EVERYTHING, { key: "a/04999", seq: 0 }, 10);
    late.take(sorted(keys, count));
    expect(late.page(1, true).rows).toHaveLength(1);
    expect(count.looks).toBeLessThan(100);
  });
});
