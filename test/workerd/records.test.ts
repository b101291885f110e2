import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { api, apiTokens, LIMITED, request } from "./harness/api.ts";
import { gzipped, joined } from "./harness/gzip.ts";
import { putText, readRecords } from "./harness/records.ts";
import { registerDataset } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { brokenOff, watchBucket, withBody } from "./harness/watched-bucket.ts";

let seen: Env;
const read = (where: string, by: Env = seen) => readRecords(by, where);

/** Lines long enough for an index of several places. */
const MANY = Array.from({ length: 5000 }, (_, id) => JSON.stringify({ id, text: "ü".repeat(20 + (id % 30)) }));
let etag = "";

beforeAll(async () => {
  seen = envWith("plain", await apiTokens("other"));
  await registerDataset("texts", "texts/");
  etag = await putText("many.jsonl", MANY.join("\n"));
});

describe("GET /v1/datasets/:dataset/records/*key", () => {
  it("sends lines as they stand in the object, and an end line", async () => {
    await putText("a/b c.jsonl", '\u{feff}{"a" : 1.0}\r\n\n"\\ud800"\n[1, 2]');
    const { status, headers, lines, end } = await read("/a/b%20c.jsonl");
    expect([status, lines]).toEqual([200, ['{"a" : 1.0}', '"\\ud800"', "[1, 2]"]]);
    expect(end).toMatchObject({ end: true, records: 3, offset: 0, next: null, total: 3, skipped: 0, broken: [] });
    expect(headers.get("content-type")).toBe("application/x-ndjson");
    expect(headers.get("x-penstock-etag")).toBe((await env.DATASETS.head("texts/a/b c.jsonl"))?.etag);
    expect(headers.get("x-penstock-records-total")).toBe("3");
    expect([headers.get("cache-control"), headers.get("x-content-type-options")]).toEqual(["no-store", "nosniff"]);
  });

  it("sends the elements of an array, one a line", async () => {
    await putText("array.json", '[\n  {"a": 1,\n   "b": "],["},\n  2\n]\n');
    expect((await read("/array.json")).lines).toEqual(['{"a": 1,    "b": "],["}', "2"]);
  });

  it("sends a thousand records, and goes on from any of them", async () => {
    const first = await read("/many.jsonl");
    expect(first.lines).toEqual(MANY.slice(0, 1000));
    expect(first.end).toMatchObject({ records: 1000, offset: 0, next: 1000, total: 5000, etag });
    const got: string[] = [];
    for (let next: number | null = 4000; next !== null;) {
      const { lines, end } = await read(`/many.jsonl?offset=${next}&limit=333&etag=${etag}`);
      got.push(...lines);
      next = end?.next ?? null;
    }
    expect(got).toEqual(MANY.slice(4000));
  });

  it("sends nothing from the end on", async () => {
    for (const offset of [5000, 9000]) {
      const { lines, end } = await read(`/many.jsonl?offset=${offset}&etag=${etag}`);
      expect([lines, end?.next, end?.offset]).toEqual([[], null, 5000]);
    }
  });

  it("divides the records among shards, each of which is read like an object of its own", async () => {
    const all: string[] = [];
    for (let index = 0; index < 3; index++) {
      const { lines, end } = await read(`/many.jsonl?shard=${index}/3`);
      expect(end?.shard).toEqual({ index, of: 3, first: all.length });
      expect([end?.offset, end?.next, end?.total]).toEqual([0, null, lines.length]);
      all.push(...lines);
    }
    expect(all).toEqual(MANY);
    const { lines, end } = await read("/many.jsonl?shard=2/3&offset=10&limit=5");
    expect(lines).toEqual(MANY.slice(3344, 3349));
    expect([end?.offset, end?.next]).toEqual([10, 15]);
  });

  it("leaves broken records out and names them, or refuses them before the first byte", async () => {
    await putText("broken.jsonl", '1\n{"a":\n\n3\nnope\n5\n');
    const { lines, end } = await read("/broken.jsonl");
    expect(lines).toEqual(["1", "3", "5"]);
    expect(end).toMatchObject({ records: 3, next: null, total: 5, skipped: 2 });
    expect(end?.broken).toEqual([
      { record: 1, line: 2, reason: "not-json" },
      { record: 3, line: 5, reason: "not-json" },
    ]);
    const refused = await read("/broken.jsonl?onBroken=refuse&offset=2");
    expect([refused.status, refused.problem?.["code"], refused.problem?.["field"]]).toEqual([
      422,
      "record-broken",
      "onBroken",
    ]);
    expect(refused.problem?.["detail"]).toContain("Record 3 (line 5: not-json)");
    expect((await read("/broken.jsonl?onBroken=refuse&offset=2&limit=1")).lines).toEqual(["3"]);
  });

  it("breaks off at a broken record that only reading it shows", async () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => (i % 2 === 1 && i !== 19_001 ? "{" : `${i}`.padStart(20)));
    await putText("half.jsonl", lines.join("\n"));
    const { status, lines: got, end } = await read("/half.jsonl?onBroken=refuse&offset=19000&limit=10");
    expect([status, got.map(Number)]).toEqual([200, [19_000, 19_001, 19_002]]);
    expect(end).toMatchObject({ end: false, failure: { code: "record-broken" }, records: 3, next: 19_003 });
  });

  it.each([
    ["several members, by its bytes, whatever it is called", "members.txt", {}],
    ["Content-Encoding gzip", "encoded.json", { contentEncoding: "gzip" }],
    ["a name that ends in .gz", "named.jsonl.gz", {}],
  ])("inflates gzip: %s", async (_, key, metadata) => {
    const half = `${MANY.slice(0, 2500).join("\n")}\n`;
    const bytes = joined([await gzipped(half), await gzipped(MANY.slice(2500).join("\n"))]);
    await putText(key, bytes, metadata);
    for (const where of ["?offset=2400&limit=200", "?offset=4999"]) {
      const { lines, end } = await read(`/${key}${where}`);
      const first = end?.offset ?? 0;
      expect(lines).toEqual(MANY.slice(first, first + (end?.records ?? 0)));
      expect(end).toMatchObject({ end: true, total: 5000 });
      expect(lines.length).toBe(first === 4999 ? 1 : 200);
    }
  });

  it("of gzip with zeros behind it sends what is before them, as gzip does", async () => {
    await putText("padded.jsonl.gz", joined([await gzipped(MANY.join("\n")), new Uint8Array(10_240)]));
    for (const where of ["?limit=1", "?offset=4998"]) {
      const { lines, end } = await read(`/padded.jsonl.gz${where}`);
      expect([lines.length, end?.end, end?.total]).toEqual([end?.records, true, 5000]);
    }
  });

  it("refuses gzip of thousands of small members, the same the second time, and reads a log of a thousand", async () => {
    const member = await gzipped('{"a":1}\n');
    const log = (members: number) => joined(Array.from({ length: members }, () => member));
    await putText("log.jsonl.gz", log(1000));
    expect((await read("/log.jsonl.gz?offset=999")).lines).toEqual(['{"a":1}']);
    await putText("pieces.jsonl.gz", log(12_000));
    for (const again of [1, 2]) {
      const watch = watchBucket();
      const { status, problem } = await read("/pieces.jsonl.gz", { ...seen, DATASETS: watch.bucket });
      expect([again, status, problem?.["code"], watch.count().gets]).toEqual([again, 409, "not-records", 3 - again]);
      expect(problem?.["detail"]).toMatch(
        /more than 2000 gzip members.*Recompress it as one member, or.*at least 32768/,
      );
    }
  });

  it("of gzip that is cut short is an error, and no end", async () => {
    await putText("cut.jsonl.gz", (await gzipped(MANY.join("\n"))).slice(0, -9));
    for (const again of [1, 2]) {
      const { status, problem } = await read("/cut.jsonl.gz");
      expect([again, status, problem?.["code"]]).toEqual([again, 422, "record-broken"]);
      expect(problem?.["detail"]).toContain("gzip data is damaged");
    }
  });

  it.each<[string, string | Uint8Array, R2HTTPMetadata]>([
    ["a Zarr chunk", Uint8Array.from({ length: 5000 }, (_, i) => (i * 73) % 256), {}],
    ["pretty-printed metadata", JSON.stringify({ shape: [1, 2], zarr_format: 3 }, null, 2), {}],
    ["CSV", "a,b\n1,2\n", { contentType: "text/csv" }],
    ["another encoding", "(whatever br is)", { contentEncoding: "br" }],
  ])("refuses %s, the same the second time", async (name, body, metadata) => {
    await putText(name, body, metadata);
    for (const again of [1, 2]) {
      const { status, problem } = await read(`/${encodeURIComponent(name)}`);
      expect([again, status, problem?.["code"], problem?.["field"]]).toEqual([again, 409, "not-records", "key"]);
    }
  });

  it("takes what it refused when the same bytes are stored again with what the refusal asks for", async () => {
    for (const [key, body, was, is] of [
      ["type", "[1]\n[2]\n", { contentType: "text/plain" }, { contentType: "application/x-ndjson" }],
      ["encoding", "[1]", { contentEncoding: "br" }, {}],
    ] as const) {
      const tag = await putText(key, body, was);
      for (const where of ["", `?etag=${tag}`]) expect((await read(`/${key}${where}`)).status).toBe(409);
      expect(await putText(key, body, is)).toBe(tag);
      // First who names the ETag, and so need not be told which object it is.
      for (const where of [`?etag=${tag}`, ""]) expect((await read(`/${key}${where}`)).status).toBe(200);
      await putText(key, body, was);
      expect((await read(`/${key}`)).status).toBe(409);
    }
  });

  it("counts anew where the same bytes are said to be of another kind", async () => {
    const tag = await putText("said", "[1,2]");
    expect((await read("/said")).lines).toEqual(["1", "2"]);
    await putText("said", "[1,2]", { contentType: "application/jsonl" });
    // Who goes on by the ETag has the records that were counted, until somebody asks for the object as it is.
    expect((await read(`/said?etag=${tag}&offset=1`)).lines).toEqual(["2"]);
    expect((await read("/said")).lines).toEqual(["[1,2]"]);
    expect((await read(`/said?etag=${tag}`)).lines).toEqual(["[1,2]"]);
  });

  it("takes lines that are arrays for lines where it is told so", async () => {
    await putText("rows.txt", "[1,2]\n[3]\n");
    expect((await read("/rows.txt")).problem?.["detail"]).toContain("?as=lines");
    expect((await read("/rows.txt?as=lines")).lines).toEqual(["[1,2]", "[3]"]);
    expect((await read("/rows.txt")).status).toBe(409);
  });

  it.each(["", "[]", "\n"])("of an object of %j has no records, and is an answer", async (body) => {
    await putText("none", body);
    const { lines, end } = await read("/none");
    expect([lines, end?.end, end?.total, end?.next]).toEqual([[], true, 0, null]);
  });

  it("answers HEAD with what is known, and reads no byte", async () => {
    await read("/many.jsonl?limit=1");
    const { bucket, operations } = watchBucket();
    const watched = { ...seen, DATASETS: bucket };
    const response = await request(watched, `HEAD /v1/datasets/texts/records/many.jsonl`);
    expect([response.status, response.headers.get("x-penstock-records-total")]).toEqual([200, "5000"]);
    expect((await response.arrayBuffer()).byteLength).toBe(0);
    expect(operations.length).toBe(1);
  });
});

