/**
 * A GPU node that reads a job's Zarr array over presigned R2 URLs: straight from the store, past the Worker.
 *
 * The keys of all chunks follow from the array's metadata, so two requests to Penstock are enough: one URL for the
 * metadata, then one batch for every chunk.
 */
import * as zarr from "zarrita";
import type { Job, SignedUrl } from "./penstock-job.ts";

/** Keys in one request, and how long before its end a URL is asked for anew. */
const KEYS_AT_ONCE = 10_000;
const REFRESH_BEFORE_MS = 60_000;

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
    for (let at = 0; at < keys.length; at += KEYS_AT_ONCE) {
      for (const url of await job.readUrls(keys.slice(at, at + KEYS_AT_ONCE))) signed.set(url.key, url);
    }
  }

  async function read(key: string): Promise<Uint8Array | undefined> {
    if ((signed.get(key)?.expiresAt ?? 0) < Date.now() + REFRESH_BEFORE_MS) await sign([key]);
    const url = signed.get(key);
    // Never "undefined" for what was not asked: to zarrita that is a chunk of fill values.
    if (url === undefined) throw new Error(`There is no URL for ${key}`);
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
  const separator = await chunkSeparator(store.get, path);
  const counts = array.shape.map((size, axis) => Math.ceil(size / (array.chunks[axis] ?? size)));
  await sign(gridKeys(counts, separator).map((chunk) => `${path}/${chunk}`));
  const { data, shape } = await zarr.get(array);
  return { shape, values: data as ArrayLike<number>, ...seen };
}

/** Zarr v2, "dimension_separator": "." unless the metadata says "/". */
async function chunkSeparator(
  get: (key: zarr.AbsolutePath) => Promise<Uint8Array | undefined>,
  path: string,
): Promise<string> {
  const metadata = JSON.parse(new TextDecoder().decode(await get(`/${path}/.zarray`))) as {
    dimension_separator?: string;
  };
  return metadata.dimension_separator ?? ".";
}

/** Chunk keys of a v2 array: "0.0", "0.1", ... */
function gridKeys(counts: number[], separator: string): string[] {
  return counts.reduce<string[]>(
    (keys, count) =>
      keys.flatMap((key) =>
        Array.from({ length: count }, (_, index) => (key === "" ? `${index}` : `${key}${separator}${index}`)),
      ),
    [""],
  );
}
