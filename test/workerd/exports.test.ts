import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { sha256Hex } from "../../workers/adapters/web-hmac.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { givenRow } from "../harness/rows.ts";
import { ADMIN, api, apiTokens, READER, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { gzipped } from "./harness/gzip.ts";
import { must } from "./harness/run.ts";

let seen: Env;

beforeAll(async () => {
  const { API_TOKENS } = await apiTokens("limited");
  seen = { ...env, API_TOKENS: JSON.stringify(API_TOKENS) };
});

/** The files of the tests: records of two folders, one that nobody knows the sum of, one that is encoded. */
const LINES = '{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n';
const OBJECTS = {
  "cot/a.jsonl": LINES,
  "cot/b.jsonl": '{"id": 3, "score": 0.5}\n',
  "cot/pairs.json": '[{"q": "x"}, {"q": "y"}]',
  "cot/settings.json": '{"q": "x"}',
  "encoded.jsonl": LINES,
  "odd/a b/../c.bin": "odd",
  "parts.bin": "in parts",
};
const SAID: Record<string, Partial<Row>> = {
  "encoded.jsonl": { contentEncoding: "gzip" },
  // As R2 has it of an upload in parts: its ETag is no MD5.
  "parts.bin": { etag: "8f14e45fceea167a5a36dedd4bea2543-2", md5: null },
  "odd/a b/../c.bin": { sha256: "ab".repeat(32), contentType: "application/x-odd" },
};

async function sealed(
  name: string,
  objects: Record<string, string | Uint8Array> = OBJECTS,
  kind: "files" | "zarr" = "files",
) {
  const made = await fillDataset(seen, name, kind, objects, (key) => SAID[key] ?? {});
  await made.seal({ note: "For the tests." });
  return made;
}

const get = (path: string, headers: Record<string, string> = {}, token = READER) =>
  request(seen, `GET /v1/datasets/${path}`, undefined, token, headers);

interface Croissant {
  description: string;
  version: string;
  license?: string;
  distribution: {
    "@id": string;
    name: string;
    contentUrl: string;
    contentSize: string;
    md5?: string;
    sha256?: string;
    encodingFormat: unknown;
  }[];
  recordSet: { "@id": string; name: string; field: { "@id": string; dataType: string }[] }[];
}

describe("the export croissant", () => {
  it("lists the objects with a checksum, with URLs that read what was sealed, and says which objects are left out", async () => {
    await sealed("cr-files");
    const response = await get("cr-files/versions/1/exports/croissant");
    expect(response.headers.get("content-type")).toBe(
      'application/ld+json; profile="http://mlcommons.org/croissant/1.1"',
    );
    expect([response.headers.get("cache-control"), response.headers.get("etag")]).toEqual(["no-store", null]);
    expect(response.headers.get("x-penstock-left-out")).toBe("2");
    const document = await response.json<Croissant>();
    expect(document).toMatchObject({
      conformsTo: "http://mlcommons.org/croissant/1.1",
      name: "cr-files",
      version: "1.0.0",
    });
    expect(document.description).toContain("For the tests. The URLs expire at");
    expect(document.description).toContain("1 objects are not in this document, for neither their SHA-256");
    expect(document.description).toContain(
      "1 objects are not in this document, for they are stored with a Content-Encoding",
    );
    const { distribution } = document;
    expect(distribution.map(({ name }) => name)).toEqual(
      Object.keys(OBJECTS)
        .filter((key) => !["encoded.jsonl", "parts.bin"].includes(key))
        .sort(),
    );
    expect(distribution.find(({ name }) => name === "odd/a b/../c.bin")).toMatchObject({
      ...{
        "@id": "files/odd/a%20b%2F..%2Fc.bin",
        contentSize: "3 B",
        sha256: "ab".repeat(32),
        encodingFormat: "application/x-odd",
      },
    });
    for (const { name, contentUrl } of distribution) {
      const { pathname } = new URL(contentUrl);
      expect(pathname).toContain("/cr-files@1/");
      const read = await request(seen, `GET ${contentUrl.slice(contentUrl.indexOf("/t/"))}`, undefined, "");
      expect([read.status, await read.text()]).toEqual([200, OBJECTS[name as keyof typeof OBJECTS]]);
    }
  });

  it("has a record set for each file of records, with fields found in its first ones, as they were sealed", async () => {
    const { put } = await sealed("cr-records", {
      ...OBJECTS,
      "cot/large.jsonl": '{"large": 1.5}\n'.repeat(20_000),
      "cot/packed.jsonl.gz": await gzipped(LINES),
      "gone/a.jsonl": LINES,
    });
    await put("gone/a.jsonl", '{"other": 1}\n');
    const document = await (await get("cr-records/versions/1/exports/croissant")).json<Croissant>();
    const told = document.recordSet.map(({ "@id": id, field }) => [id, field.map(({ dataType }) => dataType)]);
    expect(told).toEqual([
      ["records/cot/a.jsonl", ["sc:Integer", "sc:Text"]],
      ["records/cot/b.jsonl", ["sc:Integer", "sc:Float"]],
      ["records/cot/large.jsonl", ["sc:Float"]],
      ["records/cot/packed.jsonl.gz", ["sc:Integer", "sc:Text"]],
      ["records/cot/pairs.json", ["sc:Text"]],
    ]);
    expect(document.description).toContain("1 files of records have changed since");
  });

  it("has record sets of at most 100 files, of the first of every folder before others", async () => {
    const keys = Array.from({ length: 101 }, (_, index) => `a/${String(index).padStart(3, "0")}.jsonl`);
    await sealed("cr-turns", Object.fromEntries([...keys, "b/late.jsonl"].map((key) => [key, LINES])));
    const document = await (await get("cr-turns/versions/1/exports/croissant")).json<Croissant>();
    expect([document.distribution.length, document.recordSet.length]).toEqual([102, 100]);
    expect(document.recordSet.map(({ name }) => name)).toEqual([...keys.slice(0, 99), "b/late.jsonl"]);
    expect(document.description).toContain(
      "2 files that may be of records have no record set: 100 files were looked at.",
    );
  });

  it("has the URLs of a base, what the caller says of the dataset, and no ETag: its record sets are of the present", async () => {
    await sealed("cr-base");
    const path = "cr-base/versions/1/exports/croissant?base=https://data.example/x/&license=MIT&creator=Us";
    const response = await get(path);
    const document = await response.json<Croissant>();
    expect(document.distribution[0]).toMatchObject({ contentUrl: "https://data.example/x/cot/a.jsonl" });
    expect(document).toMatchObject({ license: "MIT", creator: { "@type": "sc:Organization", name: "Us" } });
    expect([response.headers.get("etag"), response.headers.get("cache-control")]).toEqual([null, "no-store"]);
    const again = await get(path, { "if-none-match": "*" });
    expect(again.status).toBe(200);
    await again.text();
  });
});

describe("the export stac", () => {
  it("is an Item whose assets are all objects, with size, multihash and a local path where the key is one", async () => {
    await sealed("st-files");
    const response = await get("st-files/versions/1/exports/stac?base=https://data.example");
    expect(response.headers.get("content-type")).toBe("application/geo+json");
    const etag = response.headers.get("etag") ?? "";
    const again = await get("st-files/versions/1/exports/stac?base=https://data.example", { "if-none-match": etag });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    const signed = await get("st-files/versions/1/exports/stac", { "if-none-match": "*" });
    expect([signed.status, signed.headers.get("cache-control")]).toEqual([200, "no-store"]);
    await signed.text();
    const item = await response.json<{ assets: Record<string, Record<string, unknown>> }>();
    expect(item).toMatchObject({ type: "Feature", stac_version: "1.1.0", id: "st-files@1", geometry: null, links: [] });
    expect(item).not.toHaveProperty("bbox");
    expect(Object.keys(item.assets)).toEqual(Object.keys(OBJECTS).sort());
    const md5 = new Uint8Array(await crypto.subtle.digest("MD5", new TextEncoder().encode(LINES))).toHex();
    expect(item.assets["cot/a.jsonl"]).toMatchObject({
      ...{ href: "https://data.example/cot/a.jsonl", roles: ["data"], "file:size": LINES.length },
      ...{ "file:checksum": `d50110${md5}`, "file:local_path": "cot/a.jsonl" },
    });
    const odd = item.assets["odd/a b/../c.bin"];
    expect(odd).toMatchObject({ "file:checksum": `1220${"ab".repeat(32)}`, type: "application/x-odd" });
    expect(odd).not.toHaveProperty("file:local_path");
    expect(item.assets["parts.bin"]).not.toHaveProperty("file:checksum");
  });

  it("names the root of a Zarr store, at a signed URL", async () => {
    await sealed("st-zarr", { "zarr.json": '{"zarr_format": 3, "node_type": "group"}' }, "zarr");
    const item = await (
      await get("st-zarr/versions/1/exports/stac")
    ).json<{ assets: Record<string, { href: string }> }>();
    expect(Object.keys(item.assets)).toEqual(["", "zarr.json"]);
    const { href } = item.assets[""] ?? { href: "" };
    const read = await request(seen, `GET ${href.slice(href.indexOf("/t/"))}zarr.json`, undefined, "");
    expect(read.status).toBe(200);
  });
});

describe("exports of a Zarr store whose metadata was consolidated when it was sealed", () => {
  const STORE = {
    "zarr.json": '{"zarr_format": 3, "node_type": "group"}',
    "t/zarr.json": '{"zarr_format": 3, "node_type": "array", "shape": [1]}',
    "t/c/0": "chunk",
  };

  it("have the checksums of what their URLs serve, and of the objects themselves under a base", async () => {
    await sealed("ex-derived", STORE, "zarr");
    const place = "ex-derived/versions/1/exports";
    const { distribution } = await (await get(`${place}/croissant`)).json<Croissant>();
    const { assets } = await (await get(`${place}/stac`)).json<{ assets: Record<string, Record<string, unknown>> }>();
    expect(distribution.map(({ name }) => name)).toEqual(["t/c/0", "t/zarr.json", "zarr.json"]);
    for (const { name, contentUrl, contentSize, md5 } of distribution) {
      const read = await request(seen, `GET ${contentUrl.slice(contentUrl.indexOf("/t/"))}`, undefined, "");
      const bytes = new Uint8Array(await read.arrayBuffer());
      const hash = new Uint8Array(await crypto.subtle.digest("MD5", bytes)).toHex();
      expect([name, contentSize, md5]).toEqual([name, `${bytes.length} B`, hash]);
      expect(assets[name]).toMatchObject({ "file:size": bytes.length, "file:checksum": `d50110${hash}` });
    }
    const own = await (await get(`${place}/croissant?base=https://h.example`)).json<Croissant>();
    expect(own.distribution[2]?.contentSize).toBe(`${STORE["zarr.json"].length} B`);
    const item = await (
      await get(`${place}/stac?base=https://h.example`)
    ).json<typeof own & { assets: typeof assets }>();
    expect(item.assets["zarr.json"]?.["file:size"]).toBe(STORE["zarr.json"].length);
  });
});

describe("the export msc", () => {
  it("is an index whose parts, named relative to it, have a line for each object", async () => {
    await sealed("msc-files");
    const place = "msc-files/versions/1/exports/msc";
    const index = await get(`${place}/msc_manifest_index.json`);
    expect(index.headers.get("etag")).toMatch(/^W\//);
    const manifest = await index.json<{ version: string; parts: { path: string }[] }>();
    expect(manifest).toEqual({
      version: "1",
      format: "jsonl",
      parts: [{ path: "parts/msc_manifest_part000001.jsonl" }],
    });
    expect(await (await get(place)).json()).toEqual(manifest);
    const part = await (await get(`${place}/${manifest.parts[0]?.path ?? ""}`)).text();
    const lines = part
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.map(({ key }) => key)).toEqual(Object.keys(OBJECTS).sort());
    expect(lines[0]).toMatchObject({ size_bytes: LINES.length, last_modified: expect.stringMatching(/^20..-.*Z$/) });
  });

  it.each(["msc_manifest_part000000.jsonl", "msc_manifest_part000002.jsonl", "msc_manifest_part1.jsonl", "other"])(
    "has no part %s",
    async (part) => {
      await sealed("msc-parts");
      const answer = await api(seen, `GET /v1/datasets/msc-parts/versions/1/exports/msc/parts/${part}`);
      expect([answer.status, answer.body["code"], answer.body["field"]]).toEqual([404, "unknown-route", "part"]);
    },
  );
});

describe("the export sha256sum", () => {
  it("has a line for each object, and comments for those whose sum nobody knows", async () => {
    const sum = await sha256Hex("one");
    const { seal } = await fillDataset(seen, "sums", "files", { a: "one", "b\nc": "one", d: "?" }, (key) =>
      key === "d" ? {} : { sha256: sum },
    );
    await seal();
    const text = await (await get("sums/versions/1/exports/sha256sum")).text();
    expect(text).toBe(`${sum}  a\n\\${sum}  b\\nc\n# without a SHA-256: d\n# 1 objects without a SHA-256\n`);
  });
});

describe("exports of a version with more objects than a document lists", () => {
  it("are of the Parquet files that list them, at URLs that read those", async () => {
    const name = await many(10_001);
    const croissant = await (await get(`${name}/versions/1/exports/croissant`)).json<Croissant>();
    expect(croissant.distribution.map((file) => file.name)).toEqual(["manifest-0001.parquet"]);
    expect(croissant.recordSet.map(({ field }) => field.length)).toEqual([8]);
    const { assets } = await (
      await get(`${name}/versions/1/exports/stac`)
    ).json<{ assets: Record<string, Record<string, unknown>> }>();
    expect(Object.keys(assets)).toEqual(["manifest-0001.parquet"]);
    expect(assets["manifest-0001.parquet"]?.["file:checksum"]).toBe(
      `1220${croissant.distribution[0]?.sha256 ?? "none"}`,
    );
    const url = croissant.distribution[0]?.contentUrl ?? "";
    const read = await request(seen, `GET ${url.slice(url.indexOf("/t/"))}`, undefined, "");
    const bytes = await read.arrayBuffer();
    expect([read.status, `${bytes.byteLength} B`]).toEqual([200, croissant.distribution[0]?.contentSize]);
    for (const format of ["croissant", "stac"]) {
      const refused = await get(`${name}/versions/1/exports/${format}?base=https://data.example`, {
        "if-none-match": "*",
      });
      expect([refused.status, await refused.json()]).toMatchObject([400, { code: "invalid-query", field: "base" }]);
    }
    const part = await (await get(`${name}/versions/1/exports/msc/parts/msc_manifest_part000001.jsonl`)).text();
    expect(part.trimEnd().split("\n").length).toBe(10_001);
  });
});

async function many(count: number): Promise<string> {
  const name = "many";
  const { id, seal } = await fillDataset(seen, name, "files", {});
  const stub = datasetOf(env, name);
  for (let first = 0; first < count; first += 1000) {
    const keys = Array.from(
      { length: Math.min(1000, count - first) },
      (_, index) => `k${String(first + index).padStart(6, "0")}`,
    );
    must(
      await stub.applyRows(
        id,
        keys.map((key) => givenRow(key)),
      ),
    );
  }
  await seal();
  return name;
}

describe("an export is refused", () => {
  it.each([
    ["1/exports/parquet", "", 404, "unknown-route", "format"],
    ["1/exports/croissant", "?sign=r2", 400, "invalid-query", "sign"],
    ["1/exports/croissant", "?sign=edge&base=https://x.example", 400, "invalid-query", "base"],
    ["1/exports/croissant", "?base=ftp://x", 400, "invalid-query", "base"],
    ["1/exports/croissant", "?base=https://x.example/?a=b", 400, "invalid-query", "base"],
    ["1/exports/croissant", "?expiresSeconds=604801", 400, "invalid-query", "expiresSeconds"],
    ["1/exports/stac", "?license=MIT", 400, "invalid-query", "license"],
    ["1/exports/msc", "?base=https://x.example", 400, "invalid-query", "base"],
    ["1/exports/sha256sum", "?sign=edge", 400, "invalid-query", "sign"],
    ["live/exports/croissant", "", 404, "unknown-version", "version"],
    ["99/exports/stac", "", 404, "unknown-version", "version"],
  ])("%s%s: %i %s, %s", async (place, query, status, code, field) => {
    await sealed("refused", { a: "one" });
    const answer = await api(seen, `GET /v1/datasets/refused/versions/${place}${query}`, undefined, ADMIN);
    expect([answer.status, answer.body["code"], answer.body["field"]]).toEqual([status, code, field]);
  });
});
