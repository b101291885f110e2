/**
 * A GPU node that reads a job's Zarr array over presigned R2 URLs: straight from the store, past the Worker.
 *
 * The keys of all chunks follow from the array's metadata, so two requests to Penstock are enough: one URL for the
 * metadata, then one batch for every chunk.
 */
import * as zarr from "zarrita";
import type { Job, SignedUrl } from "./penstock-job.ts";

export interface Reading {
  shape: number[];
  values: ArrayLike<number>;
  requests: number;
  bytes: number;
}

/** Reads the whole Zarr v2 array at `path`, a key prefix within the job's input, such as "store.zarr/array". */
export async function readPresigned(job: Job, path: string): Promise<Reading> {
  const seen = { requests: 0, bytes: 0 };
  const signed = new Map<string, SignedUrl>();

  async function sign(keys: string[]): Promise<void> {
    for (const url of await job.readUrls(keys)) signed.set(url.key, url);
  }

  async function read(key: string): Promise<Uint8Array | undefined> {
    const url = signed.get(key);
    if (url === undefined) return undefined;
    // If-Match: the bytes are those that the manifest names, or the read fails.
    const pin: Record<string, string> = url.etag === null ? {} : { "if-match": `"${url.etag}"` };
    const response = await fetch(url.url, { headers: { ...url.headers, ...pin } });
    seen.requests++;
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`GET ${key} answered ${response.status}: ${await response.text()}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (url.size !== null && bytes.length !== url.size) throw new Error(`${key} has ${bytes.length} bytes`);
    seen.bytes += bytes.length;
    return bytes;
  }

  await sign([".zarray", ".zattrs"].map((name) => `${path}/${name}`));
  const store = { get: (key: zarr.AbsolutePath) => read(key.slice(1)) };
  const array = await zarr.open.v2(zarr.root(store).resolve(path), { kind: "array" });
  const counts = array.shape.map((size, axis) => Math.ceil(size / (array.chunks[axis] ?? size)));
  await sign(gridKeys(counts).map((chunk) => `${path}/${chunk}`));
  const { data, shape } = await zarr.get(array);
  return { shape, values: data as ArrayLike<number>, ...seen };
}

/** Chunk keys of a v2 array with the separator ".": "0.0", "0.1", ... */
function gridKeys(counts: number[]): string[] {
  return counts.reduce<string[]>(
    (keys, count) =>
      keys.flatMap((key) => Array.from({ length: count }, (_, index) => (key === "" ? `${index}` : `${key}.${index}`))),
    [""],
  );
}
