/** zarrita in Node on the matrix of Zarr stores, by each way that its FetchStore has. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as zarr from "zarrita";
import type { Checks } from "../harness/checks.ts";

/** How a dataset is reached: with the capability in the path, or apart from the URL. */
export interface Roots {
  /** `/t/<capability>/<dataset>/` */
  signed: string;
  /** `/d/<dataset>/` */
  bare: string;
  capability: string;
}

/** An array as the writer wrote it. */
interface Written {
  path: string;
  /** numpy's name. */
  dtype: string;
  shape: number[];
  /** Of its values: raw little-endian bytes in C order. */
  file: string;
  /** Where its shards have their index, in a sharded store. */
  index: "start" | "end";
}

interface Matrix {
  stores: { name: string; sharded: boolean; consolidated: boolean }[];
  groups: Record<string, zarr.Attributes>;
  arrays: Written[];
  large: Written[];
}

type Opened = zarr.Location<zarr.Readable>;
type Opener = (store: string) => Opened | Promise<Opened>;

/**
 * What zarrita 0.7.5 can read: no complex numbers, no array without a cell, and of shards only those with their index at
 * the end, where it looks whatever the metadata say.
 */
const isSupported = ({ dtype, shape, index }: Written, sharded: boolean) =>
  !dtype.startsWith("complex") && !shape.includes(0) && !(sharded && index === "start");

/** `truth` is the folder of the values that were written, with matrix.json, which says what is where. */
export async function checkZarrita(checks: Checks, roots: Roots, truth: string): Promise<void> {
  const matrix = JSON.parse(readFileSync(join(truth, "matrix.json"), "utf8")) as Matrix;
  const arraysOf = (sharded: boolean) => matrix.arrays.filter((array) => isSupported(array, sharded));
  const large = matrix.large.filter((array) => isSupported(array, true));
  const url = (store: string) => roots.signed + store;
  const query = (store: string) => `${roots.bare}${store}?token=${roots.capability}`;
  const headers = { authorization: `Bearer ${roots.capability}` };

  const plain: Opener = (store) => zarr.root(new zarr.FetchStore(url(store)));
  const suffix: Opener = (store) => zarr.root(new zarr.FetchStore(url(store), { useSuffixRequest: true }));
  const consolidated: Opener = async (store) =>
    zarr.root(await zarr.withConsolidatedMetadata(new zarr.FetchStore(url(store))));
  const coalescing: Opener = (store) =>
    zarr.root(zarr.withRangeCoalescing(new zarr.FetchStore(url(store), { useSuffixRequest: true })));
  const byHeader: Opener = (store) => zarr.root(new zarr.FetchStore(roots.bare + store, { overrides: { headers } }));
  const byQuery: Opener = (store) => zarr.root(new zarr.FetchStore(query(store)));

  const check = async (sentence: string, opener: Opener, store: string, written: Written[]) => {
    const wrong = await differences(opener, store, written, truth);
    checks.that(`${sentence} (${written.length} arrays)`, written.length > 0 && wrong.length === 0, wrong.slice(0, 5));
  };
  for (const { name, sharded, ...store } of matrix.stores) {
    const arrays = arraysOf(sharded);
    await check(`every array of ${name}`, plain, name, arrays);
    // Only a shard's index is asked for by its end.
    if (sharded) await check(`useSuffixRequest: every array of ${name}`, suffix, name, arrays);
    if (store.consolidated) await check(`by consolidated metadata: every array of ${name}`, consolidated, name, arrays);
    checks.equal(`the attributes of ${name}'s groups`, await attributesOf(await plain(name), matrix), matrix.groups);
  }
  for (const [way, opener] of Object.entries({ plain, useSuffixRequest: suffix, withRangeCoalescing: coalescing })) {
    await check(`${way}: chunks and shards of 11 MB`, opener, "large", large);
  }
  await check("the capability in a header", byHeader, "v3-sharded-slash", arraysOf(true));
  await check("the capability in the query, which it keeps", byQuery, "v3-sharded-slash", arraysOf(true));
  await check("the capability in the query, which it keeps (v2)", byQuery, "v2-dot", arraysOf(false));

  const refused = await zarr
    .open(zarr.root(new zarr.FetchStore(`${roots.bare}v3-slash/weather/counts`)), { kind: "array" })
    .then(() => "opened", String);
  checks.that("without a capability nothing opens: a 401", refused.includes("401"), refused);
}

/** What is not as it was written, a line each. */
async function differences(opener: Opener, store: string, written: Written[], truth: string): Promise<string[]> {
  const root = await opener(store);
  const found = await Promise.all(
    written.map(async ({ path, shape, file }) => {
      try {
        const array = await zarr.open(root.resolve(path), { kind: "array" });
        const bytes = await valuesOf(array);
        const same = Buffer.compare(bytes, readFileSync(join(truth, file))) === 0;
        return same && String(array.shape) === String(shape) ? [] : [`${path}: [${String(array.shape)}], other values`];
      } catch (error) {
        return [`${path}: ${String(error)}`];
      }
    }),
  );
  return found.flat();
}

/** As the machine holds them, which is little-endian wherever this runs. */
async function valuesOf(array: zarr.Array<zarr.DataType>): Promise<Uint8Array> {
  const read = await zarr.get(array);
  // Of an array without dimensions it returns the value itself.
  const data = typeof read === "number" ? Float64Array.of(read) : read.data;
  if (!("buffer" in data)) throw new Error(`${array.dtype} has no buffer`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function attributesOf(root: Opened, { groups }: Matrix): Promise<Record<string, zarr.Attributes>> {
  const opened = Object.keys(groups).map(async (path) => {
    const group = await zarr.open(path === "" ? root : root.resolve(path), { kind: "group" });
    return [path, group.attrs] as const;
  });
  return Object.fromEntries(await Promise.all(opened));
}
