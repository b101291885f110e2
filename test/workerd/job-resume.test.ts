import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { jobOf } from "../../workers/adapters/objects.ts";
import { encodeBase64Url } from "../../workers/core/capability/jwt.ts";
import { ADMIN, api, apiTokens } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { must } from "./harness/run.ts";

let seen: Env;
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
});

interface Created {
  id: string;
  token: string;
  dataset: string;
  code: string;
  field: string;
  progress: { done: number; waiting: number };
}
const create = (dataset: string, input: object, more: object = {}) =>
  api<Created>(seen, "POST /v1/jobs", { name: "j", dataset, input, units: { targetBytes: 1 }, ...more }, ADMIN);
/** Does one unit, and answers with the state after that. */
async function stateAfterOne({ id, token }: Created): Promise<string> {
  const post = (route: string, body: object) => api(seen, `POST /v1/jobs/${id}/${route}`, body, token);
  const { body } = await post("leases", { node: "n", request: "r", count: 1 });
  const [lease] = (body["leases"] as { lease: string }[]).map((given) => given.lease);
  expect((await post("acks", { node: "n", acks: [{ lease, outcome: "done" }] })).status).toBe(200);
  return String((await post("checkpoint", {})).body["state"]);
}
const digestOf = async ({ id }: Created) => must(await jobOf(env, id).spec()).unitList.digest;
const lists = async () => (await env.SYSTEM.list({ prefix: "jobs/" })).objects.map(({ key }) => key);
const versions = async (name: string) =>
  (await api<{ versions: unknown[] }>(seen, `GET /v1/datasets/${name}/versions`)).body.versions.length;

const zarrayOf = (more: object = {}) =>
  JSON.stringify({ zarr_format: 2, shape: [4], chunks: [2], dtype: "|u1", ...more });
const INPUTS = {
  prefixes: { prefixes: ["in/"] },
  keys: { keys: ["in/a", "in/b"] },
  records: { records: ["in/r.jsonl", "in/s.jsonl"] },
  "an array": { zarr: [{ path: "in/t" }] },
};

describe("a job that resumes", () => {
  it.each(Object.entries(INPUTS))(
    "goes on with the same bytes in a newer version, and not with others: %s",
    async (what, input) => {
      const name = `bytes-of-${what.replace(" ", "-")}`;
      const objects = {
        "in/a": "1111",
        "in/b": "2222",
        "in/r.jsonl": "{}\n",
        "in/s.jsonl": "{}\n",
        "in/t/.zarray": zarrayOf(),
        "in/t/0": "aa",
      };
      const { put, seal } = await fillDataset(seen, name, "zarr", objects);
      await seal();
      const first = (await create(`${name}@1`, input)).body;
      const state = await stateAfterOne(first);
      await put("out/checkpoint", "weights");
      await seal();
      const second = await create(`${name}@2`, input, { resumeFrom: state });
      expect([second.status, second.body.progress?.done]).toEqual([201, 1]);
      expect(await digestOf(second.body)).toBe(await digestOf(first));
      for (const [key, content] of [
        ["in/a", "9999"],
        ["in/r.jsonl", "[]\n"],
        ["in/t/0", "zz"],
      ] as const)
        await put(key, content);
      await seal();
      const before = await lists();
      const { status, body } = await create(`${name}@3`, input, { resumeFrom: state });
      expect([status, body.code, body.field]).toEqual([409, "state-mismatch", "resumeFrom"]);
      // What was written for it is taken away.
      expect(await lists()).toEqual(before);
    },
  );

  it("does not go on where an array's values are others by its metadata alone", async () => {
    const objects = { "in/t/.zarray": zarrayOf({ fill_value: 0 }), "in/t/0": "aa" };
    const { put, seal } = await fillDataset(seen, "other-values", "zarr", objects);
    await seal();
    const state = await stateAfterOne((await create("other-values@1", INPUTS["an array"])).body);
    await put("in/t/.zarray", zarrayOf({ fill_value: 7, dtype: "|i1" }));
    await seal();
    const { status, body } = await create("other-values@2", INPUTS["an array"], { resumeFrom: state });
    expect([status, body.code]).toEqual([409, "state-mismatch"]);
  });

  it("does not go on where other elements of the same chunks are selected, however they are written", async () => {
    const { seal } = await fillDataset(seen, "other-elements", "zarr", { "in/t/.zarray": zarrayOf(), "in/t/0": "aa" });
    await seal();
    const of = (select: string[]) => ({ zarr: [{ path: "in/t", select }] });
    const state = await stateAfterOne((await create("other-elements@1", of(["1:"]))).body);
    const resume = (select: string[]) => create("other-elements@1", of(select), { resumeFrom: state });
    expect((await resume(["0:"])).body.code).toBe("state-mismatch");
    expect((await resume(["1:4"])).status).toBe(201);
  });

  it("goes on at the moving head after its outputs were committed", async () => {
    const { put } = await fillDataset(seen, "resumed-live", "files", { "in/a": "1", "in/b": "2" });
    const first = (await create("resumed-live", INPUTS.keys)).body;
    const state = await stateAfterOne(first);
    await put("out/x", "an output");
    const { status, body } = await create("resumed-live", INPUTS.keys, { resumeFrom: state });
    expect([status, body.dataset, body.progress]).toMatchObject([201, "resumed-live@2", { done: 1, waiting: 1 }]);
  });

  it("from what is no state is refused before anything is sealed or written", async () => {
    await fillDataset(seen, "unsealed", "files", { "in/a": "1", "in/b": "2" });
    const before = await lists();
    const huge = { v: 1, digest: "0", seed: 0, shuffle: true, epoch: 0, next: 1 };
    const sets = { open: { from: 0, bits: "AQ" }, givenUp: { from: 0, bits: "" }, failures: [[0, 2 ** 53 - 2]] };
    const crafted = encodeBase64Url(new TextEncoder().encode(JSON.stringify({ ...huge, ...sets })));
    for (const resumeFrom of ["nonsense", crafted]) {
      const { status, body } = await create("unsealed", INPUTS.keys, { resumeFrom });
      expect([status, body.code, body.field]).toEqual([400, "invalid-state", "resumeFrom"]);
    }
    expect([await versions("unsealed"), await lists()]).toEqual([0, before]);
  });
});
