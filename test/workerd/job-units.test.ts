import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { datasetOf, jobOf } from "../../workers/adapters/objects.ts";
import { INDEXING } from "../../workers/adapters/record-indexing.ts";
import { readUnits, writeUnits } from "../../workers/adapters/unit-lists.ts";
import type { Part, Unit } from "../../workers/core/jobs/units/unit.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { failure } from "../../workers/core/failure.ts";
import { givenRow } from "../harness/rows.ts";
import { ADMIN, api, apiTokens } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { gzipped } from "./harness/gzip.ts";
import { sealInSteps } from "./harness/sealed.ts";
import { must } from "./harness/run.ts";
import { takeOut } from "./harness/take-out.ts";

interface Created {
  id: string;
  dataset: string;
  units: { count: number; bytes: number };
  warnings: string[];
  code: string;
  field: string;
  detail: string;
}

let seen: Env;
beforeAll(async () => {
  const { API_TOKENS } = await apiTokens("limited");
  seen = { ...env, API_TOKENS: JSON.stringify(API_TOKENS) };
});

const filled = (name: string, objects: Record<string, string | Uint8Array>, kind: "files" | "zarr" = "files") =>
  fillDataset(seen, name, kind, objects);
const create = (dataset: string, input: object, more: object = {}, by: Env = seen) =>
  api<Created>(by, "POST /v1/jobs", { name: "j", dataset, input, ...more }, ADMIN);
