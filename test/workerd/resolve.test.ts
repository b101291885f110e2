import { createExecutionContext, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";
import worker from "../../workers/index.ts";
import { givenRow } from "../harness/rows.ts";
import { ADMIN, api, apiTokens, LIMITED, READER, request } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { takeOut } from "./harness/take-out.ts";

let seen: Env;

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("one"));
});

async function given(name: string, keys: readonly string[], config: object = {}): Promise<void> {
  const body = { kind: "files", prefix: `${name}/`, ...config };
  const { status } = await api(seen, `PUT /v1/datasets/${name}`, body);
  expect(status).toBeLessThan(300);
  const { id } = must(await datasetOf(env, name).config());
  for (let at = 0; at < keys.length; at += 1000) {
    const rows = keys.slice(at, at + 1000).map((key) => givenRow(key, { size: 10 }));
    must(await datasetOf(env, name).applyRows(id, rows));
  }
}

interface Resolved {
  dataset: string;
  key: string;
  stage: string;
  category: string;
  via: string;
  url: string;
  expiresAt: string;
  passedOver: { dataset: string; key: string; why: string }[];
  code: string;
  detail: string;
}
const resolve = (said: Record<string, string>, token = READER) =>
  api<Resolved>(seen, `GET /v1/resolve?${new URLSearchParams(said).toString()}`, undefined, token);

