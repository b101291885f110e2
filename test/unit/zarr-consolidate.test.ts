import { describe, expect, test } from "vitest";
import { consolidate, hierarchiesOf } from "../../workers/core/zarr/consolidate.ts";

describe("the hierarchies among metadata documents", () => {
  test("are those of the outermost groups, each with its own documents, of either format", () => {
    const keys = [
      ...["a/zarr.json", "a/x/zarr.json", "a.b/zarr.json", "a-/zarr.json", "b/.zgroup", "b/.zattrs", "b/c/.zarray"],
      ...["b/c/.zgroup", "d/.zgroup", "d/.zmetadata", "e/.zarray"],
    ];
    const found = hierarchiesOf(keys, 100).map(
      ({ root, format, documents }) => `${root} ${format} ${documents.length}`,
    );
    expect(found.toSorted()).toEqual(["a-/ 3 1", "a.b/ 3 1", "a/ 3 2", "b/ 2 4"]);
    expect(hierarchiesOf(["zarr.json", "x/zarr.json"], 100)).toEqual([
      { root: "", format: 3, documents: ["x/zarr.json", "zarr.json"] },
    ]);
  });

  test("of ten thousand stores side by side are found in one pass over their keys", () => {
    let looks = 0;
    const keys = Array.from({ length: 10_000 }, (_, n) => `sample-${n}/zarr.json`);
    const counted = new Proxy(keys, {
      get(target, property) {
        looks++;
        return Reflect.get(target, property) as unknown;
      },
    });
    expect(hierarchiesOf(counted, 101)).toHaveLength(101);
    expect(looks).toBeLessThan(20 * keys.length);
  });
});

test("a document that is no JSON object is refused, and one that has consolidated metadata is left alone", () => {
  const hierarchy = { root: "", format: 3 as const, documents: ["zarr.json"] };
  expect(() => consolidate(hierarchy, new Map([["zarr.json", "[]"]]))).toThrow(SyntaxError);
  const own = '{"node_type": "group", "consolidated_metadata": null}';
  expect(consolidate(hierarchy, new Map([["zarr.json", own]]))).toBeNull();
  expect(consolidate(hierarchy, new Map([["zarr.json", '{"node_type": "array"}']]))).toBeNull();
});
