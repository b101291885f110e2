import { env } from "cloudflare:workers";
import { type AsyncBuffer, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { failure } from "../../workers/core/failure.ts";
import type { RowPage } from "../../workers/core/manifest/query.ts";
import type { Row, StoredRow } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { givenRow } from "../harness/rows.ts";
import { ADMIN, api, apiTokens, LIMITED, READER, request } from "./harness/api.ts";
import { must, registerDataset } from "./harness/run.ts";
import { takeOut } from "./harness/take-out.ts";

interface Page {
  dataset: string;
  version: string;
  objects: { key: string; url?: string | null; expiresAt?: string; [field: string]: unknown }[];
  removed?: { key: string; removedAt: string }[];
  prefixes?: string[];
  cursor?: string;
  changedSince?: number;
  refresh?: string;
  expiresAt?: string;
  serverTime?: string;
}

let seen: Env;
const SUM = "a".repeat(64);

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("mine"));
});

async function given(name: string, rows: Row[]): Promise<void> {
  await registerDataset(name, `${name}/`);
  for (let at = 0; at < rows.length; at += 1000) {
    must(await datasetOf(env, name).applyRows(`ds_${name}`, rows.slice(at, at + 1000)));
  }
}
const keysOf = (page: Page) => page.objects.map(({ key }) => key);
const path = (name: string, said: Record<string, string> = {}) =>
  `/v1/datasets/${name}/manifest?${new URLSearchParams(said).toString()}`;
const ask = (name: string, said: Record<string, string> = {}, token = READER) =>
  api<Page>(seen, `GET ${path(name, said)}`, undefined, token);
const read = (name: string, said: Record<string, string>, more: Record<string, string> = {}) =>
  request(seen, `GET ${path(name, said)}`, undefined, READER, more);
const refused = async (name: string, said: Record<string, string>) => {
  const { status, body } = await api(seen, `GET ${path(name, said)}`, undefined, READER);
  return [status, body["code"], body["field"]];
};
const linesOf = async (response: Response) =>
  (await response.text())
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** An environment in which a Dataset's `query` is this, after it was asked so often. */
function watched(answer: (times: number, real: () => Promise<Result<RowPage>>) => Promise<Result<RowPage>>): Env {
  let times = 0;
  const stub = (name: string) => {
    const real = datasetOf(env, name);
    const query = async (...args: Parameters<typeof real.query>) => answer(++times, async () => real.query(...args));
    return { query, manifestHead: async () => real.manifestHead() };
  };
  return { ...seen, DATASET: { getByName: stub } as unknown as Env["DATASET"] };
}

async function asyncBuffer(response: Response): Promise<AsyncBuffer> {
  const bytes = await response.arrayBuffer();
  return { byteLength: bytes.byteLength, slice: (start, end) => bytes.slice(start, end) };
}

/** An environment in which a Dataset's `query` fails once it has answered so often. */
const failingAfter = (answers: number): Env =>
  watched(async (times, real) => (times > answers ? fail(failure("store-unavailable", "gone")) : real()));