describe("GET /v1/resolve", () => {
  beforeAll(async () => {
    await given("one", [
      "acquired/cot_reasoning/dataset.json",
      "raw/cot_reasoning/deep/dataset.json",
      "raw/math/dataset.json",
      "processed/math/dataset.json",
      "processed/code/other.json",
      "cot_reasoning/dataset.json",
      "processed/math/mydataset.json",
    ]);
  });

  it("finds the object of the first stage that has one in the category, and says which it passed over and why", async () => {
    await env.DATASETS.put("one/raw/cot_reasoning/deep/dataset.json", "found");
    const { status, body } = await resolve({ name: "dataset.json", category: "cot_reasoning", expiresSeconds: "60" });
    expect([status, body.dataset, body.key, body.stage, body.category, body.via]).toEqual([
      ...[200, "one", "raw/cot_reasoning/deep/dataset.json", "raw", "cot_reasoning", "stage"],
    ]);
    expect(body.passedOver.map(({ key, why }) => [key, why])).toEqual(
      expect.arrayContaining([
        ["acquired/cot_reasoning/dataset.json", "stage acquired comes after raw"],
        ["processed/math/dataset.json", 'its category is "math", not "cot_reasoning"'],
        ["raw/math/dataset.json", 'its category is "math", not "cot_reasoning"'],
      ]),
    );
    expect(body.passedOver).toHaveLength(3);
    const data = await request(seen, `GET ${body.url.replace("https://penstock.example", "")}`, undefined, "none");
    expect([data.status, await data.text()]).toEqual([200, "found"]);
  });

  it("goes by the order that is asked for, or else by the dataset's own", async () => {
    const asked = { name: "dataset.json", dataset: "one", category: "cot_reasoning" };
    expect((await resolve({ ...asked, order: "acquired,raw" })).body.key).toBe("acquired/cot_reasoning/dataset.json");
    expect((await api(seen, "PATCH /v1/datasets/one", { resolveOrder: ["acquired", "raw"] })).status).toBe(200);
    expect((await resolve(asked)).body.key).toBe("acquired/cot_reasoning/dataset.json");
    expect((await resolve({ name: "other.json", dataset: "one" })).body.code).toBe("nothing-resolved");
    expect((await api(seen, "PATCH /v1/datasets/one", { resolveOrder: null })).body["resolveOrder"]).toBeUndefined();
    expect((await resolve(asked)).body.key).toBe("raw/cot_reasoning/deep/dataset.json");
  });

  it("names all that it might be, and chooses none", async () => {
    await given("two", ["processed/math/dataset.json", "processed/code/dataset.json", "raw/lone.json"]);
    const { status, body } = await resolve({ name: "dataset.json" });
    expect([status, body.code]).toEqual([409, "ambiguous-name"]);
    for (const candidate of [
      'one: "processed/math/dataset.json"',
      'two: "processed/math/dataset.json"',
      'two: "processed/code/dataset.json"',
    ]) {
      expect(body.detail).toContain(candidate);
    }
    expect((await resolve({ name: "dataset.json", category: "code" })).body).toMatchObject({
      dataset: "two",
      category: "code",
    });
  });

  it("finds nothing by the end of a name, nor what has no stage, and says what was looked for", async () => {
    const { status, body } = await resolve({ name: "set.json", category: "math" });
    expect([status, body.code]).toEqual([404, "nothing-resolved"]);
    expect(body.detail).toContain('ends in "set.json" and the category "math", in the stages processed, raw, acquired');
    const passed = await resolve({ name: "other.json", category: "math" });
    expect(passed.body.detail).toContain('one: "processed/code/other.json" (its category is "code", not "math")');
  });

  it("says by which order it looked, and what it does not look at", async () => {
    await given("three", ["cot_reasoning/unplaced.json"], { resolveOrder: ["raw", "acquired"] });
    const { body } = await resolve({ name: "unplaced.json", dataset: "three" });
    expect(body.code).toBe("nothing-resolved");
    expect(body.detail).toContain("in the stages raw, acquired; objects without a stage are not looked at");
    const asked = await resolve({ name: "unplaced.json", dataset: "three", order: "processed" });
    expect(asked.body.detail).toContain("in the stages processed;");
    expect((await resolve({ name: "unplaced.json" })).body.detail).toContain("in the stages that each dataset orders;");
  });

  it("refuses a path for a name, and says how it is asked; but a registry may have such a name", async () => {
    const { status, body } = await resolve({ name: "math/dataset.json", dataset: "one" });
    expect([status, body.code]).toEqual([400, "invalid-query"]);
    expect(body.detail).toContain('ask for "dataset.json" with a category');
    expect((await resolve({ name: "math/dataset.json" })).body.code).toBe("invalid-query");
    expect((await resolve({ name: "a/b", dataset: "one", version: "1" })).body.code).toBe("invalid-query");
    await api(seen, "POST /v1/datasets/three/registry", {
      registry: { "my/name": "cot_reasoning/unplaced.json" },
      apply: true,
    });
    expect((await resolve({ name: "my/name", dataset: "three" })).body).toMatchObject({
      key: "cot_reasoning/unplaced.json",
      via: "registry",
    });
  });

  it("in a sealed version looks at names, stages and categories, and answers with all of the one it chose", async () => {
    await given("kept", [
      "raw/math/a.json",
      "processed/math/a.json",
      "raw/code/a.json",
      "math/a.json",
      "raw/math/xa.json",
    ]);
    const { id } = must(await datasetOf(env, "kept").config());
    must(await datasetOf(env, "kept").seal(id, { note: "", aliases: [] }));
    while (await runDurableObjectAlarm(datasetOf(env, "kept")));
    await takeOut(datasetOf(env, "kept"), id, ["processed/math/a.json"]);
    const asked = { name: "a.json", dataset: "kept" };
    expect((await resolve({ ...asked, category: "math" })).body.key).toBe("raw/math/a.json");
    const { body } = await resolve({ ...asked, category: "math", version: "1" });
    expect(body).toMatchObject({
      key: "processed/math/a.json",
      version: "1",
      size: 10,
      writer: "mig_01",
      via: "stage",
    });
    expect(body.url).toContain("/kept@1/");
    expect(body.passedOver.map(({ key }) => key).sort()).toEqual(["raw/code/a.json", "raw/math/a.json"]);
    expect((await resolve({ ...asked, order: "raw", version: "1" })).body.code).toBe("ambiguous-name");
    expect((await resolve({ ...asked, order: "acquired", version: "1" })).body.detail).toContain(
      "in the stages acquired;",
    );
  });

  it("keeps to the datasets of the token", async () => {
    expect((await resolve({ name: "lone.json" })).body.dataset).toBe("two");
    expect((await resolve({ name: "lone.json" }, LIMITED)).body.code).toBe("nothing-resolved");
    expect((await resolve({ name: "lone.json", dataset: "two" }, LIMITED)).body.code).toBe("out-of-scope");
  });

  it("refuses an order that it cannot follow, and a version without its dataset", async () => {
    for (const order of ["raw,raw", "cooked", ""])
      expect((await resolve({ name: "a", order })).status, order).toBe(400);
    expect((await resolve({ name: "a", version: "3" })).body.detail).toContain("dataset: must be named");
    expect((await resolve({ name: "a", version: "3", dataset: "one" })).body.code).toBe("unknown-version");
  });

  it("is a look-up by an index, among however many objects", async () => {
    await given(
      "many",
      Array.from({ length: 5000 }, (_, i) => `raw/c${i % 7}/${i}/dataset.json`),
    );
    const { read, plans } = await runInDurableObject(datasetOf(env, "many"), async (object, { storage }) => {
      const exec = vi.spyOn(storage.sql, "exec");
      await object.resolve("dataset.json", "c3", null);
      const calls = exec.mock.calls.map((call) => [...call] as [string, ...SqlStorageValue[]]);
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<Record<string, SqlStorageValue>>);
      const rows = cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      exec.mockRestore();
      const details = calls.flatMap(([sql, ...values]) =>
        storage.sql
          .exec<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, ...values)
          .toArray()
          .map(({ detail }) => detail),
      );
      return { read: rows, plans: details };
    });
    expect(read).toBeLessThan(200);
    expect(plans.filter((plan) => plan.includes("SCAN object") || plan.includes("TEMP B-TREE"))).toEqual([]);
    expect(plans.some((plan) => plan.includes("object_name (<expr>=? AND stage=? AND category=?)"))).toBe(true);
  });
});