/** The units of a job that must be there. */
async function unitsOf(answer: Awaited<ReturnType<typeof create>>): Promise<Unit[]> {
  expect(answer.status, answer.body.detail).toBe(201);
  const { id, units } = answer.body;
  const listed = must(
    await readUnits(
      env,
      id,
      Array.from({ length: units.count }, (_, n) => n),
    ),
  );
  expect(listed.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(units.bytes);
  expect(must(await jobOf(env, id).spec()).unitList).toMatchObject(units);
  return listed;
}
const keysOf = (units: readonly Unit[]) => units.map(({ parts }) => parts.map(({ key }) => key));
/** The Dataset objects, which answer some questions otherwise. */
function withPatched(patch: Record<string, unknown>): Env["DATASET"] {
  const getByName = (name: string) => {
    const stub = env.DATASET.getByName(name);
    return new Proxy(stub, { get: (real, method) => patch[String(method)] ?? Reflect.get(real, method) });
  };
  return { getByName } as unknown as Env["DATASET"];
}
const refusalOf = async (dataset: string, input: object) => {
  const { status, body } = await create(dataset, input);
  return [status, body.code, body.field];
};
const listed = async () => (await env.SYSTEM.list({ prefix: "jobs/" })).objects.map(({ key }) => key);
const zarray = (more: object = {}) =>
  JSON.stringify({ zarr_format: 2, shape: [4, 4], chunks: [2, 2], dtype: "|u1", ...more });
const lines = (count: number) => Array.from({ length: count }, (_, n) => JSON.stringify({ n })).join("\n");

describe("a job's input", () => {
  it("is cut into units: records, then arrays, then objects by key, each object in one unit", async () => {
    const objects = {
      "text/a.jsonl": lines(10),
      "text/b.jsonl": lines(3),
      "cube/.zgroup": '{"zarr_format":2}',
      "cube/t/.zarray": zarray(),
      "cube/t/0.0": "aaaa",
      "cube/t/1.0": "cc",
      "cube/t/1.1": "d",
      "cube/t/7.7": "of an array that was larger",
      "img/\u{1f600}.png": "123",
      "img/\uffee.png": "12",
      "img/z.txt": "1",
      "one/é": "12345",
      beside: "x",
    };
    const { seal } = await filled("mixed", objects, "zarr");
    await seal();
    const input = {
      records: ["text/b.jsonl", "text/a.jsonl", "text/b.jsonl"],
      zarr: [{ path: "cube/t" }],
      prefixes: ["text/", "cube/"],
      globs: ["img/*.png", "**/*.jsonl"],
      keys: ["one/e\u0301", "img/\u{1f600}.png", "one/é"],
    };
    const units = await unitsOf(await create("mixed@1", input, { units: { targetBytes: 8 } }));
    const size = (key: keyof typeof objects) => new TextEncoder().encode(objects[key]).length;
    expect(units.map(({ parts }) => parts)).toEqual<Part[][]>([
      [
        {
          ...{ key: "text/b.jsonl", size: size("text/b.jsonl"), range: { offset: 0, length: size("text/b.jsonl") } },
          records: { first: 0, count: 3 },
        },
      ],
      [
        {
          ...{ key: "text/a.jsonl", size: size("text/a.jsonl"), range: { offset: 0, length: size("text/a.jsonl") } },
          records: { first: 0, count: 10 },
        },
      ],
      [
        { key: "cube/t/0.0", size: 4, array: "cube/t", chunk: [0, 0] },
        { key: "cube/t/0.1", size: 0, array: "cube/t", chunk: [0, 1] },
        { key: "cube/t/1.0", size: 2, array: "cube/t", chunk: [1, 0] },
        { key: "cube/t/1.1", size: 1, array: "cube/t", chunk: [1, 1] },
      ],
      [{ key: "cube/.zgroup", size: 17 }],
      [{ key: "cube/t/.zarray", size: size("cube/t/.zarray") }],
      [{ key: "cube/t/7.7", size: 27 }],
      [
        { key: "img/\uffee.png", size: 2 },
        { key: "img/\u{1f600}.png", size: 3 },
      ],
      [{ key: "one/é", size: 5 }],
    ]);
  });

  it("is of one sealed version, whatever has come since", async () => {
    const { put, seal } = await filled("fixed", { a: "one", b: "two" });
    await seal({ aliases: ["stable"] });
    await put("c", "three");
    await put("a", "longer");
    for (const version of ["1", "stable"]) {
      const answer = await create(`fixed@${version}`, { prefixes: [""] });
      expect([answer.body.dataset, answer.body.units, answer.body.warnings]).toEqual([
        "fixed@1",
        { count: 1, bytes: 6 },
        [],
      ]);
      expect(keysOf(await unitsOf(answer))).toEqual([["a", "b"]]);
    }
  });

  it("has the same digest where the same is cut the same, and another where it is not", async () => {
    const { seal } = await filled("twice", { "a/1": "1", "a/2": "2", "b/1": "3" });
    await seal();
    const digestOf = async (input: object, targetBytes = 2) => {
      const { body } = await create("twice@1", input, { units: { targetBytes } });
      return must(await jobOf(env, body.id).spec()).unitList.digest;
    };
    const digest = await digestOf({ prefixes: ["a/", "b/"] });
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(await digestOf({ globs: ["**"] })).toBe(digest);
    expect(await digestOf({ prefixes: [""] }, 1)).not.toBe(digest);
    expect(await digestOf({ prefixes: ["a/"] })).not.toBe(digest);
  });

  it("is found in a version of many files and groups, by the groups that can hold it", async () => {
    const keys = Array.from({ length: 300 }, (_, n) => `k/${String(n).padStart(3, "0")}`);
    const { id } = await filled("many", { "a/first": "1", "z/last": "1" });
    const stub = datasetOf(env, "many");
    must(
      await stub.applyRows(
        id,
        keys.map((key) => givenRow(key)),
      ),
    );
    const number = await sealInSteps(stub, id, async () => undefined);
    const reads = vi.fn<(key: unknown) => void>();
    const system = new Proxy(env.SYSTEM, {
      get(bucket, name) {
        const value: unknown = Reflect.get(bucket, name);
        if (typeof value !== "function") return value;
        return (key: unknown, ...rest: unknown[]): unknown => {
          if (name === "get" && String(key).includes("manifest-")) reads(key);
          return Reflect.apply(value, bucket, [key, ...rest]);
        };
      },
    });
    const by = { ...seen, SYSTEM: system };
    const all = await create(`many@${number}`, { prefixes: ["k/"], keys: ["z/last", "a/first"] }, {}, by);
    expect(keysOf(await unitsOf(all)).flat()).toEqual(["a/first", ...keys, "z/last"]);
    const readsOfAll = reads.mock.calls.length;
    reads.mockClear();
    const some = await create(`many@${number}`, { globs: ["k/15[5-6]", "k/29?"], keys: ["k/155"] }, {}, by);
    const expected = [155, 156, ...Array.from({ length: 10 }, (_, n) => 290 + n)].map((n) => `k/${n}`);
    expect(keysOf(await unitsOf(some)).flat()).toEqual(expected);
    expect(reads.mock.calls.length).toBeLessThan(readsOfAll / 2);
  });

  it("names what was stored: not the consolidated metadata that the edge serves in its place", async () => {
    const group = JSON.stringify({ zarr_format: 3, node_type: "group" });
    const { seal } = await filled("consolidated", { "zarr.json": group, "t/zarr.json": "{}" }, "zarr");
    const { described } = await seal();
    expect(described.body["derived"]).toEqual(["zarr.json"]);
    const answer = await create("consolidated@1", { keys: ["zarr.json"] });
    expect((await unitsOf(answer))[0]?.parts).toEqual([{ key: "zarr.json", size: group.length }]);
  });

  it("of records is ranges between places of their index", async () => {
    const text = Array.from({ length: 4000 }, (_, n) => JSON.stringify({ n, text: "x".repeat(n % 100) })).join("\n");
    const { seal } = await filled("long-lines", { "a.jsonl": text });
    await seal();
    const units = await unitsOf(
      await create("long-lines@1", { records: ["a.jsonl"] }, { units: { targetBytes: 70_000 } }),
    );
    expect(units.length).toBeGreaterThan(3);
    let next = 0;
    for (const { parts } of units) {
      const [{ range, records } = {}] = parts;
      const stretch = text
        .slice(range?.offset, (range?.offset ?? 0) + (range?.length ?? 0))
        .trimEnd()
        .split("\n");
      expect([records?.first, stretch.length]).toEqual([next, records?.count]);
      expect(stretch.map((line) => (JSON.parse(line) as { n: number }).n)).toEqual(stretch.map((_, n) => next + n));
      next += stretch.length;
    }
    expect(next).toBe(4000);
  });

  it("of arrays is the selected chunks of each, of two that overlap each chunk once", async () => {
    const v3 = JSON.stringify({
      ...{ zarr_format: 3, node_type: "array", shape: [6] },
      chunk_grid: { name: "regular", configuration: { chunk_shape: [2] } },
      chunk_key_encoding: { name: "default" },
    });
    const { seal } = await filled(
      "arrays",
      { ".zarray": zarray(), "1.1": "d", "deep/zarr.json": v3, "deep/c/1": "11" },
      "zarr",
    );
    await seal();
    const zarr = [
      { path: "deep", select: ["1:3"] },
      { path: "deep", select: ["2:"] },
      { path: "", select: [":", "3:"] },
    ];
    const units = await unitsOf(await create("arrays@1", { zarr, keys: ["deep/c/1"] }));
    expect(units.map(({ parts }) => parts.map(({ key, size, chunk }) => [key, size, chunk]))).toEqual([
      [
        ["deep/c/0", 0, [0]],
        ["deep/c/1", 2, [1]],
      ],
      [["deep/c/2", 0, [2]]],
      [
        ["0.1", 0, [0, 1]],
        ["1.1", 1, [1, 1]],
      ],
    ]);
  });
});

describe("a job on the moving head", () => {
  it("seals what is there, and takes the version that there is where nothing has changed", async () => {
    const { put } = await filled("moving-head", { a: "one" });
    const first = await create("moving-head", { prefixes: [""] });
    expect([first.body.dataset, keysOf(await unitsOf(first))]).toEqual(["moving-head@1", [["a"]]]);
    expect((await create("moving-head@live", { prefixes: [""] })).body.dataset).toBe("moving-head@1");
    await put("b", "two");
    const second = await create("moving-head", { prefixes: [""] });
    expect([second.body.dataset, keysOf(await unitsOf(second))]).toEqual(["moving-head@2", [["a", "b"]]]);
  });

  it("is told that a migration is still running; one on a version is not", async () => {
    const { id, seal } = await filled("arriving", { a: "one" });
    await seal();
    must(await datasetOf(env, "arriving").beginMigration(id, "mig_x", Date.now()));
    const { body } = await create("arriving", { prefixes: [""] });
    expect(body.warnings).toEqual([expect.stringContaining("mig_x")]);
    expect((await create("arriving@1", { prefixes: [""] })).body.warnings).toEqual([]);
  });

  it("is refused after thirty seconds of looking, and says when to ask again; nothing is left of it", async () => {
    await filled("slow", { a: "one" });
    const waits = vi.spyOn(scheduler, "wait").mockResolvedValue(undefined);
    onTestFinished(() => waits.mockRestore());
    const before = await listed();
    for (const [calls, patch] of [
      [120, { version: async () => ok({ info: { state: "sealing" } }) }],
      [120, { seal: async () => fail(failure("version-sealing", "An older one is being sealed.")) }],
    ] as const) {
      waits.mockClear();
      const by = { ...seen, DATASET: withPatched(patch) };
      const { status, headers, body } = await create("slow", { prefixes: [""] }, {}, by);
      expect([status, body.code, body.field, headers.get("retry-after")]).toEqual([
        409,
        "version-sealing",
        "dataset",
        "15",
      ]);
      expect(body.detail).toContain("Ask again in 15 seconds");
      expect(waits.mock.calls).toEqual(Array.from({ length: calls }, () => [250]));
    }
    expect(await listed()).toEqual(before);
  });
});

describe("an input that names nothing", () => {
  it("is refused with the field at fault, and leaves nothing behind", async () => {
    const { seal } = await filled("bare", { "a/1": "one", "cube/.zarray": zarray() });
    await seal();
    const before = await listed();
    for (const [input, field] of [
      [{ prefixes: ["a/", "none/"] }, "input.prefixes.1"],
      [{ globs: ["a/*", "a/*.png"] }, "input.globs.1"],
      [{ keys: ["a/1", "a/2"] }, "input.keys.1"],
      [{ records: ["none.jsonl"] }, "input.records.0"],
    ] as const)
      expect(await refusalOf("bare@1", input), field).toEqual([400, "empty-input", field]);
    expect(await listed()).toEqual(before);
  });

  it("is all of a dataset without objects, of which no version is sealed", async () => {
    await filled("void", {});
    expect(await refusalOf("void", { prefixes: [""] })).toEqual([400, "empty-input", "input"]);
    expect((await api<{ versions: unknown[] }>(seen, "GET /v1/datasets/void/versions")).body.versions).toEqual([]);
    const { id, seal } = await filled("emptied", { a: "1" });
    await takeOut(datasetOf(env, "emptied"), id, ["a"]);
    await seal();
    expect(await refusalOf("emptied@1", { prefixes: [""] })).toEqual([400, "empty-input", "input.prefixes.0"]);
  });

  it("is an object without records, too", async () => {
    const { seal } = await filled("blank", { "a.jsonl": "\n\n" });
    await seal();
    const before = await listed();
    expect(await refusalOf("blank@1", { records: ["a.jsonl"] })).toEqual([400, "empty-input", "input"]);
    expect(await listed()).toEqual(before);
  });
});

describe("an input that cannot be cut", () => {
  it("is refused: arrays", async () => {
    const group = JSON.stringify({ zarr_format: 3, node_type: "group" });
    const objects = {
      "t/.zarray": zarray(),
      "g/zarr.json": group,
      "none/x": "1",
      "empty/.zarray": zarray({ shape: [0, 4] }),
    };
    const { seal } = await filled("no-arrays", {
      ...objects,
      "large/.zarray": zarray({ shape: [6000, 400], chunks: [1, 4] }),
    });
    await seal();
    for (const [zarr, code, field] of [
      [{ path: "none" }, "not-zarr", "path"],
      [{ path: "g" }, "not-zarr", "path"],
      [{ path: "t", select: ["0:9"] }, "not-zarr", "select"],
      [{ path: "t", select: [":", ":", ":"] }, "not-zarr", "select"],
    ] as const)
      expect(await refusalOf("no-arrays@1", { zarr: [{ path: "t" }, zarr] })).toEqual([
        400,
        code,
        `input.zarr.1.${field}`,
      ]);
    expect(await refusalOf("no-arrays@1", { zarr: [{ path: "empty" }] })).toEqual([400, "empty-input", "input.zarr.0"]);
    const large = [{ path: "large" }, { path: "large" }];
    expect(await refusalOf("no-arrays@1", { zarr: large })).toEqual([400, "too-many-units", "input.zarr.1"]);
  });

  it("opens by its root as many prefixes as fit a capability, and says which", async () => {
    const prefixes = Array.from({ length: 60 }, (_, n) => `${String(n).padStart(2, "0").repeat(200)}/`);
    const { seal } = await filled("wordy", Object.fromEntries(prefixes.map((prefix) => [`${prefix}x`, "1"])));
    await seal();
    const { status, body } = await create("wordy@1", { prefixes });
    const { scope } = (body as unknown as { read: { scope: { prefixes: string[] } } }).read;
    expect([status, body.units.count]).toEqual([201, 1]);
    expect(scope.prefixes.length).toBeGreaterThan(10);
    expect(prefixes.slice(0, scope.prefixes.length)).toEqual(scope.prefixes);
  });

  it("is refused: records that are no lines, or compressed", async () => {
    const { seal } = await filled("no-lines", {
      "ok.jsonl": lines(2),
      "array.json": "[1, 2]",
      "lines.jsonl.gz": await gzipped(lines(2)),
      "bytes.bin": new Uint8Array([0, 1, 2, 3]),
    });
    await seal();
    for (const key of ["array.json", "lines.jsonl.gz", "bytes.bin"]) {
      const { status, body } = await create("no-lines@1", { records: ["ok.jsonl", key] });
      expect([status, body.code, body.field], key).toEqual([409, "not-records", "input.records.1"]);
    }
  });

  it("waits for records that are not indexed yet: a request indexes so many bytes, and the queue is told of all others", async () => {
    const names = ["a.jsonl", "b.jsonl", "c.jsonl"];
    const { seal } = await filled("unindexed", Object.fromEntries(names.map((name) => [name, lines(20)])));
    await seal();
    const { inlineBytes } = INDEXING;
    INDEXING.inlineBytes = lines(20).length + 1;
    onTestFinished(() => void (INDEXING.inlineBytes = inlineBytes));
    const sent: string[] = [];
    const queue = { send: async ({ key }: { key: string }) => void sent.push(key) };
    const by = { ...seen, MANIFEST_QUEUE: queue as unknown as Env["MANIFEST_QUEUE"] };
    const before = await listed();
    const first = await create("unindexed@1", { records: names }, {}, by);
    const { status, headers, body } = first;
    expect([status, body.code, body.field, headers.get("retry-after")]).toEqual([
      ...[503, "records-not-indexed", "input.records.1", "2"],
    ]);
    expect([sent, await listed()]).toEqual([["b.jsonl", "c.jsonl"], before]);
    INDEXING.inlineBytes = inlineBytes;
    expect((await create("unindexed@1", { records: ["a.jsonl"] }, {}, by)).status).toBe(201);
  });

  it("is refused where finding its names would read more of the version than a request may", async () => {
    const { id, seal } = await filled("vast", { "a/1": "1" });
    await seal({ aliases: ["all"] });
    const stub = datasetOf(env, "vast");
    const version = must(await stub.version({ kind: "number", number: 1 }));
    const groups = Array.from({ length: 3001 }, (_, n) => `a/${String(n).padStart(4, "0")}`);
    const files = version.files.map((file) => ({ ...file, groups }));
    const by = { ...seen, DATASET: withPatched({ version: async () => ok({ ...version, datasetId: id, files }) }) };
    const { status, body } = await create("vast@all", { prefixes: ["a/"] }, {}, by);
    expect([status, body.code, body.field]).toEqual([400, "too-many-units", "input"]);
    expect(body.detail).toContain("3001 row groups");
  });

  it("is refused where an object is no longer what was sealed", async () => {
    const { put, seal } = await filled("changed", { "a.jsonl": lines(2), "t/.zarray": zarray() });
    await seal();
    await put("a.jsonl", lines(3));
    await put("t/.zarray", zarray({ shape: [9, 9] }));
    expect(await refusalOf("changed@1", { records: ["a.jsonl"] })).toEqual([409, "object-changed", "input.records.0"]);
    expect(await refusalOf("changed@1", { zarr: [{ path: "t" }] })).toEqual([
      409,
      "object-changed",
      "input.zarr.0.path",
    ]);
  });
});

describe("a list of units", () => {
  const unit = (n: number, length = 900): Unit => ({
    parts: [{ key: String(n).padStart(length, "k"), size: n }],
    bytes: n,
  });
  async function* units(count: number, last: Result<Unit> | null = null): AsyncGenerator<Result<Unit>> {
    for (let n = 0; n < count; n++) yield ok(unit(n));
    if (last !== null) yield last;
  }

  it("has a million units at most", async () => {
    async function* small(count: number): AsyncGenerator<Result<Unit>> {
      for (let n = 0; n < count; n++) yield ok({ parts: [{ key: "k", size: 1 }], bytes: 1 });
    }
    const most = must(await writeUnits(env, "job_most", small(1_000_000)));
    expect(most.count).toBe(1_000_000);
    expect(must(await readUnits(env, "job_most", [999_999]))).toHaveLength(1);
    const more = await writeUnits(env, "job_more", small(1_000_001));
    expect(more).toMatchObject({ failure: { code: "too-many-units", field: "units.targetBytes" } });
    expect((await env.SYSTEM.list({ prefix: "jobs/job_more/" })).objects).toEqual([]);
  });

  it("is of several files, and any of its units are read back in the order asked for", async () => {
    const count = 10_000;
    const { digest, ...summary } = must(await writeUnits(env, "job_long", units(count)));
    expect(summary).toMatchObject({ count, bytes: (count * (count - 1)) / 2, parts: count });
    expect((await env.SYSTEM.list({ prefix: "jobs/job_long/" })).objects.map(({ key }) => key)).toEqual([
      ...["0", "1", "2"].map((n) => `jobs/job_long/units/${n}`),
      "jobs/job_long/units/index.json",
    ]);
    expect(digest).toBe(must(await writeUnits(env, "job_long_2", units(count))).digest);
    const numbers = [9999, 0, 5000, 4999, 1, 73, 9999];
    expect(must(await readUnits(env, "job_long", numbers))).toEqual(numbers.map((n) => unit(n)));
    expect(await readUnits(env, "job_long", [count])).toMatchObject({ failure: { code: "version-damaged" } });
  });

  it("is damaged where a file is missing or altered, and says which", async () => {
    for (const id of ["job_missing", "job_altered", "job_unlisted"]) must(await writeUnits(env, id, units(3)));
    await env.SYSTEM.delete("jobs/job_missing/units/0");
    const file = await env.SYSTEM.get("jobs/job_altered/units/0");
    await env.SYSTEM.put("jobs/job_altered/units/0", `${await file?.text()} `);
    await env.SYSTEM.put("jobs/job_unlisted/units/index.json", "{}");
    for (const [id, name] of [
      ["job_missing", "0"],
      ["job_altered", "0"],
      ["job_unlisted", "index.json"],
      ["job_never", "index.json"],
    ] as const) {
      const read = await readUnits(env, id, [0]);
      expect(read.ok ? null : [read.failure.code, read.failure.detail.includes(`jobs/${id}/units/${name}"`)]).toEqual([
        "version-damaged",
        true,
      ]);
    }
  });

  it("that a failure ends is taken away again", async () => {
    const failed = fail(failure("store-unavailable", "gone"));
    expect(await writeUnits(env, "job_failed", units(6000, failed))).toEqual(failed);
    expect(await writeUnits(env, "job_failed", units(0))).toMatchObject({ failure: { code: "empty-input" } });
    expect((await env.SYSTEM.list({ prefix: "jobs/job_failed/" })).objects).toEqual([]);
  });

  it("is never overwritten: who comes second with the same id is refused", async () => {
    must(await writeUnits(env, "job_twice", units(3)));
    const second = await writeUnits(env, "job_twice", units(4));
    expect(second).toMatchObject({ ok: false, failure: { code: "precondition-failed" } });
    expect(must(await readUnits(env, "job_twice", [2]))).toEqual([unit(2)]);
  });
});