describe("GET /v1/datasets/:dataset/manifest", () => {
  beforeAll(async () => {
    await given("shown", [
      givenRow("raw/cats/a.json", {
        ...{ size: 7, etag: "0".repeat(32), contentType: "application/json", contentEncoding: "gzip", sha256: SUM },
        ...{ crc64nvme: "AAAAAAAAAAA=", proof: "md5", origin: "s3://bucket/in/", sourceEtag: "s", sourceModifiedAt: 0 },
        ...{ storageClass: "GLACIER_IR", tags: { team: "x" }, uploadedAt: 86_400_000 },
      }),
      givenRow("raw/cats/b.json"),
      givenRow("raw/dogs/c.json"),
      givenRow("top"),
    ]);
  });

  it("shows all that is known of an object", async () => {
    const { body } = await ask("shown", { prefix: "raw/cats/a" });
    const { updatedAt, ...rest } = body.objects[0] ?? { updatedAt: "" };
    expect(Date.parse(String(updatedAt))).toBeGreaterThan(Date.now() - 60_000);
    expect({ ...body, objects: [rest] }).toEqual({
      dataset: "shown",
      version: "live",
      objects: [
        {
          ...{ key: "raw/cats/a.json", size: 7, etag: "0".repeat(32), md5: "0".repeat(32), sha256: SUM },
          ...{ crc64nvme: "AAAAAAAAAAA=", proof: "md5", contentType: "application/json", contentEncoding: "gzip" },
          ...{ stage: "raw", category: "cats", storageClass: "GLACIER_IR", tags: { team: "x" } },
          ...{
            sourceUri: "s3://bucket/in/raw/cats/a.json",
            sourceEtag: "s",
            sourceModifiedAt: "1970-01-01T00:00:00.000Z",
          },
          ...{
            writer: "mig_01",
            modifiedAt: "1970-01-01T00:00:00.000Z",
            uploadedAt: "1970-01-02T00:00:00.000Z",
            seq: 1,
          },
        },
      ],
      changedSince: 1,
    });
  });

  it("folds keys at a delimiter, and takes filters", async () => {
    const folded = await ask("shown", { delimiter: "/" });
    expect([folded.body.prefixes, keysOf(folded.body)]).toEqual([["raw/"], ["top"]]);
    expect(
      keysOf((await ask("shown", { stage: "raw", category: "cats", suffix: ".json", maxSize: "6" })).body),
    ).toEqual(["raw/cats/b.json"]);
    expect(keysOf((await ask("shown", { modifiedSince: "1970-01-01T01:00:01+01:00" })).body)).toEqual([
      "raw/cats/b.json",
      "raw/dogs/c.json",
      "top",
    ]);
    expect(keysOf((await ask("shown", { sort: "-key", limit: "2" })).body)).toEqual(["top", "raw/dogs/c.json"]);
  });

  it("refuses what does not go together, and says which field and why", async () => {
    const wrong: [Record<string, string>, string, string][] = [
      [{ format: "xml" }, "invalid-query", "format"],
      [{ limit: "1001" }, "invalid-query", "limit"],
      [{ limit: "50001", format: "parquet" }, "invalid-query", "limit"],
      [{ modifiedSince: "yesterday" }, "invalid-query", "modifiedSince"],
      [{ minSize: "2", maxSize: "1" }, "invalid-query", "maxSize"],
      [{ delimiter: "/", sort: "changed" }, "invalid-query", "delimiter"],
      [{ delimiter: "/", format: "csv" }, "invalid-query", "delimiter"],
      [{ changedSince: "1", sort: "key" }, "invalid-query", "sort"],
      [{ changedSince: "1", format: "csv" }, "invalid-query", "format"],
      [{ changedSince: "99" }, "invalid-query", "changedSince"],
      [{ sign: "edge", format: "parquet" }, "invalid-query", "sign"],
      [{ expiresSeconds: "60" }, "invalid-query", "expiresSeconds"],
      [{ unknown: "1" }, "invalid-query", "unknown"],
      [{ cursor: "abc" }, "invalid-cursor", "cursor"],
    ];
    for (const [said, code, field] of wrong)
      expect(await refused("shown", said), JSON.stringify(said)).toEqual([400, code, field]);
    expect((await refused("shown", { version: "9" }))[1]).toBe("unknown-version");
    expect(await refused("nowhere", {})).toEqual([404, "unknown-dataset", "dataset"]);
    // What the first page says is the answer's status, also where the rest is streamed.
    expect((await read("shown", { format: "ndjson", changedSince: "99" })).status).toBe(400);
    // Nobody holds what there is not.
    expect((await read("shown", { changedSince: "99" }, { "if-none-match": "*" })).status).toBe(400);
    expect((await read("shown", { changedSince: "1" }, { "if-none-match": "*" })).status).toBe(304);
  });

  it("takes a cursor of its own dataset, version and query only", async () => {
    await given("other", [givenRow("a"), givenRow("b")]);
    const { body } = await ask("shown", { prefix: "raw/", limit: "1" });
    const cursor = body.cursor ?? "";
    expect(body.changedSince, "not before the end").toBeUndefined();
    expect(keysOf((await ask("shown", { prefix: "raw/", limit: "5", cursor })).body)).toEqual([
      "raw/cats/b.json",
      "raw/dogs/c.json",
    ]);
    const others: [string, Record<string, string>][] = [
      ["shown", { prefix: "raw/c" }],
      ["shown", { prefix: "raw/", sort: "-key" }],
      ["shown", { prefix: "raw/", stage: "raw" }],
      ["other", { prefix: "raw/" }],
    ];
    for (const [name, said] of others)
      expect(await refused(name, { ...said, cursor })).toEqual([400, "invalid-cursor", "cursor"]);
  });

  it("tells at its end since when to ask for what changed, and then what was removed", async () => {
    await given("moving", [givenRow("a"), givenRow("b"), givenRow("c")]);
    const first = await ask("moving", { limit: "2" });
    await takeOut(datasetOf(env, "moving"), "ds_moving", ["a"]);
    must(await datasetOf(env, "moving").applyRows("ds_moving", [givenRow("d")]));
    const last = await ask("moving", { limit: "2", cursor: first.body.cursor ?? "" });
    expect([keysOf(last.body), last.body.changedSince]).toEqual([["c", "d"], 1]);
    const { body } = await ask("moving", { changedSince: "1" });
    expect([keysOf(body), body.removed?.map(({ key }) => key)]).toEqual([["d"], ["a"]]);
    const lines = await linesOf(await read("moving", { changedSince: "1", format: "ndjson" }));
    expect(lines).toMatchObject([{ key: "d" }, { key: "a", removed: true }, { end: true, objects: 1, bytes: 1 }]);
    const after = await ask("moving", { changedSince: String(body.changedSince) });
    expect([after.body.objects, after.body.removed]).toEqual([[], []]);
  });

  it("by changes shows what there was at its start: what changes meanwhile is told by changedSince, and not twice", async () => {
    await given("turning", [givenRow("a")]);
    for (const key of ["b", "c"]) must(await datasetOf(env, "turning").applyRows("ds_turning", [givenRow(key)]));
    const first = await ask("turning", { sort: "changed", limit: "1" });
    must(await datasetOf(env, "turning").place(["a"], { stage: "raw", category: null }));
    const rest = await ask("turning", { sort: "changed", limit: "5", cursor: first.body.cursor ?? "" });
    expect([keysOf(first.body), keysOf(rest.body), rest.body.changedSince]).toEqual([["a"], ["b", "c"], 3]);
    expect(keysOf((await ask("turning", { changedSince: "3" })).body)).toEqual(["a"]);
  });

  it("answers 304 to a tag that still holds, without reading a page", async () => {
    await given("tagged", [givenRow("a"), givenRow("b")]);
    const first = await read("tagged", { format: "csv" });
    const etag = first.headers.get("etag") ?? "";
    expect([first.headers.get("cache-control"), etag.startsWith('W/"')]).toEqual(["private, no-cache", true]);
    await first.text();
    const conditional = { "if-none-match": `"x", ${etag}` };
    const again = await request(
      failingAfter(0),
      `GET ${path("tagged", { format: "csv" })}`,
      undefined,
      READER,
      conditional,
    );
    expect([again.status, again.headers.get("etag"), await again.text()]).toEqual([304, etag, ""]);
    for (const said of [{ format: "ndjson" }, { format: "csv", prefix: "a" }, { format: "csv", limit: "1" }]) {
      const other = await read("tagged", said, conditional);
      await other.text();
      expect(other.status, JSON.stringify(said)).toBe(200);
    }
    must(await datasetOf(env, "tagged").applyRows("ds_tagged", [givenRow("c")]));
    const changed = await read("tagged", { format: "csv" }, conditional);
    await changed.text();
    expect(changed.status).toBe(200);
  });
});

