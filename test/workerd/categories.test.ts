import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { givenRow } from "../harness/rows.ts";
import { api, apiTokens } from "./harness/api.ts";
import { must } from "./harness/run.ts";

const NFC = "caf\u00e9";
const NFD = "cafe\u0301";
const asked = encodeURIComponent(NFD);
let seen: Env;

beforeAll(async () => {
  seen = Object.assign({}, env, await apiTokens("mine"));
});

async function given(name: string, keys: readonly string[], more: object = {}): Promise<void> {
  const { body } = await api(seen, `PUT /v1/datasets/${name}`, { kind: "files", prefix: `${name}/`, ...more });
  const rows = keys.map((key) => givenRow(key));
  must(await datasetOf(env, name).applyRows(String(body["id"]), rows));
}
const keysOf = async (where: string) =>
  (await api<{ objects: { key: string }[] }>(seen, `GET /v1/datasets/${where}`)).body.objects.map(({ key }) => key);

describe("a category", () => {
  it("is found in whichever spelling of Unicode it is asked for", async () => {
    await given("spelt", [`raw/${NFC}/x.json`, "raw/other/y.json"]);
    expect(await keysOf(`spelt/manifest?category=${asked}`)).toEqual([`raw/${NFC}/x.json`]);
    const resolved = await api(seen, `GET /v1/resolve?dataset=spelt&name=x.json&category=${asked}`);
    expect(resolved.body["key"]).toBe(`raw/${NFC}/x.json`);
    const listed = await api<{ datasets: { name: string }[] }>(seen, `GET /v1/datasets?category=${asked}`);
    expect(listed.body.datasets.map(({ name }) => name)).toContain("spelt");
  });

  it("is kept in NFC, whoever says it: an owner, a rule, or a registry", async () => {
    await given("said", ["a", "in/b"], { places: [{ pattern: "in/...", stage: "raw", category: NFD }] });
    const place = { keys: ["a"], stage: "raw", category: NFD };
    expect((await api(seen, "POST /v1/datasets/said/places", place)).body["changed"]).toBe(1);
    expect(await keysOf(`said/manifest?category=${encodeURIComponent(NFC)}`)).toEqual(["a", "in/b"]);
    const registry = { registry: { [NFD]: { one: "in/b" } }, apply: true };
    expect((await api(seen, "POST /v1/datasets/said/registry", registry)).status).toBe(200);
    const resolved = await api(seen, `GET /v1/resolve?dataset=said&name=one&category=${asked}`);
    expect(resolved.body).toMatchObject({ key: "in/b", via: "registry" });
  });

  it("is no folder without a name: what is in one is listed with its stage", async () => {
    await given("nameless", ["raw//x.json", "raw/a/y.json", "raw/z.json"]);
    expect(await keysOf("nameless/manifest?stage=raw")).toEqual(["raw//x.json", "raw/a/y.json", "raw/z.json"]);
  });
});