describe("places", () => {
  const keys = Array.from({ length: 2500 }, (_, i) => `in/${["a", "b"][i % 2] ?? ""}/${i}`);
  const placesOf = async (name: string) => {
    const { rows } = must(await datasetOf(env, name).query({ ...EVERYTHING }, null, 4000));
    return new Map(rows.map(({ key, stage, category }) => [key, `${stage ?? "-"} ${category ?? "-"}`]));
  };
  /** Until no chore is due. */
  const settle = async (name: string) => {
    while (await runDurableObjectAlarm(datasetOf(env, name)));
  };

  it("follow rules that change, also of the rows that are there, but where the owner said otherwise", async () => {
    await given("ruled", keys);
    expect((await placesOf("ruled")).get("in/a/0")).toBe("- in");
    const said = { keys: ["in/a/2"], stage: "processed", category: null };
    expect((await api(seen, "POST /v1/datasets/ruled/places", said)).body).toEqual({
      dataset: "ruled",
      objects: 1,
      changed: 1,
    });
    const places = [{ pattern: "in/<category>/...", stage: "raw" }];
    expect((await api(seen, "PATCH /v1/datasets/ruled", { places })).body["places"]).toEqual(places);
    const { id } = must(await datasetOf(env, "ruled").config());
    must(await datasetOf(env, "ruled").applyRows(id, [givenRow("in/c/new")]));
    expect((await placesOf("ruled")).get("in/c/new"), "what is written goes by the new rules at once").toBe("raw c");
    await settle("ruled");
    const after = await placesOf("ruled");
    expect([after.get("in/a/0"), after.get("in/b/2499"), after.get("in/a/2")]).toEqual([
      "raw a",
      "raw b",
      "processed -",
    ]);
    const stages = must(await datasetOf(env, "ruled").countsByStage(null));
    expect(stages.toSorted((a, b) => a.objects - b.objects)).toEqual([
      { stage: "processed", objects: 1, bytes: 10 },
      { stage: "raw", objects: 2500, bytes: 24_991 },
    ]);
    expect((await api(seen, "PATCH /v1/datasets/ruled", { places: null })).body["places"]).toBeUndefined();
    await settle("ruled");
    expect((await placesOf("ruled")).get("in/a/0")).toBe("- in");
  });

  it("are the owner's to set by prefix, and to give back to the rules", async () => {
    await given("owned", keys);
    const post = (body: object) => api(seen, "POST /v1/datasets/owned/places", body);
    const set = { prefix: "in/a/", stage: "processed", category: "chosen" };
    expect((await post(set)).body).toEqual({ dataset: "owned", objects: 1250, changed: 1250 });
    expect((await post(set)).body).toEqual({ dataset: "owned", objects: 1250, changed: 0 });
    const placed = await placesOf("owned");
    expect([placed.get("in/a/0"), placed.get("in/b/1")]).toEqual(["processed chosen", "- in"]);
    expect((await post({ prefix: "", reset: true })).body).toEqual({ dataset: "owned", objects: 2500, changed: 1250 });
    expect((await placesOf("owned")).get("in/a/0")).toBe("- in");
    expect((await post({ keys: ["nowhere"], reset: true })).body).toEqual({ dataset: "owned", objects: 0, changed: 0 });
  });

  it("that are half said are refused, by the field", async () => {
    const wrong: [object, string][] = [
      [{ stage: "raw", category: null }, "keys"],
      [{ keys: ["a"], prefix: "", stage: "raw", category: null }, "keys"],
      [{ keys: ["a"], stage: "raw" }, "stage"],
      [{ keys: ["a"] }, "reset"],
      [{ keys: ["a"], reset: true, stage: null, category: null }, "reset"],
      [{ keys: ["a"], stage: "cooked", category: null }, "stage"],
    ];
    for (const [body, field] of wrong) {
      const answer = await api(seen, "POST /v1/datasets/owned/places", body);
      expect([answer.status, answer.body["field"]], JSON.stringify(body)).toEqual([400, field]);
    }
    expect((await api(seen, "POST /v1/datasets/owned/places", { prefix: "", reset: true }, READER)).status).toBe(403);
    const rule = await api(seen, "PATCH /v1/datasets/owned", { places: [{ pattern: ".../a" }] });
    expect([rule.status, rule.body["field"]]).toEqual([400, "places.0.pattern"]);
  });
});