describe("a manifest that is streamed", () => {
  const keys = Array.from({ length: 9000 }, (_, i) => `k/${String(i).padStart(5, "0")}`);
  const odd = ["with,comma", 'with"quote', "with\nnewline", "with\\backslash", "é"];

  beforeAll(async () => {
    await given(
      "long",
      keys.map((key, index) => givenRow(key, index % 2 === 0 ? { sha256: SUM } : {})),
    );
    await given(
      "odd",
      odd.map((key) => givenRow(key, { sha256: SUM, tags: { a: "b,c" } })),
    );
  });

  it("as NDJSON has a line an object, through all pages, and an end that says so", async () => {
    const lines = await linesOf(await read("long", { format: "ndjson" }));
    const end = lines.pop();
    expect(lines.map(({ key }) => key)).toEqual(keys);
    expect(end).toEqual({ end: true, objects: 9000, bytes: 9000, changedSince: 9 });
  });

  it("as NDJSON up to a limit ends with a cursor to go on from, and not with changedSince", async () => {
    const lines = await linesOf(await read("long", { format: "ndjson", limit: "5000" }));
    const end = lines.pop();
    expect(end).toEqual({ end: true, objects: 5000, bytes: 5000, cursor: expect.any(String) });
    expect(lines.length).toBe(5000);
    const rest = await linesOf(await read("long", { format: "ndjson", cursor: String(end?.["cursor"]) }));
    expect([rest[0]?.["key"], rest.length]).toEqual([keys[5000], 4001]);
  });

  it("says in NDJSON what failed on the way, and where to go on; the others break off", async () => {
    const broken = failingAfter(1);
    const response = await request(broken, `GET ${path("long", { format: "ndjson" })}`, undefined, READER);
    const lines = await linesOf(response);
    const end = lines.pop();
    expect([lines.length, end?.["end"], end?.["failure"]]).toEqual([
      4000,
      false,
      { code: "store-unavailable", detail: "gone" },
    ]);
    const rest = await linesOf(await read("long", { format: "ndjson", cursor: String(end?.["cursor"]) }));
    expect([rest[0]?.["key"], rest.length]).toEqual([keys[4000], 5001]);
    for (const format of ["csv", "sha256sum"]) {
      const cut = await request(failingAfter(1), `GET ${path("long", { format })}`, undefined, READER);
      expect(cut.status).toBe(200);
      await expect(cut.text(), format).rejects.toThrow("broke off");
    }
  });

  it("is 503 where the Dataset was reset before its first page, and asked once more after it", async () => {
    const reset = new Error("Durable Object reset because its code was updated.");
    const throwing = (from: number, to: number) =>
      watched(async (times, real) => {
        if (times >= from && times <= to) throw reset;
        return real();
      });
    for (const format of ["json", "ndjson", "csv", "parquet"]) {
      const first = await request(throwing(1, 9), `GET ${path("long", { format })}`, undefined, READER);
      expect([first.status, first.headers.get("retry-after")], format).toEqual([503, "2"]);
      expect(await first.json()).toMatchObject({ code: "store-unavailable" });
    }
    const linesFrom = async (seenBroken: Env) =>
      linesOf(await request(seenBroken, `GET ${path("long", { format: "ndjson" })}`, undefined, READER));
    const once = await linesFrom(throwing(2, 2));
    expect([once.length, once.at(-1)?.["end"]]).toEqual([9001, true]);
    const stays = await linesFrom(throwing(2, 9));
    expect([stays.length, stays.at(-1)?.["end"]]).toEqual([4001, false]);
  });

  it("asks for nothing more once its reader has left", async () => {
    let asked = 0;
    const counting = watched(async (times, real) => {
      asked = times;
      return real();
    });
    const response = await request(counting, `GET ${path("long", { format: "csv" })}`, undefined, READER);
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect(asked).toBe(1);
  });

  it("as CSV has a header and quotes what needs it", async () => {
    const response = await read("odd", { format: "csv" });
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8; header=present");
    const text = await response.text();
    expect(text.split("\r\n")[0]).toBe(
      "key,size,etag,md5,sha256,crc64nvme,proof,contentType,contentEncoding,stage,category,storageClass,tags,sourceUri," +
        "sourceEtag,sourceModifiedAt,writer,modifiedAt,uploadedAt,updatedAt,seq",
    );
    expect(text).toContain('"with,comma",1,');
    expect(text).toContain('"with""quote",1,');
    expect(text).toContain('"with\nnewline",1,');
    expect(text).toContain('"{""a"":""b,c""}"');
    expect(text.endsWith("\r\n")).toBe(true);
  });

  it("as a list for sha256sum names each object, with its sum or in a comment", async () => {
    const text = await (await read("long", { format: "sha256sum" })).text();
    const lines = text.trimEnd().split("\n");
    expect(lines.slice(0, 2)).toEqual([`${SUM}  k/00000`, "# without a SHA-256: k/00001"]);
    expect([lines.length, lines.at(-1)]).toEqual([9001, "# 4500 objects without a SHA-256"]);
    expect(await (await read("odd", { format: "sha256sum", prefix: "with\n" })).text()).toBe(
      `\\${SUM}  with\\nnewline\n`,
    );
  });

  it("as Parquet is one file, which goes on at a link", async () => {
    const first = await read("long", { format: "parquet", limit: "5000", prefix: "k/" });
    expect(first.headers.get("content-type")).toBe("application/vnd.apache.parquet");
    const rows = await parquetReadObjects({ file: await first.arrayBuffer() });
    expect([rows.length, rows[0]?.["key"], rows[0]?.["size"], rows[0]?.["sha256"]]).toEqual([5000, keys[0], 1n, SUM]);
    const next = /^<(.*)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    const second = await request(seen, `GET ${next}`, undefined, READER);
    const rest = await parquetReadObjects({ file: await second.arrayBuffer() });
    expect([rest.length, rest[0]?.["key"], second.headers.get("link")]).toEqual([4000, keys[5000], null]);
  });

  it("as Parquet has 10,000 rows unless asked for more, and fewer where their text is long", async () => {
    const asRow = (key: string): StoredRow => ({ ...givenRow(key), stage: null, category: null, updatedAt: 0, seq: 1 });
    let [made, text] = [0, ""];
    const endless = watched(async () => {
      const rows = Array.from({ length: 4000 }, () => ({ ...asRow(`k${made++}`), sourceEtag: text }));
      return ok({ rows, removed: [], prefixes: [], next: { key: `k${made}`, seq: 0 }, seq: 1 });
    });
    const rowsOf = async (said: Record<string, string>) => {
      const file = await request(endless, `GET ${path("long", { format: "parquet", ...said })}`, undefined, READER);
      expect(file.headers.get("link")).toContain('rel="next"');
      return (await parquetMetadataAsync(await asyncBuffer(file))).num_rows;
    };
    // The page that is asked for last is not asked for whole; ours answers with whole ones.
    expect(await rowsOf({})).toBe(12_000n);
    text = "x".repeat(900);
    expect(await rowsOf({ limit: "50000" })).toBe(8000n);
  });
});