describe("an object that changes", () => {
  it("is refused to who resumes, and read anew by who does not", async () => {
    const was = await putText("changing.jsonl", "1\n2\n3\n");
    expect((await read("/changing.jsonl?limit=1")).end).toMatchObject({ next: 1, etag: was });
    await putText("changing.jsonl", "4\n5\n");
    for (const where of ["?offset=1", "?offset=3", "?offset=1&as=lines"]) {
      const { status, problem } = await read(`/changing.jsonl${where}&etag=${was}`);
      expect([where, status, problem?.["code"], problem?.["field"]]).toEqual([where, 409, "object-changed", "etag"]);
    }
    expect((await read("/changing.jsonl")).lines).toEqual(["4", "5"]);
  });

  it("between two looks at it is a 409, and its old index is no harm", async () => {
    await putText("racing.jsonl", "1\n2\n");
    await read("/racing.jsonl");
    let gets = 0;
    const { bucket } = watchBucket({
      get: async (_, answer) => {
        if (++gets === 2) await putText("racing.jsonl", "300\n");
        return answer();
      },
    });
    expect((await read("/racing.jsonl", { ...seen, DATASETS: bucket })).problem?.["code"]).toBe("object-changed");
    expect((await read("/racing.jsonl")).lines).toEqual(["300"]);
  });

  it("into none is a 404", async () => {
    const was = await putText("gone.jsonl", "1\n");
    await read("/gone.jsonl");
    await env.DATASETS.delete("texts/gone.jsonl");
    for (const where of ["", `?etag=${was}`, `?etag=${was}&offset=1`]) {
      const { status, problem } = await read(`/gone.jsonl${where}`);
      expect([where, status, problem?.["code"], problem?.["field"]]).toEqual([where, 404, "object-not-found", "key"]);
    }
  });
});

