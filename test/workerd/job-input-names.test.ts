import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { api, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";

/** The same name in Unicode NFC, as R2 keeps it, and in NFD, as macOS writes it. */
const [NFC, NFD] = ["\u00e9", "e\u0301"];

let seen: Env;
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
  const { seal } = await fillDataset(seen, "accents", "zarr", {
    [`${NFC}/x.txt`]: "1",
    [`${NFC}.jsonl`]: "{}\n",
    [`${NFC}/t/.zarray`]: JSON.stringify({ zarr_format: 2, shape: [4], chunks: [2], dtype: "|u1" }),
    [`${NFC}/t/0`]: "aa",
    [`${NFC}/t/1`]: "bb",
  });
  await seal();
});

interface Part {
  key: string;
  url: string;
  etag: string;
}
const INPUTS = {
  keys: { keys: [`${NFD}/x.txt`] },
  globs: { globs: [`${NFD}/x*`] },
  records: { records: [`${NFD}.jsonl`] },
  "a path of Zarr": { zarr: [{ path: `${NFD}/t` }] },
};

describe.each(["r2", "edge"])("an input that is named in another normal form, read by %s", (via) => {
  it.each(Object.entries(INPUTS))("is what R2 keeps: %s", async (_, input) => {
    const job = await api<{ id: string; token: string; input: object }>(seen, "POST /v1/jobs", {
      ...{ name: "j", dataset: "accents@1", input },
    });
    expect(job.status).toBe(201);
    expect(JSON.stringify(job.body.input)).not.toContain(NFD);
    const post = (route: string, body: object) =>
      api(seen, `POST /v1/jobs/${job.body.id}/${route}`, body, job.body.token);
    const leased = await post("leases", { node: "n", request: "r", count: 1, via });
    const [part] = (leased.body["leases"] as { parts: Part[] }[])[0]?.parts ?? [];
    expect([leased.status, part?.key.startsWith(NFC), part?.etag.length]).toEqual([200, true, 32]);
    // Nodes may ask for either form, and are answered with the key as they wrote it.
    for (const key of [part?.key ?? "", part?.key.normalize("NFD") ?? ""]) {
      const urls = await post("urls", { method: "GET", via, keys: [key] });
      expect([urls.status, urls.body["urls"]]).toMatchObject([200, [{ key, etag: part?.etag }]]);
      const [{ url } = { url: "" }] = urls.body["urls"] as Part[];
      expect(new URL(url).pathname).toContain("%C3%A9");
      if (via === "edge") expect((await request(seen, `GET ${new URL(url).pathname}`)).status).toBe(200);
    }
  });
});

describe("globs that are fine as they are written, and not in NFC", () => {
  it.each([
    ["a range that runs backwards", ["in/[\u03aa-\u2126]*"], "input.globs.0"],
    ["one that is too long", ["in/a", "\u0958".repeat(1000)], "input.globs.1"],
    ["all together too long", Array.from({ length: 5 }, () => "\u0958".repeat(500)), "input.globs"],
  ])("are refused by name: %s", async (_, globs, field) => {
    const job = { name: "j", dataset: "accents@1", input: { globs } };
    expect(await api(seen, "POST /v1/jobs", job)).toMatchObject({ status: 400, body: { code: "invalid-body", field } });
  });
});