/** What the capability in a URL says. */
function claimsOf(url: string): { nbf: number; exp: number; jti: string } {
  const [, claims = ""] = url.split("/t/")[1]?.split("/")[0]?.split(".") ?? [];
  return JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))) as {
    nbf: number;
    exp: number;
    jti: string;
  };
}

describe("a token that is limited to datasets", () => {
  it("is told where its dataset's objects came from, as every token is, in any format", async () => {
    await given("mine", [givenRow("a", { origin: "s3://bucket/in/" })]);
    const of = async (format: string, token: string) =>
      request(seen, `GET ${path("mine", { format })}`, undefined, token);
    for (const format of ["json", "ndjson", "csv"]) {
      const text = await (await of(format, LIMITED)).text();
      expect(text, format).toContain("s3://bucket/in/a");
      expect(text).toBe(await (await of(format, READER)).text());
    }
    const table = await parquetReadObjects({ file: await (await of("parquet", LIMITED)).arrayBuffer() });
    expect(table[0]).toMatchObject({ key: "a", sourceUri: "s3://bucket/in/a" });
    const etag = (await of("json", READER)).headers.get("etag") ?? "";
    const again = await request(seen, `GET ${path("mine")}`, undefined, LIMITED, { "if-none-match": etag });
    expect(again.status).toBe(304);
  });
});