describe("what R2 is asked for", () => {
  const counted = async (where: string) => {
    const [data, system] = [watchBucket(), watchBucket({}, env.SYSTEM)];
    const answer = await read(where, { ...seen, DATASETS: data.bucket, SYSTEM: system.bucket });
    return { answer, data: data.count(), system: system.count() };
  };

  it("is the index and the bytes, once the object is indexed; and first which object it is, of who does not say", async () => {
    await read("/many.jsonl?limit=1");
    const known = await counted(`/many.jsonl?offset=2000&limit=10&etag=${etag}`);
    expect(known.answer.lines).toEqual(MANY.slice(2000, 2010));
    expect([known.data, known.system]).toEqual([
      { gets: 1, bodies: 1, heads: 0 },
      { gets: 1, bodies: 1, heads: 0 },
    ]);
    const unknown = await counted("/many.jsonl?offset=2000&limit=10");
    expect([unknown.data.gets, unknown.system.gets]).toEqual([2, 1]);
  });

  it("is what is said of the object, once more, before it is refused again", async () => {
    const tag = await putText("refused.csv", "a,b\n");
    await read("/refused.csv");
    for (const where of ["", `?etag=${tag}`]) {
      const { answer, data, system } = await counted(`/refused.csv${where}`);
      expect([where, answer.status, data.gets, system.gets]).toEqual([where, 409, 1, 1]);
    }
  });

  it("is no more of the object than from a place before the first record to one behind the last", async () => {
    await read("/many.jsonl?limit=1");
    const watch = watchBucket({ watchBodies: true });
    await read(`/many.jsonl?offset=2000&limit=10&etag=${etag}`, { ...seen, DATASETS: watch.bucket });
    expect(watch.operations[0]?.taken).toBeLessThan(2 * 66_000);
    expect(watch.operations[0]?.isCancelled).toBe(true);
  });

  it("ends with the client", async () => {
    const watch = watchBucket({ watchBodies: true });
    const by = { ...seen, DATASETS: watch.bucket };
    for (const reads of [0, 1]) {
      watch.operations.length = 0;
      const response = await request(by, `GET /v1/datasets/texts/records/many.jsonl?limit=5000&etag=${etag}`);
      const reader = response.body?.getReader();
      if (reads > 0) expect((await reader?.read())?.value?.length).toBeGreaterThan(0);
      await reader?.cancel();
      await scheduler.wait(10);
      expect([reads, watch.operations.map(({ isCancelled }) => isCancelled)]).toEqual([reads, [true]]);
    }
  });
});

