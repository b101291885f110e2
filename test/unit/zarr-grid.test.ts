import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { planSelection } from "../../workers/core/zarr/chunk-selection.ts";
import { type ChunkGrid, parseGrid } from "../../workers/core/zarr/grid.ts";
import { must } from "../harness/must.ts";

const v2 = (more: object = {}) =>
  JSON.stringify({ zarr_format: 2, shape: [4, 6], chunks: [2, 3], dtype: "<i2", ...more });
const v3 = (more: object = {}) =>
  JSON.stringify({
    ...{ zarr_format: 3, node_type: "array", shape: [4, 6] },
    chunk_grid: { name: "regular", configuration: { chunk_shape: [2, 3] } },
    chunk_key_encoding: { name: "default", configuration: { separator: "/" } },
    ...more,
  });
const encoded = (name: string, separator?: string) => ({
  chunk_key_encoding: { name, ...(separator === undefined ? {} : { configuration: { separator } }) },
});
const keysOf = (grid: ChunkGrid, select: string[] = []) => {
  const selection = must(planSelection(grid, select));
  return Array.from({ length: selection.count }, (_, n) => grid.keyOf(selection.at(n)));
};
const refusal = (result: { ok: boolean; failure?: { code: string; field?: string; detail: string } }) =>
  result.ok ? null : [result.failure?.code, result.failure?.field];

describe("the chunks of an array", () => {
  it.each([
    ["format 2", ".zarray", v2(), ["0.0", "0.1", "1.0", "1.1"]],
    ["format 2, nested", ".zarray", v2({ dimension_separator: "/" }), ["0/0", "0/1", "1/0", "1/1"]],
    ["format 3", "zarr.json", v3(), ["c/0/0", "c/0/1", "c/1/0", "c/1/1"]],
    ["format 3 without configuration", "zarr.json", v3(encoded("default")), ["c/0/0", "c/0/1", "c/1/0", "c/1/1"]],
    ["format 3 with dots", "zarr.json", v3(encoded("default", ".")), ["c.0.0", "c.0.1", "c.1.0", "c.1.1"]],
    ["format 3 named as format 2", "zarr.json", v3(encoded("v2")), ["0.0", "0.1", "1.0", "1.1"]],
    ["format 3 named as format 2, nested", "zarr.json", v3(encoded("v2", "/")), ["0/0", "0/1", "1/0", "1/1"]],
  ] as const)("have the names of %s, in C order", (_, document, text, keys) => {
    expect(keysOf(must(parseGrid(document, text)))).toEqual(keys);
  });

  it("of a sharded array are its shards", () => {
    const text = readFileSync(new URL("../fixtures/zarr/precip-v3.zarr/precip/zarr.json", import.meta.url), "utf8");
    expect(text).toContain("sharding_indexed");
    expect(keysOf(must(parseGrid("zarr.json", text)))).toEqual(["c/0/0", "c/0/1", "c/1/0", "c/1/1"]);
  });

  it("of an array without dimensions are one", () => {
    const none = { shape: [], chunks: [], chunk_grid: { name: "regular", configuration: { chunk_shape: [] } } };
    expect(keysOf(must(parseGrid(".zarray", v2(none))))).toEqual(["0"]);
    for (const separator of ["/", "."]) {
      expect(keysOf(must(parseGrid("zarr.json", v3({ ...none, ...encoded("default", separator) }))))).toEqual(["c"]);
      expect(keysOf(must(parseGrid("zarr.json", v3({ ...none, ...encoded("v2", separator) }))))).toEqual(["0"]);
    }
  });

  it("are of 32 dimensions at most", () => {
    const of = (dimensions: number) => {
      const ones = Array.from({ length: dimensions }, () => 1);
      return parseGrid(".zarray", v2({ shape: ones, chunks: ones }));
    };
    expect(keysOf(must(of(32)))).toEqual([Array.from({ length: 32 }, () => "0").join(".")]);
    for (const many of [33, 200_000]) expect(refusal(of(many))).toEqual(["not-zarr", "path"]);
  });

  it("at the edge of the array are counted, though they are not whole", () => {
    expect(must(parseGrid(".zarray", v2({ shape: [5, 7] }))).counts).toEqual([3, 3]);
  });

  const arrays = fc
    .array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 15 })), { maxLength: 4 })
    .filter((dimensions) => dimensions.reduce((n, [size, side]) => n * Math.ceil(size / side), 1) <= 2000);
  const grids = fc
    .record({ dimensions: arrays, name: fc.constantFrom("default", "v2"), separator: fc.constantFrom("/", ".") })
    .map(({ dimensions, name, separator }) => {
      const configuration = { chunk_shape: dimensions.map(([, side]) => side) };
      const shape = dimensions.map(([size]) => size);
      const text = v3({ shape, chunk_grid: { name: "regular", configuration }, ...encoded(name, separator) });
      return must(parseGrid("zarr.json", text));
    });

  it("are, of the whole array, the product of those along each dimension, each found again by its name", () => {
    fc.assert(
      fc.property(grids, (grid) => {
        let product: number[][] = [[]];
        for (const count of grid.counts)
          product = product.flatMap((chunk) => Array.from({ length: count }, (_, n) => [...chunk, n]));
        expect(keysOf(grid)).toEqual(product.map((chunk) => grid.keyOf(chunk)));
        const selection = must(planSelection(grid, []));
        for (const [n, chunk] of product.entries()) {
          const key = grid.keyOf(chunk);
          expect(grid.chunkAt(key)).toEqual(chunk);
          expect(selection.indexOf(chunk)).toBe(n);
          expect(compareUtf8(grid.names.start, key)).toBeLessThanOrEqual(0);
          expect(compareUtf8(key, grid.names.end)).toBeLessThan(0);
        }
      }),
    );
  });

  it("are, of a selection, those that hold an element of it", () => {
    const cases = grids.chain((grid) =>
      fc.tuple(fc.constant(grid), fc.tuple(...grid.shape.map((size) => fc.tuple(fc.nat(size - 1), fc.nat(size - 1))))),
    );
    fc.assert(
      fc.property(cases, ([grid, ends]) => {
        const spans = ends.map(([a, b]) => [Math.min(a, b), Math.max(a, b) + 1] as const);
        const selection = must(
          planSelection(
            grid,
            spans.map(([start, stop]) => `${start}:${stop}`),
          ),
        );
        const chosen = must(planSelection(grid, []));
        const expected = Array.from({ length: chosen.count }, (_, n) => chosen.at(n)).filter((chunk) =>
          spans.every(([start, stop], dimension) => {
            const side = grid.chunkShape[dimension] ?? 1;
            const first = (chunk[dimension] ?? 0) * side;
            return first < stop && first + side > start;
          }),
        );
        expect(Array.from({ length: selection.count }, (_, n) => selection.at(n))).toEqual(expected);
        for (const chunk of expected) expect(selection.indexOf(chunk)).not.toBeNull();
        expect(expected.filter((chunk) => selection.indexOf(chunk) !== null)).toHaveLength(selection.count);
      }),
    );
  });

  it("take slices that are open at either end, or missing", () => {
    const grid = must(parseGrid(".zarray", v2()));
    expect(keysOf(grid, ["2:"])).toEqual(["1.0", "1.1"]);
    expect(keysOf(grid, [":", ":3"])).toEqual(["0.0", "1.0"]);
    expect(keysOf(grid, ["1:3", "3:4"])).toEqual(["0.1", "1.1"]);
    expect(keysOf(grid, ["3:4", "5:6"])).toEqual(["1.1"]);
  });

  it("have no other names", () => {
    const grid = must(parseGrid("zarr.json", v3()));
    for (const name of ["c", "c/0", "c/0/0/0", "c/00/0", "c/0/2", "c/2/0", "c/-1/0", "c.0.0", "0/0", "c/0/a", "c/0/"])
      expect(grid.chunkAt(name), name).toBeNull();
  });
});

