import { describe, expect, test, vi } from "vitest";
import { besideIndex, isShardIndex, parseShardIndex } from "../../workers/core/manifest/mosaic.ts";

const SHA256 = "a".repeat(64);
const MD5 = "b".repeat(32);
const file = (basename: string, bytes: number, hashes: object = {}) => ({ basename, bytes, hashes });
/** As MDSWriter writes it (streaming 0.12, `get_config`). */
const shard = (raw: object, zip: object | null = null) => ({
  ...{ column_encodings: ["int"], column_names: ["x"], column_sizes: [8], compression: zip === null ? null : "zstd" },
  ...{
    format: "mds",
    hashes: ["sha256"],
    raw_data: raw,
    samples: 10,
    size_limit: 67_108_864,
    version: 2,
    zip_data: zip,
  },
});
const index = (...shards: object[]) => JSON.stringify({ version: 2, shards });

describe("an index of MosaicML shards", () => {
  test("tells each shard as it is stored: the compressed one where it is compressed", () => {
    const text = index(
      shard(file("shard.00000.mds", 100, { sha256: SHA256, md5: MD5, xxh64: "0" })),
      shard(file("shard.00001.mds", 100), file("shard.00001.mds.zstd", 40, { sha256: SHA256.toUpperCase() })),
    );
    expect(parseShardIndex(text)).toEqual([
      { name: "shard.00000.mds", size: 100, md5: MD5, sha256: SHA256 },
      { name: "shard.00001.mds.zstd", size: 40, md5: null, sha256: SHA256 },
    ]);
  });

  test("is not parsed for what its text does not name", () => {
    const parse = vi.spyOn(JSON, "parse");
    expect(parseShardIndex(JSON.stringify({ version: 2, files: Array.from({ length: 1000 }, () => ({})) }))).toBeNull();
    expect(parse).not.toHaveBeenCalled();
    parse.mockRestore();
  });

  test("with hashes that are none of ours says no checksum", () => {
    const said = parseShardIndex(index(shard(file("s", 1, { sha1: "c".repeat(40), sha256: "not hex", md5: SHA256 }))));
    expect(said).toEqual([{ name: "s", size: 1, md5: null, sha256: null }]);
  });

  test.each<[string, string]>([
    ["is no JSON", "{"],
    ["is of another version", JSON.stringify({ version: 1, shards: [] })],
    ["is of shards of another format", index({ ...shard(file("s", 1)), format: "jsonl" })],
    ["is an index of something else", JSON.stringify({ pages: [1, 2] })],
    ["says half a byte", index(shard(file("s", 0.5)))],
  ])("is none where it %s", (_what, text) => {
    expect(parseShardIndex(text)).toBeNull();
  });

  test("is looked for by its name alone, and its shards lie beside it", () => {
    expect(["index.json", "a/index.json", "a/my-index.json", "index.json/a"].map(isShardIndex)).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect([besideIndex("index.json", "s"), besideIndex("a/b/index.json", "s")]).toEqual(["s", "a/b/s"]);
  });
});
