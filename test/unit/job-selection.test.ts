import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jobBodySchema } from "../../workers/core/jobs/request.ts";
import { selectionsOf } from "../../workers/core/jobs/units/selected.ts";

const selectionOf = (shape: number[], chunkShape: number[], selects: (string[] | undefined)[]) => {
  const zarr = selects.map((select) => ({ path: "t", ...(select === undefined ? {} : { select }) }));
  const { input } = jobBodySchema.parse({ name: "a", dataset: "era5@1", input: { zarr } });
  const of = selectionsOf({ input, arrays: [{ path: "t", shape, chunkShape }] });
  return (...chunk: number[]) => of({ key: "", size: 1, array: "t", chunk });
};

describe("which elements of a chunk are selected", () => {
  test("is said in places of the array, up to its edge", () => {
    const of = selectionOf([10, 7], [4, 4], [["3:9"]]);
    expect([of(0, 0), of(1, 1), of(2, 1)]).toEqual([
      [
        [3, 4],
        [0, 4],
      ],
      [
        [4, 8],
        [4, 7],
      ],
      [
        [8, 9],
        [4, 7],
      ],
    ]);
  });

  test("is the least block around all selections that meet in it, and all of it where one is the whole array", () => {
    const two = selectionOf([12], [6], [["1:3"], ["2:4"], ["11:"]]);
    expect([two(0), two(1)]).toEqual([[[1, 4]], [[11, 12]]]);
    expect(selectionOf([12], [6], [["1:3"], undefined])(0)).toEqual([[0, 6]]);
  });

  test("is not said of what is no chunk, nor of arrays that are named whole", () => {
    const { input } = jobBodySchema.parse({ name: "a", dataset: "era5@1", input: { zarr: [{ path: "t" }] } });
    expect(selectionsOf({ input })({ key: "t/0", size: 1, array: "t", chunk: [0] })).toBeNull();
    expect(selectionsOf({ input })({ key: "x", size: 1 })).toBeNull();
  });

  test("divides the selection: every element of it is in one chunk's", () => {
    const property = fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(39),
      fc.nat(39),
      (size, side, a, b) => {
        const [start, stop] = [Math.min(a, b), Math.max(a, b) + 1];
        fc.pre(stop <= size);
        const of = selectionOf([size], [side], [[`${start}:${stop}`]]);
        const elements: number[] = [];
        for (let chunk = 0; chunk * side < size; chunk++) {
          const [[from, to] = [0, 0]] = of(chunk) ?? [];
          for (let at = from; at < to; at++) elements.push(at);
        }
        expect(elements).toEqual(Array.from({ length: stop - start }, (_, n) => start + n));
      },
    );
    fc.assert(property);
  });
});