describe("what is refused with the field at fault", () => {
  it.each([
    ["no JSON", ".zarray", "{"],
    ["an array of format 1", ".zarray", v2({ zarr_format: 1 })],
    ["sides of no length", ".zarray", v2({ chunks: [0, 3] })],
    ["sides for other dimensions", ".zarray", v2({ chunks: [2] })],
    ["a separator of its own", ".zarray", v2({ dimension_separator: "-" })],
    ["a group", "zarr.json", JSON.stringify({ zarr_format: 3, node_type: "group" })],
    ["an irregular grid", "zarr.json", v3({ chunk_grid: { name: "rectangular", configuration: {} } })],
    ["an unknown encoding", "zarr.json", v3(encoded("hilbert"))],
  ] as const)("is %s", (_, document, text) => {
    expect(refusal(parseGrid(document, text))).toEqual(["not-zarr", "path"]);
  });

  it("says what kind of thing stands there", () => {
    const group = parseGrid("zarr.json", JSON.stringify({ zarr_format: 3, node_type: "group" }));
    expect(group.ok ? "" : group.failure.detail).toContain("it is a group; name one of its arrays");
    const grid = parseGrid("zarr.json", v3({ chunk_grid: { name: "rectangular" } }));
    expect(grid.ok ? "" : grid.failure.detail).toContain("only regular grids");
  });

  it.each([[["0:4", "0:6", "0:1"]], [["4:4"]], [["3:2"]], [["0:5"]], [["4:"]], [[":0"]], [["0:4", "6:7"]]])(
    "is a selection %j outside the array",
    (select) => {
      expect(refusal(planSelection(must(parseGrid(".zarray", v2())), select))).toEqual(["not-zarr", "select"]);
    },
  );
});
