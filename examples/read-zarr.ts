/**
 * A GPU node that reads a job's Zarr array through the signed endpoint.
 *
 * It holds no cloud credential: the root URL carries a capability for the job's input, and zarrita, like any Zarr
 * client, builds each key by appending to it.
 *
 *   PENSTOCK_ROOT_URL=https://.../t/<capability>/precip/ node examples/read-zarr.ts precip-v3.zarr/precip
 */
import * as zarr from "zarrita";

export interface Reading {
  shape: number[];
  values: ArrayLike<number>;
  /** Requests and bytes, and how many answers came from the edge's cache. */
  requests: number;
  bytes: number;
  hits: number;
}

/** Reads the whole array at `path` under the root URL. */
export async function readZarr(rootUrl: string, path: string): Promise<Reading> {
  const seen = { requests: 0, bytes: 0, hits: 0 };
  const store = new zarr.FetchStore(rootUrl, {
    async fetch(request) {
      const response = await fetch(request);
      seen.requests++;
      seen.bytes += request.method === "HEAD" ? 0 : Number(response.headers.get("content-length") ?? 0);
      if (request.method === "GET" && /;\s*hit/.test(response.headers.get("cache-status") ?? "")) seen.hits++;
      return response;
    },
  });
  const array = await zarr.open(zarr.root(store).resolve(path), { kind: "array" });
  const { data, shape } = await zarr.get(array);
  return { shape, values: data as ArrayLike<number>, ...seen };
}

if (import.meta.main) {
  const [path = ""] = process.argv.slice(2);
  const { shape, requests, bytes, hits } = await readZarr(process.env["PENSTOCK_ROOT_URL"] ?? "", path);
  console.log(`${path}: shape ${shape.join(" x ")}, ${requests} requests, ${bytes} bytes, ${hits} from the cache`);
}
