/** The demo's data: real, from the npm package vega-datasets, and the Zarr stores made of it (test/fixtures/zarr). */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SourceObject } from "../../test/harness/local-source.ts";

const MiB = 1024 * 1024;
const ROOT = join(import.meta.dirname, "../..");
const VEGA = join(ROOT, "node_modules/vega-datasets/data");

/** Global annual precipitation, 168 x 360: what every value that was read is compared with. */
export const RASTER = join(VEGA, "annual-precip.json");

/** The same raster as a sharded Zarr v3 array and as a Zarr v2 array, both written by zarr-python. */
export function cubes(): SourceObject[] {
  const folder = join(ROOT, "test/fixtures/zarr");
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes(".zarr"))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const isJson = entry.name.startsWith(".z") || entry.name.endsWith(".json");
      return {
        key: `cubes/${path.slice(folder.length + 1)}`,
        bytes: bytesOf(path),
        contentType: isJson ? "application/json" : "application/octet-stream",
      };
    });
}

/** Flights and films a line each, and three million flights as Parquet, uploaded in parts as S3 tools do. */
export function records(): SourceObject[] {
  return [
    { key: "records/raw/flights/flights-200k.jsonl", bytes: jsonl("flights-200k.json"), contentType: JSONL },
    { key: "records/processed/movies/movies.jsonl", bytes: jsonl("movies.json"), contentType: JSONL },
    {
      key: "records/acquired/flights/flights-3m.parquet",
      bytes: bytesOf(join(VEGA, "flights-3m.parquet")),
      contentType: "application/vnd.apache.parquet",
      partBytes: 5 * MiB,
    },
  ];
}

/** What appears at the source later: earthquakes, a line each. */
export function lateRecord(): SourceObject {
  return { key: "records/raw/earthquakes/earthquakes.jsonl", bytes: jsonl("earthquakes.json"), contentType: JSONL };
}

const JSONL = "application/jsonl";

/** A JSON array, or a GeoJSON feature collection, as one record a line. */
function jsonl(file: string): Uint8Array<ArrayBuffer> {
  const parsed = JSON.parse(readFileSync(join(VEGA, file), "utf8")) as unknown[] | { features: unknown[] };
  const items = Array.isArray(parsed) ? parsed : parsed.features;
  return new TextEncoder().encode(items.map((item) => `${JSON.stringify(item)}\n`).join(""));
}

const bytesOf = (path: string): Uint8Array<ArrayBuffer> => Uint8Array.from(readFileSync(path));
