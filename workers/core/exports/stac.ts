import type { StoredRow } from "../manifest/row.ts";

/**
 * A STAC 1.1 Item (https://github.com/radiantearth/stac-spec) whose assets are a version's objects, with the file extension
 * 2.1 (https://github.com/stac-extensions/file). Where and when the data was taken nobody has told us: there is no geometry,
 * and its time is that of which the version is.
 */
export const STAC_TYPE = "application/geo+json";

export interface StacItem {
  dataset: string;
  version: number;
  description: string;
  /** RFC 3339: of which moment the version is, and when it was sealed. */
  createdAt: string;
  sealedAt: string | null;
}

/** All of an Item but its assets. */
export const stacItem = ({ dataset, version, description, createdAt, sealedAt }: StacItem): object => ({
  type: "Feature",
  stac_version: "1.1.0",
  stac_extensions: ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
  id: `${dataset}@${version}`,
  geometry: null,
  properties: {
    title: `${dataset}, version ${version}`,
    description,
    datetime: createdAt,
    created: sealedAt ?? createdAt,
  },
  links: [],
});

/** What an asset is made of. */
export type StacFile = Pick<StoredRow, "key" | "size" | "md5" | "sha256" | "contentType"> & {
  /** RFC 3339. */
  modifiedAt: string;
};

/** An object of the dataset, as an entry of `assets`. */
export function formatStacAsset(file: StacFile, href: string): string {
  const checksum = multihash(file);
  const asset = {
    href,
    ...(file.contentType === null ? {} : { type: file.contentType }),
    roles: ["data"],
    updated: file.modifiedAt,
    "file:size": file.size,
    ...(checksum === null ? {} : { "file:checksum": checksum }),
    ...(isLocalPath(file.key) ? { "file:local_path": file.key } : {}),
  };
  return `${JSON.stringify(file.key)}:${JSON.stringify(asset)}`;
}

/** A Parquet file that lists the objects. */
export function formatStacList(file: { name: string; size: number; sha256: string | null }, href: string): string {
  const asset = {
    href,
    title: `The objects of the version: ${file.name}`,
    type: "application/vnd.apache.parquet",
    roles: ["metadata"],
    "file:size": file.size,
    ...(file.sha256 === null ? {} : { "file:checksum": multihash({ md5: null, sha256: file.sha256 }) }),
  };
  return `${JSON.stringify(file.name)}:${JSON.stringify(asset)}`;
}

/** The root of a Zarr store. An object's key it cannot be. */
export const formatStacStore = (href: string): string =>
  `"":${JSON.stringify({ href, title: "The Zarr store", type: "application/vnd.zarr", roles: ["data"] })}`;

/**
 * A digest that says what it is, in hex (https://github.com/multiformats/multihash): the code as an unsigned varint (0x12 is
 * sha2-256, 0xd5 is md5), the length in bytes, the digest.
 */
export function multihash({ md5, sha256 }: Pick<StoredRow, "md5" | "sha256">): string | null {
  if (sha256 !== null) return `1220${sha256}`;
  return md5 === null ? null : `d50110${md5}`;
}

/** Whether a key is a path that leads nowhere else: relative, and without empty and dot segments. */
const isLocalPath = (key: string): boolean => key.split("/").every((segment) => !["", ".", ".."].includes(segment));