describe("GET /v1/datasets", () => {
  interface Listed {
    datasets: { name: string; objects: number; bytes: number; stages: { stage: string | null; objects: number }[] }[];
    cursor?: string;
  }
  const list = async (said: Record<string, string>, token = ADMIN) =>
    (await api<Listed>(seen, `GET /v1/datasets?${new URLSearchParams(said).toString()}`, undefined, token)).body;
  /** Of those that these tests look at. */
  const countsOf = ({ datasets }: Listed) =>
    datasets.filter(({ name }) => name === "one" || name === "two").map(({ name, objects }) => [name, objects]);

  it("counts objects and bytes by stage, and leaves out those without what is asked for", async () => {
    const all = await list({ limit: "1000" });
    const one = all.datasets.find(({ name }) => name === "one");
    expect([one?.objects, one?.bytes]).toEqual([7, 70]);
    expect(one?.stages.toSorted((a, b) => a.objects - b.objects)).toMatchObject([
      { stage: null, objects: 1 },
      { stage: "acquired", objects: 1 },
      { stage: "raw", objects: 2 },
      { stage: "processed", objects: 3 },
    ]);
    expect(countsOf(await list({ stage: "processed" }))).toEqual([
      ["one", 3],
      ["two", 2],
    ]);
    expect(countsOf(await list({ stage: "processed", category: "code" }))).toEqual([
      ["one", 1],
      ["two", 1],
    ]);
    expect((await list({ kind: "zarr" })).datasets).toEqual([]);
    expect((await list({ stage: "processed" }, LIMITED)).datasets.map(({ name }) => name)).toEqual(["one"]);
    expect((await api(seen, "GET /v1/datasets/two")).body["manifest"]).toMatchObject({
      stages: expect.arrayContaining([{ stage: "processed", objects: 2, bytes: 20 }]),
    });
  });

  it("goes on where a page ends, also behind one on which nothing is left", async () => {
    const names: string[] = [];
    const asked = new Set<string>();
    for (let cursor = ""; !asked.has(cursor);) {
      asked.add(cursor);
      const page = await list({ stage: "processed", limit: "1", ...(cursor === "" ? {} : { cursor }) });
      names.push(...page.datasets.map(({ name }) => name));
      cursor = page.cursor ?? "";
    }
    expect(names.filter((name) => name !== "ruled")).toEqual(["one", "two"]);
    const { entries } = await directoryOf(env).list("dataset", null, 100);
    expect(asked.size).toBe(entries.length);
  });
});

