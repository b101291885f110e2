import * as z from "zod";

/**
 * The index of a dataset of MosaicML shards (MDS), `index.json` beside them (github.com/mosaicml/streaming,
 * base/format/index.py and mds/reader.py). A shard's `hashes` are whatever its writer was told to compute, in hex by the name
 * of the algorithm: of these only MD5 and SHA-256 are checksums that a manifest has.
 */
const fileSchema = z.looseObject({
  basename: z.string().min(1).max(1024),
  bytes: z.number().int().nonnegative(),
  hashes: z.record(z.string(), z.string()).default({}),
});

const indexSchema = z.looseObject({
  version: z.literal(2),
  shards: z.array(
    z.looseObject({
      format: z.literal("mds"),
      raw_data: fileSchema,
      /** The shard as it is stored, where it is compressed. */
      zip_data: fileSchema.nullish(),
      samples: z.number().int().nonnegative(),
    }),
  ),
});

/** A shard as it is stored. */
export interface Shard {
  /** Beside the index. */
  name: string;
  /** Bytes. */
  size: number;
  /** Hex. */
  md5: string | null;
  sha256: string | null;
}

/** Whether an object of this name may be an index; what is in it says whether it is. */
export const isShardIndex = (key: string): boolean => key === "index.json" || key.endsWith("/index.json");

/** The shards of an index; null where it is none, or of another format. */
export function parseShardIndex(text: string): Shard[] | null {
  // Many other tools write an index.json: what is none of these is not parsed.
  if (!text.includes('"shards"')) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = indexSchema.safeParse(value);
  if (!parsed.success) return null;
  return parsed.data.shards.map(({ raw_data: raw, zip_data: zip }) => {
    const { basename, bytes, hashes } = zip ?? raw;
    const hash = (name: string, digits: number): string | null => {
      const said = hashes[name]?.toLowerCase() ?? "";
      return said.length === digits && /^[0-9a-f]+$/.test(said) ? said : null;
    };
    return { name: basename, size: bytes, md5: hash("md5", 32), sha256: hash("sha256", 64) };
  });
}

/** The key of what lies beside an index. */
export const besideIndex = (index: string, name: string): string => index.slice(0, index.lastIndexOf("/") + 1) + name;
