/** zarrita in a page, on stores of another origin, beside the same library on the objects that they were copied from. */
import { readFileSync } from "node:fs";
import * as zarr from "zarrita";
import { RASTER } from "../../../examples/demo/data.ts";
import type { Checks } from "../../harness/checks.ts";
import type { SourceObject } from "../../harness/local-source.ts";
import type { Name, Stage } from "../stage.ts";
import { type ArraysRead, draw, isIsolated, readArrays } from "./in-page.ts";
import type { Page } from "./page.ts";

const CUBE = ["precip", "lat", "lon"];

/** "" is an array that is the root of its store. */
const STORES: readonly { dataset: Name; what: string; paths: string[]; useSuffixRequest?: boolean }[] = [
  { dataset: "precip-v3", what: "a sharded v3 store, sizes by HEAD", paths: CUBE },
  { dataset: "precip-v3", what: "a sharded v3 store, indexes by suffix ranges", paths: CUBE, useSuffixRequest: true },
  { dataset: "precip-v2", what: "a v2 store", paths: CUBE },
  { dataset: "holes-v3", what: "a v3 array with a chunk that was never written", paths: [""] },
  { dataset: "holes-v2", what: "a v2 array with a chunk that was never written", paths: [""] },
];

/** `page` is of another origin than the Worker's; so is `isolated`, which has SharedArrayBuffer. */
export async function checkZarrReads(checks: Checks, on: Stage, page: Page, isolated: Page): Promise<void> {
  for (const { dataset, what, paths, useSuffixRequest = false } of STORES) {
    const root = await on.rootUrl(dataset);
    const expected = await readOriginals(on.objectsOf(dataset), paths);
    const read = await page.run(readArrays, root, paths, { useSuffixRequest });
    const again = await page.run(readArrays, root, paths, { useSuffixRequest });
    checks.that(`reads every value of ${what}`, isSame(read.arrays, expected), differing(read.arrays, expected));
    checks.that("and again, with what the browser kept", isSame(again.arrays, expected), again.kinds);
    checks.note(`${read.requests} requests: ${formatCounts(read.kinds)}`);

    if (dataset !== "precip-v3" && dataset !== "precip-v2") continue;
    const raster = JSON.parse(readFileSync(RASTER, "utf8")) as { width: number; height: number; values: number[] };
    const { shape, values } = read.arrays["precip"] ?? { shape: [], values: [] };
    checks.equal("which has the raster's shape", shape, [raster.height, raster.width]);
    checks.equal("and the raster's values", values, raster.values);
    if (useSuffixRequest) checks.that("by suffix ranges", (read.kinds["GET bytes=-N"] ?? 0) > 0, read.kinds);
    await page.run(draw, shape, values);
  }

  checks.that("a page of another site is isolated from other origins", await isolated.run(isIsolated));
  const shared = await isolated.run(readArrays, await on.rootUrl("precip-v3"), CUBE, { useSharedArrayBuffer: true });
  const expected = await readOriginals(on.objectsOf("precip-v3"), CUBE);
  checks.that(
    "it reads every value of a sharded v3 store, into shared memory",
    shared.isShared && isSame(shared.arrays, expected),
    shared.isShared ? differing(shared.arrays, expected) : "The memory is not shared.",
  );
}

/** Throws where there is nothing to compare with. */
async function readOriginals(objects: Map<string, SourceObject>, paths: string[]): Promise<ArraysRead["arrays"]> {
  const bytesOf = (key: string) => objects.get(key.slice(1))?.bytes;
  const store: zarr.AsyncReadable = {
    get: async (key) => bytesOf(key),
    getRange: async (key, range) =>
      "suffixLength" in range
        ? bytesOf(key)?.slice(-range.suffixLength)
        : bytesOf(key)?.slice(range.offset, range.offset + range.length),
  };
  const arrays: ArraysRead["arrays"] = {};
  for (const path of paths) {
    const at = path === "" ? zarr.root(store) : zarr.root(store).resolve(path);
    const { data, shape } = await zarr.get(await zarr.open(at, { kind: "array" }));
    arrays[path] = { shape, values: Array.from(data as ArrayLike<number>) };
    if (arrays[path].values.length === 0) throw new Error(`The original of "${path}" is empty`);
  }
  return arrays;
}

const isSame = (read: ArraysRead["arrays"], expected: ArraysRead["arrays"]): boolean =>
  JSON.stringify(read) === JSON.stringify(expected);

/** The first value of each array that is not as it was written. */
function differing(read: ArraysRead["arrays"], expected: ArraysRead["arrays"]): string[] {
  return Object.entries(expected).map(([path, { shape, values }]) => {
    const found = read[path]?.values ?? [];
    const at = values.findIndex((value, index) => found[index] !== value);
    return `"${path}", ${shape.join(" x ")}: value ${at} is ${found[at]}, not ${values[at]}`;
  });
}

const formatCounts = (kinds: Record<string, number>): string =>
  Object.entries(kinds)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ");