describe("a registry", () => {
  const file = {
    asis: "processed/math/a.json",
    bucket: "penstock-datasets/reg/processed/math/b.json",
    url: { path: "s3://penstock-datasets/reg/raw/c.json", rows: 7 },
    math: { nested: { path: "/processed/math/a.json", note: "x" }, moved: "old/place/moved.json" },
    gone: "nowhere/at/all.json",
    twice: "old/twice.json",
  };
  const put = (registry: object, apply = false) => api(seen, "POST /v1/datasets/reg/registry", { registry, apply });
  const kept = async () => (await api(seen, "GET /v1/datasets/reg/registry")).body["registry"];

  beforeAll(async () => {
    await given("reg", [
      ...[
        "processed/math/a.json",
        "processed/math/b.json",
        "raw/c.json",
        "processed/math/moved.json",
        "raw/math/moved.json",
      ],
      ...["processed/x/twice.json", "processed/y/twice.json", "raw/unnamed"],
    ]);
  });

  it("is refused where a name or a number of it would be lost on the way", async () => {
    for (const [text, field] of [
      ['{"registry":{"x":{"path":"a","id":12345678901234567890}},"apply":true}', "registry.x.id"],
      ['{"registry":{"__proto__":"b"},"apply":true}', "registry.__proto__"],
    ]) {
      const post = new Request("https://penstock.example/v1/datasets/reg/registry", {
        method: "POST",
        headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
        body: text ?? "",
      });
      const answer = await worker.fetch(post as Parameters<typeof worker.fetch>[0], seen, createExecutionContext());
      expect([answer.status, await answer.json()]).toMatchObject([400, { code: "invalid-body", field }]);
    }
    expect(await kept()).toEqual({});
  });

  it("with as much as may be in it is kept, and comes back", async () => {
    const large = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`n${i}`, { path: `${i}/`.padEnd(4096, "p"), note: '"'.repeat(30_000) }]),
    );
    await given("reg-large", ["a"]);
    const answer = await api(seen, "POST /v1/datasets/reg-large/registry", { registry: large, apply: true });
    expect(answer.status).toBe(200);
    expect((await api(seen, "GET /v1/datasets/reg-large/registry")).body["registry"]).toEqual(large);
  });

  it("is held against the manifest first, and nothing is kept", async () => {
    const { status, body } = await put(file);
    expect([status, body]).toEqual([
      200,
      {
        dataset: "reg",
        applied: false,
        unchanged: 1,
        canonical: [
          { name: "bucket", path: file.bucket, key: "processed/math/b.json" },
          { name: "url", path: file.url.path, key: "raw/c.json" },
          { category: "math", name: "nested", path: "/processed/math/a.json", key: "processed/math/a.json" },
          { category: "math", name: "moved", path: "old/place/moved.json", key: "processed/math/moved.json" },
        ],
        missing: [{ name: "gone", path: "nowhere/at/all.json" }],
        ambiguous: [
          { name: "twice", path: "old/twice.json", candidates: ["processed/x/twice.json", "processed/y/twice.json"] },
        ],
        unnamedObjects: 4,
      },
    ]);
    expect(await kept()).toEqual({});
    expect((await resolve({ name: "moved", dataset: "reg" })).status).toBe(404);
  });

  it("is kept when it is applied, comes back with keys for paths, and is what names go by first", async () => {
    expect((await put(file, true)).body["applied"]).toBe(true);
    expect(await kept()).toEqual({
      ...{
        asis: "processed/math/a.json",
        bucket: "processed/math/b.json",
        gone: "nowhere/at/all.json",
        twice: "old/twice.json",
      },
      url: { path: "raw/c.json", rows: 7 },
      math: { nested: { path: "processed/math/a.json", note: "x" }, moved: "processed/math/moved.json" },
    });
    const { body } = await resolve({ name: "moved", dataset: "reg", category: "math" });
    expect([body.key, body.via]).toEqual(["processed/math/moved.json", "registry"]);
    await put({ "b.json": "raw/c.json" }, true);
    const first = (await resolve({ name: "b.json", dataset: "reg" })).body;
    expect([first.key, first.passedOver]).toMatchObject([
      "raw/c.json",
      [{ key: "processed/math/b.json", why: "the registry names another" }],
    ]);
    expect(await kept()).toEqual({ "b.json": "raw/c.json" });
    const { id } = must(await datasetOf(env, "reg").config());
    await takeOut(datasetOf(env, "reg"), id, ["raw/c.json"]);
    const second = (await resolve({ name: "b.json", dataset: "reg" })).body;
    expect([second.key, second.passedOver]).toMatchObject([
      "processed/math/b.json",
      [{ key: "raw/c.json", why: "the registry names it, and it is not there" }],
    ]);
  });

  it("that is no registry is refused, by the name in it", async () => {
    const wrong: [object, string][] = [
      [{ a: 7 }, "registry.a"],
      [{ a: { b: { c: { path: "x" } } } }, "registry.a.b"],
      [{ a: "" }, "registry.a"],
      [{ a: ["x"] }, "registry.a"],
    ];
    for (const [registry, field] of wrong) {
      const answer = await put(registry);
      expect([answer.status, answer.body["field"]], field).toEqual([400, field]);
    }
    const long = { a: { path: "x", note: "n".repeat(3_000_000) } };
    for (const [registry, field] of [
      [{ a: "p".repeat(3_000_000) }, "registry.a"],
      [long, "registry.a"],
    ] as const) {
      for (const apply of [false, true]) {
        const answer = await put(registry, apply);
        expect([answer.status, answer.body["code"], answer.body["field"]]).toEqual([400, "invalid-body", field]);
      }
    }
    const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, i) => [`n${i}`, "x"]));
    expect((await put(many)).body["detail"]).toContain("at most 10000");
  });
});
