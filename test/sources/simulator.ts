/**
 * What R2's simulator keeps on disk (miniflare 5.20261102): a database a bucket, and a file for the bytes of each object or
 * part. Read past workerd, 20,000 objects take two seconds, and over its S3 endpoint two minutes.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Place } from "./place.ts";

/** The S3 name of the bucket that datasets are in. */
export const DATASETS_BUCKET = "penstock-datasets";

export interface StoredObject {
  /** Without the dataset's prefix. */
  key: string;
  etag: string;
  bytes: Buffer;
  /** As R2's binding names them; `cacheExpiry` in milliseconds since 1970. */
  http: Record<string, string | number>;
  custom: Record<string, string>;
}

type Row = Record<string, unknown>;

/** Every object of the dataset, one at a time. */
export function* storedObjects(place: Pick<Place, "state" | "prefix">): Generator<StoredObject> {
  for (const sqlite of databases(place)) {
    const rows = sqlite.prepare("SELECT * FROM _mf_objects WHERE substr(key, 1, ?) = ?");
    for (const row of rows.iterate(place.prefix.length, place.prefix)) {
      const key = text(row["key"]);
      yield {
        key: key.slice(place.prefix.length),
        etag: text(row["etag"]),
        bytes: Buffer.concat(blobsOf(sqlite, row).map((blob) => readFileSync(pathOf(place, blob)))),
        http: JSON.parse(text(row["http_metadata"])) as StoredObject["http"],
        custom: JSON.parse(text(row["custom_metadata"])) as StoredObject["custom"],
      };
    }
  }
}

/** Turns one bit of an object's bytes, as a disk might: its ETag stays as it was. */
export function rotBit(place: Pick<Place, "state" | "prefix">, key: string): void {
  for (const sqlite of databases(place)) {
    const row = sqlite.prepare("SELECT * FROM _mf_objects WHERE key = ?").get(place.prefix + key);
    const blob = row === undefined ? undefined : blobsOf(sqlite, row)[0];
    if (blob === undefined) continue;
    const bytes = readFileSync(pathOf(place, blob));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(pathOf(place, blob), bytes);
    return;
  }
  throw new Error(`The simulator has no bytes of ${JSON.stringify(key)}`);
}

/** One for each bucket; which is whose, their names do not tell. */
function* databases({ state }: Pick<Place, "state">): Generator<DatabaseSync> {
  const folder = join(state, "v3/r2/miniflare-R2BucketObject");
  for (const name of readdirSync(folder).filter((file) => /^[0-9a-f]+\.sqlite$/.test(file))) {
    const sqlite = new DatabaseSync(join(folder, name), { readOnly: true });
    try {
      yield sqlite;
    } finally {
      sqlite.close();
    }
  }
}

/** Of an object in parts one for each of them. */
function blobsOf(sqlite: DatabaseSync, row: Row): string[] {
  if (typeof row["blob_id"] === "string") return [row["blob_id"]];
  const parts = sqlite.prepare("SELECT blob_id FROM _mf_multipart_parts WHERE object_key = ? ORDER BY part_number");
  return parts.all(text(row["key"])).map((part) => text(part["blob_id"]));
}

const pathOf = ({ state }: Pick<Place, "state">, blob: string): string =>
  join(state, "v3/r2", DATASETS_BUCKET, "blobs", blob);

function text(value: unknown): string {
  if (typeof value !== "string") throw new Error(`The simulator's tables are others than they were: ${typeof value}`);
  return value;
}
