import { describe, expect, it } from "vitest";
import { Entries, formatAround } from "../../workers/core/exports/long-json.ts";
import { formatMscIndex, formatMscLine, parseMscPart } from "../../workers/core/exports/msc.ts";
import { formatStacAsset, formatStacList, multihash, stacItem } from "../../workers/core/exports/stac.ts";

describe("a long JSON object", () => {
  it.each([
    ["[]", {}, "[1,2,3]"],
    ["[]", { z: 1 }, "[1,2,3]"],
    ["{}", { z: 1 }, '{"a":1,"b":2,"c":3}'],
  ] as const)("with %s and the end %j is one document, sent in pieces", (brackets, tail, long) => {
    const { before, after } = formatAround({ a: "}" }, "long", brackets, tail);
    const entries = new Entries();
    const pieces = long.slice(1, -1).split(",");
    const text =
      before +
      entries.format([]) +
      entries.format(pieces.slice(0, 2)) +
      entries.format([]) +
      entries.format(pieces.slice(2)) +
      after;
    expect(JSON.parse(text)).toEqual({ a: "}", long: JSON.parse(long), ...tail });
    expect(JSON.parse(before + after)).toEqual({ a: "}", long: JSON.parse(brackets), ...tail });
  });
});

describe("the manifest of the Multi-Storage Client", () => {
  it("names its parts relative to the index, from 1 on", () => {
    expect(JSON.parse(formatMscIndex(2))).toEqual({
      ...{ version: "1", format: "jsonl" },
      parts: [{ path: "parts/msc_manifest_part000001.jsonl" }, { path: "parts/msc_manifest_part000002.jsonl" }],
    });
    expect(JSON.parse(formatMscIndex(0))).toMatchObject({ parts: [] });
  });

  it("finds a part's number again by its one name", () => {
    expect(parseMscPart("msc_manifest_part000002.jsonl")).toBe(1);
    for (const name of [
      "msc_manifest_part000000.jsonl",
      "msc_manifest_part0000001.jsonl",
      "msc_manifest_part1.jsonl",
      "x",
    ]) {
      expect(parseMscPart(name)).toBeNull();
    }
  });

  it("has a line an object, whatever its key", () => {
    const line = formatMscLine({ key: "a\nb", size: 5, etag: "e", contentType: null }, "2026-01-01T00:00:00.000Z");
    expect(line).toBe('{"key":"a\\nb","size_bytes":5,"last_modified":"2026-01-01T00:00:00.000Z","etag":"e"}\n');
  });
});

describe("a STAC Item", () => {
  it("has a time and no place", () => {
    const item = stacItem({
      dataset: "d",
      version: 3,
      description: "x",
      createdAt: "2026-01-01T00:00:00.000Z",
      sealedAt: null,
    });
    expect(item).toMatchObject({ id: "d@3", geometry: null, properties: { datetime: "2026-01-01T00:00:00.000Z" } });
  });

  it("has checksums that say what they are, the stronger where two are known", () => {
    expect(multihash({ md5: "00".repeat(16), sha256: null })).toBe(`d50110${"00".repeat(16)}`);
    expect(multihash({ md5: "00".repeat(16), sha256: "ff".repeat(32) })).toBe(`1220${"ff".repeat(32)}`);
    expect(multihash({ md5: null, sha256: null })).toBeNull();
  });

  it.each([
    ["a/b.c", true],
    ["a/../b", false],
    ["./a", false],
    ["/a", false],
    ["a//b", false],
    ["a/", false],
  ])("gives the key %s as a local path: %s", (key, isPath) => {
    const file = { key, size: 1, md5: null, sha256: null, contentType: null, modifiedAt: "t" };
    const assets = JSON.parse(`{${formatStacAsset(file, "h")}}`) as Record<string, object>;
    expect(assets[key]).toEqual({
      href: "h",
      roles: ["data"],
      updated: "t",
      "file:size": 1,
      ...(isPath ? { "file:local_path": key } : {}),
    });
  });

  it("names the files that list its objects as metadata", () => {
    const assets = JSON.parse(`{${formatStacList({ name: "m", size: 2, sha256: "ab" }, "h")}}`) as Record<
      string,
      object
    >;
    expect(assets["m"]).toMatchObject({
      roles: ["metadata"],
      "file:checksum": "1220ab",
      type: "application/vnd.apache.parquet",
    });
  });
});
