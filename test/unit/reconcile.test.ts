import { describe, expect, test } from "vitest";
import { compareSides, type Side, type WalkedObject, type WalkedRow } from "../../workers/core/manifest/reconcile.ts";

const row = (key: string, more: Partial<WalkedRow> = {}): WalkedRow => ({
  ...{ key, etag: "e", uploadedAt: 5, isAsked: false },
  ...more,
});
const listed = (...keys: string[]) => keys.map((key) => ({ key, etag: "e", lastModified: 5 }));
const compare = (listing: Side<WalkedObject>, rows: Side<WalkedRow>, most = 100) => compareSides(listing, rows, most);

describe("a listing and the rows beside it", () => {
  test("differ by what is there on one side, or otherwise, and by what R2 is being asked about", () => {
    const found = compare(
      { items: listed("a", "b", "c", "d"), end: null },
      { items: [row("a"), row("b", { etag: "older" }), row("bb"), row("c", { isAsked: true })], end: null },
    );
    const hints = ["b", "bb", "c", "d"].map((key) => ({ key, isListed: key !== "bb" }));
    expect(found).toEqual({ listed: 4, same: 1, hints, end: null });
  });

  test("differ where the same bytes were uploaded anew since, and not where the row is as young", () => {
    const rows = [row("a", { uploadedAt: 4 }), row("b", { uploadedAt: 6 }), row("c")];
    const { hints } = compare({ items: listed("a", "b", "c"), end: null }, { items: rows, end: null });
    expect(hints).toEqual([{ key: "a", isListed: true }]);
  });

  test("are compared up to the last of so many differences, and counted as far as that", () => {
    const listing = { items: listed("a", "b", "d", "e"), end: "e" };
    const rows = { items: [row("a"), row("c"), row("d"), row("e", { etag: "older" })], end: null };
    const differences = ["b", "c", "e"].map((key) => ({ key, isListed: key !== "c" }));
    const upTo = (most: number, end: string, counts: object) =>
      expect(compare(listing, rows, most)).toEqual({ hints: differences.slice(0, most), end, ...counts });
    upTo(1, "b", { listed: 2, same: 1 });
    upTo(2, "c", { listed: 2, same: 1 });
    upTo(3, "e", { listed: 4, same: 2 });
  });

  test("are compared as far as both go, and no row is taken for one without an object beyond that", () => {
    expect(
      compare({ items: listed("a", "b"), end: "b" }, { items: [row("a"), row("b"), row("c")], end: null }),
    ).toEqual({
      ...{ listed: 2, same: 2, hints: [], end: "b" },
    });
    expect(compare({ items: listed("a", "b"), end: null }, { items: [row("a")], end: "a" })).toEqual({
      ...{ listed: 1, same: 1, hints: [], end: "a" },
    });
  });

  test("are in the order of UTF-8, in which R2 lists", () => {
    // U+FF5E comes before U+1F600 there, and after it in UTF-16.
    const found = compare({ items: listed("\uff5e"), end: "\uff5e" }, { items: [row("\uff5e"), row("😀")], end: null });
    expect(found).toEqual({ listed: 1, same: 1, hints: [], end: "\uff5e" });
  });

  test("are compared to the end where both have come to it", () => {
    expect(compare({ items: [], end: null }, { items: [row("z")], end: null }).hints).toEqual([
      { key: "z", isListed: false },
    ]);
  });
});
