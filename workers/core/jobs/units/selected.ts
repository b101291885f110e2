import { sliceOf, type Span } from "../../zarr/chunk-selection.ts";
import type { JobSpec } from "../job.ts";
import type { Part } from "./unit.ts";

/** How an array of the input is divided: what its selections are reckoned with. */
export interface ArrayShape {
  /** As the input names it. */
  path: string;
  shape: readonly number[];
  chunkShape: readonly number[];
}

/**
 * Tells of parts which elements of theirs the input selects: for each dimension from where to before where, in places of the array.
 * Null for what is no chunk, and where the input names the array without a selection. A chunk comes once however often the input
 * names it: where several selections of one array meet in it, the least block of elements that holds all of them.
 */
export function selectionsOf({ input, arrays = [] }: Pick<JobSpec, "input" | "arrays">): (part: Part) => Span[] | null {
  const selected = new Map(
    arrays.map((array) => {
      const named = input.zarr.filter(({ path }) => path === array.path);
      const blocks = named.map(({ select = [] }) =>
        array.shape.map((size, dimension) => sliceOf(select[dimension] ?? ":", size)),
      );
      return [array.path, { ...array, blocks }];
    }),
  );
  return ({ array, chunk }) => {
    const of = array === undefined ? undefined : selected.get(array);
    if (of === undefined || chunk === undefined) return null;
    const whole = of.chunkShape.map((side, dimension): Span => {
      const start = (chunk[dimension] ?? 0) * side;
      return [start, Math.min(start + side, of.shape[dimension] ?? 0)];
    });
    const blocks = of.blocks.map((block) => common(whole, block)).filter((block) => block !== null);
    return blocks.length === 0 ? null : blocks.reduce(around);
  };
}

/** The elements that both blocks have; null: none. */
function common(a: readonly Span[], b: readonly Span[]): Span[] | null {
  const both = a.map(([start, stop], dimension): Span => {
    const [from, to] = b[dimension] ?? [start, stop];
    return [Math.max(start, from), Math.min(stop, to)];
  });
  return both.every(([start, stop]) => start < stop) ? both : null;
}

/** The least block that holds both. */
const around = (a: Span[], b: Span[]): Span[] =>
  a.map(([start, stop], dimension) => {
    const [from, to] = b[dimension] ?? [start, stop];
    return [Math.min(start, from), Math.max(stop, to)];
  });
