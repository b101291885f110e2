import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { configOf } from "../../workers/adapters/config.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { tokensOf } from "../../workers/adapters/tokens.ts";
import worker from "../../workers/index.ts";

const API = "https://api.example";
const DATA = "https://data.example";
let capability = "";

beforeAll(async () => {
  const [id, at] = [newId("ds", Date.now()), new Date().toISOString()];
  await datasetOf(env, "era5").configure({
    ...{ id, name: "era5", createdAt: at, updatedAt: at },
    ...{ kind: "files", bucket: "DATASETS", prefix: "era5/", read: "r2", schedule: null, liveTtlSeconds: 10 },
  });
  const config = configOf(env);
  if (!config.ok) throw new Error(config.failure.detail);
  const now = Math.floor(Date.now() / 1000);
  capability = await tokensOf(env, config.value).mintCapability({
    ...{ ds: id, name: "era5", ver: "live", pfx: [""], keys: [], ops: ["read"], job: null },
    ...{ nbf: now, exp: now + 3600, jti: crypto.randomUUID() },
  });
});

/** An isolate knows its environment by identity, and what it has read by that. */
const unchanged: Env = { ...env };

async function get(url: string, vars: Partial<Env> = {}, headers: Record<string, string> = {}) {
  const ctx = createExecutionContext();
  const seen = Object.keys(vars).length === 0 ? unchanged : { ...env, ...vars };
  const response = await worker.fetch(new Request<unknown, IncomingRequestCfProperties>(url, { headers }), seen, ctx);
  const bytes = new Uint8Array(await response.arrayBuffer());
  await waitOnExecutionContext(ctx);
  return { status: response.status, headers: response.headers, text: new TextDecoder().decode(bytes), bytes };
}
const read = (key: string, vars: Partial<Env> = {}, headers: Record<string, string> = {}) =>
  get(`${API}/t/${capability}/era5/${key}`, vars, headers);

describe("stored metadata", () => {
  it("with CR and LF in it splits no header, and is left out", async () => {
    const evil = "x\r\nset-cookie: a=b\r\n\r\n<script>";
    const httpMetadata = { contentType: evil, contentDisposition: evil, contentLanguage: evil, contentEncoding: evil };
    await env.DATASETS.put("era5/split", "bytes", { httpMetadata });
    for (const again of [1, 2]) {
      const answer = await read("split");
      expect([again, answer.status, answer.text]).toEqual([again, 200, "bytes"]);
      expect(answer.headers.get("content-type")).toBe("application/octet-stream");
      for (const name of ["set-cookie", "content-disposition", "content-language", "content-encoding"]) {
        expect(answer.headers.get(name)).toBeNull();
      }
    }
  });

  it("cannot set what no object has a say in", async () => {
    const httpMetadata = { cacheControl: "public, max-age=31536000", cacheExpiry: new Date(4e12) };
    await env.DATASETS.put("era5/forever", "bytes", { httpMetadata, customMetadata: { "x-frame-options": "ALLOW" } });
    const { headers } = await read("forever");
    expect(headers.get("cache-control")).toBe("private, no-cache, no-transform");
    expect([headers.get("expires"), headers.get("x-frame-options")]).toEqual([null, null]);
  });

  it("names an encoding that goes out as stored: no second compression, the length as stored", async () => {
    const gzip = new Uint8Array(
      await new Response(new Blob(["[1,2,3]"]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
    );
    await env.DATASETS.put("era5/rows.json", gzip, {
      httpMetadata: { contentType: "application/json", contentEncoding: "gzip" },
    });
    for (const cache of ["penstock; fwd=miss; stored", "penstock; hit"]) {
      const answer = await read("rows.json", {}, { "accept-encoding": "identity" });
      expect(answer.headers.get("cache-status")).toBe(cache);
      expect(answer.headers.get("content-encoding")).toBe("gzip");
      expect(answer.headers.get("content-length")).toBe(String(gzip.length));
      expect(answer.bytes).toEqual(gzip);
    }
  });
});

describe("a key that the simulator's S3 endpoint cannot write", () => {
  it.each(["a\nb", "\r\n", "a/..", "a/../b", ".", ".."])("%j comes back by ?key=", async (key) => {
    await env.DATASETS.put(`era5/${key}`, `of ${key}`);
    const answer = await get(`${API}/t/${capability}/era5?key=${encodeURIComponent(key)}`);
    expect([answer.status, answer.text]).toEqual([200, `of ${key}`]);
  });
});

describe("DATA_HOST", () => {
  const vars = { DATA_HOST: "data.example" };
  const unknown = (answer: { status: number; text: string }) => [answer.status, answer.text.includes("unknown-route")];

  it("serves data and nothing else, and the API's host serves no data", async () => {
    await env.DATASETS.put("era5/0", "zero");
    const path = `/t/${capability}/era5/0`;
    expect((await get(`${DATA}${path}`, vars)).text).toBe("zero");
    // Not 404: a Zarr reader would take that for a chunk of fill values.
    expect((await get(`${API}${path}`, vars)).status).toBe(421);
    expect(unknown(await get(`${DATA}/v1/datasets`, vars))).toEqual([404, true]);
    expect((await get(`${API}/v1/datasets`, vars)).status).toBe(401);
  });
});

describe("CORS_ORIGINS", () => {
  const vars = { CORS_ORIGINS: "https://a.example, https://b.example" };
  const allowed = async (origin: string) => (await read("0", vars, { origin })).headers;

  it("lets the named origins read, each by its own name, and no other", async () => {
    expect((await allowed("https://b.example")).get("access-control-allow-origin")).toBe("https://b.example");
    for (const origin of ["https://c.example", "https://a.example.evil", "null"]) {
      expect((await allowed(origin)).get("access-control-allow-origin")).toBeNull();
    }
    for (const origin of ["https://a.example", "https://c.example"]) {
      expect((await allowed(origin)).get("vary")).toContain("origin");
    }
  });
});