describe("a failure in the middle", () => {
  it.each(["error", "end"] as const)("(R2's body: %s) is told in the last line, with where to go on", async (how) => {
    const { bucket } = watchBucket({
      get: async (_, answer) => {
        const got = await answer();
        return got !== null && "body" in got ? withBody(got, (body) => brokenOff(body, 5000, how)) : got;
      },
    });
    const { status, lines, end } = await read(`/many.jsonl?etag=${etag}`, { ...seen, DATASETS: bucket });
    expect(status).toBe(200);
    expect(lines.length).toBeGreaterThan(10);
    expect(lines).toEqual(MANY.slice(0, lines.length));
    expect(end).toMatchObject({ end: false, failure: { code: "store-unavailable" }, next: lines.length });
    expect((await read(`/many.jsonl?etag=${etag}&limit=1&offset=${end?.next}`)).lines).toEqual([MANY[lines.length]]);
  });
});

describe("refusals", () => {
  it.each<[string, number, string, string]>([
    ["/missing", 404, "object-not-found", "key"],
    ["/", 400, "invalid-key", "key"],
    ["", 400, "invalid-key", "key"],
    ["/a//b", 400, "invalid-key", "key"],
    ["/a?key=b", 400, "invalid-key", "key"],
    ["/%ff", 400, "invalid-key", "key"],
    [`/${"k".repeat(1020)}`, 400, "key-too-long", "key"],
    ["/many.jsonl?version=3", 404, "unknown-version", "version"],
    ["/many.jsonl?offset=-1", 400, "invalid-query", "offset"],
    ["/many.jsonl?limit=0", 400, "invalid-query", "limit"],
    ["/many.jsonl?limit=1000001", 400, "invalid-query", "limit"],
    ["/many.jsonl?shard=3/3", 400, "invalid-query", "shard"],
    ["/many.jsonl?as=csv", 400, "invalid-query", "as"],
    ["/many.jsonl?onBroken=x", 400, "invalid-query", "onBroken"],
    ["/many.jsonl?etag=a%20b", 400, "invalid-query", "etag"],
    ["/many.jsonl?page=1", 400, "invalid-query", "page"],
  ])("%s is %i %s (%s)", async (where, status, code, field) => {
    const { status: found, problem } = await read(where);
    expect([found, problem?.["code"], problem?.["field"]]).toEqual([status, code, field]);
  });

  it("of keys that no path carries end with ?key=, which does", async () => {
    await putText("a//../b+ü.jsonl", "1\n");
    expect((await read("/a//b+ü.jsonl")).problem?.["detail"]).toContain("?key=");
    for (const where of [`?key=${encodeURIComponent("a//../b+ü.jsonl")}`, "?key=a//../b+%c3%bc.jsonl&limit=5"]) {
      expect((await read(where)).lines).toEqual(["1"]);
    }
  });

  it("of other datasets than the token's, and of an unknown one", async () => {
    const limited = await api(seen, "GET /v1/datasets/texts/records/many.jsonl", undefined, LIMITED);
    expect([limited.status, limited.body["code"]]).toEqual([403, "out-of-scope"]);
    const unknown = await api(seen, "GET /v1/datasets/nothing/records/many.jsonl");
    expect([unknown.status, unknown.body["code"]]).toEqual([404, "unknown-dataset"]);
  });
});
