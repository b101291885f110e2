import { failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";
import type { ChunkGrid } from "./grid.ts";

/** The chunks that a selection of an array's elements lies in, in C order: the last dimension goes first. */
export interface ChunkSelection {
  /** How many there are. */
  count: number;
  /** The chunk at a place of that order. */
  at(index: number): number[];
  /** The place of a chunk in that order; null where it is not selected. */
  indexOf(chunk: readonly number[]): number | null;
}

/** Elements along one dimension: from the first to before the second. */
export type Span = [start: number, stop: number];

/** What `start:stop` says of a dimension of so many elements; either may be left out. */
export function sliceOf(text: string, size: number): Span {
  const [from = "", to = ""] = text.split(":");
  return [from === "" ? 0 : Number(from), to === "" ? size : Number(to)];
}

/**
 * Plans a selection.
 *
 * @param select for each dimension, from the first on, `start:stop` in elements, either of which may be left out; the
 *   dimensions that have none are selected whole
 */
export function planSelection(
  { shape, chunkShape, counts }: Pick<ChunkGrid, "shape" | "chunkShape" | "counts">,
  select: readonly string[],
): Result<ChunkSelection> {
  if (select.length > shape.length) {
    return wrong(`it has ${select.length} slices, and the array ${shape.length} dimensions`);
  }
  const spans: { first: number; length: number }[] = [];
  for (const [dimension, size] of shape.entries()) {
    const text = select[dimension];
    if (text === undefined) {
      spans.push({ first: 0, length: counts[dimension] ?? 0 });
      continue;
    }
    const [start, stop] = sliceOf(text, size);
    if (!(start < stop && stop <= size)) {
      return wrong(`"${text}" selects nothing within dimension ${dimension}, which has ${size} elements`);
    }
    const side = chunkShape[dimension] ?? 1;
    const first = Math.floor(start / side);
    spans.push({ first, length: Math.ceil(stop / side) - first });
  }
  return ok({
    count: spans.reduce((product, { length }) => product * length, 1),
    at(index) {
      const chunk = spans.map(({ first }) => first);
      let rest = index;
      for (let dimension = spans.length - 1; dimension >= 0; dimension--) {
        const { first, length } = spans[dimension] ?? { first: 0, length: 1 };
        chunk[dimension] = first + (rest % length);
        rest = Math.floor(rest / length);
      }
      return chunk;
    },
    indexOf(chunk) {
      let index = 0;
      for (const [dimension, { first, length }] of spans.entries()) {
        const along = (chunk[dimension] ?? -1) - first;
        if (along < 0 || along >= length) return null;
        index = index * length + along;
      }
      return index;
    },
  });
}

const wrong = (why: string): Result<never> =>
  fail(failure("not-zarr", `The selection is not one of the array: ${why}.`, { field: "select" }));