describe("sign", () => {
  beforeAll(async () => {
    await given("signed", [givenRow("a/b c.json"), givenRow("a/é"), givenRow("z/..")]);
    await env.DATASETS.put("signed/a/b c.json", "bytes");
    await given("mine", [givenRow("a")]);
  });

  it("=edge gives each object a URL that reads it alone, and no other of the page", async () => {
    const { body, headers } = await ask("signed", { prefix: "a/", sign: "edge", expiresSeconds: "60" });
    expect([headers.get("cache-control"), headers.get("etag")]).toEqual(["no-store", null]);
    const url = body.objects[0]?.url ?? "";
    expect(body.objects[0]?.expiresAt).toBe(body.expiresAt);
    const left = Date.parse(body.expiresAt ?? "") - Date.parse(body.serverTime ?? "");
    expect(left).toBe(60_000);
    const data = await request(seen, `GET ${url.replace("https://penstock.example", "")}`, undefined, "none");
    expect([data.status, await data.text()]).toEqual([200, "bytes"]);
    for (const other of ["/top", "/a/%C3%A9", "/a/b"]) {
      const outside = url.replace("https://penstock.example", "").replace("/a/b%20c.json", other);
      const forbidden = await request(seen, `GET ${outside}`, undefined, "none");
      expect([forbidden.status, await forbidden.text()]).toEqual([403, expect.stringContaining("out-of-scope")]);
    }
  });

  it("=edge gives URLs to streams that read one object each, and are revoked together", async () => {
    await given("streamed", [givenRow("a"), givenRow("b")]);
    for (const key of ["a", "b"]) await env.DATASETS.put(`streamed/${key}`, key);
    const lines = await linesOf(await read("streamed", { sign: "edge", format: "ndjson" }));
    const csv = (await (await read("streamed", { sign: "edge", format: "csv" })).text()).split("\r\n");
    expect(csv[0]).toMatch(/,url,headers,expiresAt$/);
    const urls = [
      ...lines.slice(0, 2).map(({ url }) => String(url)),
      ...csv.slice(1, 3).map((line) => line.split(",").at(-3) ?? ""),
    ];
    for (const [index, url] of urls.entries()) {
      const statusOf = async (key: string) =>
        (
          await request(
            seen,
            `GET ${url.replace("https://penstock.example", "").replace(/.$/, key)}`,
            undefined,
            "none",
          )
        ).status;
      expect([await statusOf("a"), await statusOf("b")], url).toEqual(index % 2 === 0 ? [200, 403] : [403, 200]);
    }
    const claims = urls.map((url) => claimsOf(url));
    expect(new Set(claims.map(({ jti }) => jti)).size).toBe(2);
    expect(new Set(claims.map(({ exp }) => exp)).size).toBeLessThanOrEqual(2);
  });

  it("comes with a cursor that asks for the same page again", async () => {
    const first = await ask("signed", { sign: "edge", limit: "1" });
    const again = await ask("signed", { sign: "edge", limit: "1", cursor: first.body.refresh ?? "" });
    expect(keysOf(again.body)).toEqual(keysOf(first.body));
    const second = await ask("signed", { sign: "edge", limit: "1", cursor: first.body.cursor ?? "" });
    const secondAgain = await ask("signed", { sign: "edge", limit: "1", cursor: second.body.refresh ?? "" });
    expect([keysOf(secondAgain.body), keysOf(secondAgain.body)]).toEqual([["a/é"], keysOf(second.body)]);
  });

  it("=r2 gives presigned URLs, and says of a key that none can name so", async () => {
    await given("dots", [givenRow("x")]);
    const { body } = await ask("signed", { sign: "r2", prefix: "a/" });
    const url = new URL(body.objects[0]?.url ?? "");
    expect([url.origin, url.pathname]).toEqual([
      "https://r2.penstock.invalid",
      "/penstock-datasets/signed/a/b%20c.json",
    ]);
    expect(url.searchParams.get("X-Amz-Expires")).toBe("86400");
    const lines = await linesOf(await read("signed", { sign: "r2", format: "ndjson" }));
    const end = lines.pop();
    expect(lines.every(({ url: each }) => String(each).startsWith("https://r2.penstock.invalid/"))).toBe(true);
    expect([end?.["expiresAt"], typeof end?.["refresh"]]).toEqual([lines[0]?.["expiresAt"], "string"]);
    const csv = await (await read("signed", { sign: "r2", format: "csv" })).text();
    expect(csv.split("\r\n")[0]?.endsWith(",url,headers,expiresAt")).toBe(true);
    expect(csv).toContain("https://r2.penstock.invalid/");
  });

  it("=r2 tells the second in which its URLs end, and none after it", async () => {
    const clock = vi.spyOn(Date, "now").mockReturnValue(Date.UTC(2026, 0, 1) + 999);
    onTestFinished(() => clock.mockRestore());
    const { body } = await ask("signed", { sign: "r2", prefix: "a/", expiresSeconds: "60" });
    expect(new URL(body.objects[0]?.url ?? "").searchParams.get("X-Amz-Date")).toBe("20260101T000000Z");
    expect([body.serverTime, body.expiresAt]).toEqual(["2026-01-01T00:00:00.000Z", "2026-01-01T00:01:00.000Z"]);
    expect(body.objects[0]?.expiresAt).toBe(body.expiresAt);
  });

  it("is for tokens that may mint a capability of the dataset", async () => {
    expect((await ask("signed", { sign: "r2" }, LIMITED)).status).toBe(403);
    expect((await ask("mine", { sign: "r2" }, LIMITED)).status).toBe(200);
    expect((await ask("signed", { sign: "r2" }, ADMIN)).status).toBe(200);
  });

  it("after all capabilities were revoked gives URLs that hold", async () => {
    must(await datasetOf(env, "signed").revokeCapability(null));
    const { body } = await ask("signed", { prefix: "a/b", sign: "edge" });
    const { nbf } = claimsOf(body.objects[0]?.url ?? "");
    const { upTo } = must(await datasetOf(env, "signed").readerView()).revoked;
    expect(nbf).toBeGreaterThan(upTo);
  });
});
