import * as z from "zod";
import { failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";

/**
 * How an array is divided into chunks, and under which names they are stored: relative to the array's folder. Of a sharded
 * array these are the shards: its chunk grid is that of the outer chunks (Zarr 3 core, "Chunk grids"; sharding codec 1.0).
 */
export interface ChunkGrid {
  shape: readonly number[];
  chunkShape: readonly number[];
  /** Chunks along each dimension. */
  counts: readonly number[];
  /** What all names of chunks begin with, and the first text after all of them, in UTF-8 order. */
  names: { start: string; end: string };
  keyOf(chunk: readonly number[]): string;
  /** The place in the grid of what goes by this name; null where the name is no chunk's. */
  chunkAt(name: string): number[] | null;
}

/** Dimensions of an array: as many as NumPy had until its version 2. */
const DIMENSIONS_MAX = 32;

const extent = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const side = extent.min(1);
const separator = z.enum([".", "/"]);

const v2Document = z.object({
  zarr_format: z.literal(2),
  shape: z.array(extent),
  chunks: z.array(side),
  dimension_separator: separator.default("."),
});

const v3Group = z.object({ zarr_format: z.literal(3), node_type: z.literal("group") });
const v3Document = z.object({
  zarr_format: z.literal(3),
  node_type: z.literal("array"),
  shape: z.array(extent),
  chunk_grid: z.object({
    name: z.literal("regular"),
    configuration: z.object({ chunk_shape: z.array(side) }),
  }),
  chunk_key_encoding: z.discriminatedUnion("name", [
    z.object({
      name: z.literal("default"),
      configuration: z.object({ separator: separator.default("/") }).prefault({}),
    }),
    z.object({ name: z.literal("v2"), configuration: z.object({ separator: separator.default(".") }).prefault({}) }),
  ]),
});

/** Reads `.zarray`, of format 2, or `zarr.json`, of format 3. `not-zarr` says what of it is not as it should be. */
export function parseGrid(document: ".zarray" | "zarr.json", text: string): Result<ChunkGrid> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return notZarr(`its ${document} is no JSON`);
  }
  if (document === ".zarray") {
    const read = v2Document.safeParse(parsed);
    if (!read.success) return notZarr(problemOf(document, read.error));
    const { shape, chunks, dimension_separator } = read.data;
    return gridOf(shape, chunks, "v2", dimension_separator);
  }
  if (v3Group.safeParse(parsed).success) return notZarr("it is a group; name one of its arrays");
  const read = v3Document.safeParse(parsed);
  if (!read.success) return notZarr(problemOf(document, read.error));
  const { shape, chunk_grid, chunk_key_encoding: encoding } = read.data;
  return gridOf(shape, chunk_grid.configuration.chunk_shape, encoding.name, encoding.configuration.separator);
}

function gridOf(
  shape: readonly number[],
  chunkShape: readonly number[],
  encoding: "default" | "v2",
  between: string,
): Result<ChunkGrid> {
  if (shape.length !== chunkShape.length) {
    return notZarr(`its shape has ${shape.length} dimensions, and its chunks have ${chunkShape.length}`);
  }
  if (shape.length > DIMENSIONS_MAX) {
    return notZarr(`it has ${shape.length} dimensions, and may have ${DIMENSIONS_MAX}`);
  }
  const counts = shape.map((size, dimension) => Math.ceil(size / (chunkShape[dimension] ?? 1)));
  // An array without dimensions has one chunk: "c", or "0" (Zarr 3 core, "Chunk key encoding").
  const isPoint = shape.length === 0;
  const before = encoding === "v2" ? "" : `c${isPoint ? "" : between}`;
  const point = encoding === "v2" ? "0" : "c";
  return ok({
    shape,
    chunkShape,
    counts,
    // ":" comes after "9".
    names: {
      start: `${before}${encoding === "default" && isPoint ? "" : "0"}`,
      end: isPoint ? `${point}\0` : `${before}:`,
    },
    keyOf: (chunk) => (isPoint ? point : before + chunk.join(between)),
    chunkAt(name) {
      if (isPoint) return name === point ? [] : null;
      if (!name.startsWith(before)) return null;
      const numbers = name.slice(before.length).split(between);
      if (numbers.length !== counts.length) return null;
      const isThere = numbers.every(
        (text, dimension) => /^(?:0|[1-9]\d{0,15})$/.test(text) && Number(text) < (counts[dimension] ?? 0),
      );
      return isThere ? numbers.map(Number) : null;
    },
  });
}

/** What is wrong, by the member of the document at fault. */
function problemOf(document: string, { issues: [issue] }: z.ZodError): string {
  const where = issue?.path.join(".") ?? "";
  const what = where.startsWith("chunk_grid")
    ? "only regular grids can be cut"
    : where.startsWith("chunk_key_encoding")
      ? 'only the encodings "default" and "v2" are known'
      : (issue?.message ?? "");
  return `"${where}" of its ${document}: ${what}`;
}

const notZarr = (why: string): Result<never> =>
  fail(failure("not-zarr", `The array cannot be cut into chunks: ${why}.`, { field: "path" }));
