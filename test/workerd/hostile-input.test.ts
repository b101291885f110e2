import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { configOf } from "../../workers/adapters/config.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { tokensOf } from "../../workers/adapters/tokens.ts";
import worker from "../../workers/index.ts";

const name = "hostile-input";
let root = "";

beforeAll(async () => {
  const at = new Date().toISOString();
  const id = newId("ds", Date.now());
  await datasetOf(env, name).configure({
    ...{ id, name, createdAt: at, updatedAt: at },
    ...{ kind: "files", bucket: "DATASETS", prefix: `${name}/`, read: "r2", schedule: null, liveTtlSeconds: 10 },
  });
  const config = configOf(env);
  if (!config.ok) throw new Error(config.failure.detail);
  const seconds = Math.floor(Date.now() / 1000);
  const capability = await tokensOf(env, config.value).mintCapability({
    ...{ ds: id, name, ver: "live", pfx: ["in/"], keys: [], ops: ["read"], job: null, jti: "cap_1" },
    ...{ nbf: seconds, exp: seconds + 3600 },
  });
  root = `https://penstock.example/t/${capability}/${name}/`;
});

async function fetchOf(request: Request): Promise<Response> {
  const ctx = createExecutionContext();
  const response = await worker.fetch(request as Parameters<typeof worker.fetch>[0], env, ctx);
  await waitOnExecutionContext(ctx);
  return response;
}
const get = (key: string, init?: RequestInit) => fetchOf(new Request(root + key, init));

describe("metadata that another Worker stored with an object", () => {
  const INJECTIONS = ["a\r\nSet-Cookie: x=1", "a\r\n\r\n<script>", "a\nX-Injected: 1", "a\rb", "a\0b", "\u65e5\u672c"];

  it.each(INJECTIONS)(
    "of %j never reaches the wire, by whatever field, and takes nothing else with it",
    async (bad) => {
      const key = `in/${encodeURIComponent(bad).replaceAll("%", "_")}`;
      await env.DATASETS.put(`${name}/${key}`, "bytes", {
        httpMetadata: { contentType: bad, contentDisposition: bad, contentLanguage: bad, contentEncoding: bad },
        customMetadata: { "penstock-source-etag": bad, "penstock-source-modified": bad, "x-other": bad },
      });
      const stored = await env.DATASETS.head(`${name}/${key}`);
      expect(stored?.customMetadata?.["x-other"], "R2 has it as it was put").toBe(bad);
      for (const init of [{}, {}, { method: "HEAD" }, { headers: { range: "bytes=1-2" } }]) {
        const { status, headers } = await get(key, init);
        expect([200, 206]).toContain(status);
        expect(headers.get("etag")).toBe(`"${stored?.etag}"`);
        expect(headers.get("content-type")).toBe("application/octet-stream");
        expect(headers.get("last-modified")).toBe(stored?.uploaded.toUTCString());
        for (const field of [
          "set-cookie",
          "x-injected",
          "content-disposition",
          "content-language",
          "content-encoding",
        ]) {
          expect(headers.get(field), field).toBeNull();
        }
        const values = [...headers].map(([, value]) => value).join("");
        expect(values).not.toMatch(/[\r\n\0]|Set-Cookie|<script>/);
      }
    },
  );

  it("of text/html is a download without an origin, and its Cache-Control is not replayed", async () => {
    await env.DATASETS.put(`${name}/in/page`, "<script>alert(1)</script>", {
      httpMetadata: { contentType: "text/html", cacheControl: "public, max-age=31536000", cacheExpiry: new Date(4e12) },
    });
    for (const init of [{}, {}, { method: "HEAD" }, { headers: { range: "bytes=0-3" } }]) {
      const { headers } = await get("in/page", init);
      expect(headers.get("content-disposition")).toBe("attachment");
      expect(headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("private, no-cache, no-transform");
      expect(headers.get("expires")).toBeNull();
    }
  });
});

/** A request whose URL no parser has touched: no server, no proxy and not even `Request` is before the Worker here. */
function untouched(url: string): Request {
  return Object.defineProperty(new Request("https://penstock.example/"), "url", { value: url });
}

describe("a path that reaches the Worker as it was sent", () => {
  beforeAll(async () => {
    for (const key of ["secret", "in/secret", "in/../secret", "in/./0", "in/0", "in//b", "in/b", "in/a\\b"]) {
      await env.DATASETS.put(`${name}/${key}`, `bytes of ${key}`);
    }
  });

  it.each([
    "in/../secret",
    "in/%2e%2e/secret",
    "in/%2E./in/0",
    "in/./0",
    "in/%2e/0",
    "in//b",
    "in/..",
    "in/%",
    "in/%c0%ae",
  ])("is a 400 for %s, which may be another key by the time that it arrives", async (path) => {
    const response = await fetchOf(untouched(root + path));
    expect([response.status, await response.json()]).toMatchObject([400, { code: "invalid-key" }]);
  });

  it.each([
    ["in%2F..%2Fsecret", "in/../secret"],
    ["in%2F.%2F0", "in/./0"],
    ["in/%2Fb", "in//b"],
    ["?key=in/../secret", "in/../secret"],
    ["?key=in//b", "in//b"],
    ["in/a\\b", "in/a\\b"],
  ])("brings by %s the bytes of %s", async (path, key) => {
    const response = await fetchOf(untouched(path.startsWith("?") ? root.slice(0, -1) + path : root + path));
    const bytes = new Uint8Array(await response.arrayBuffer());
    expect([response.status, new TextDecoder().decode(bytes)]).toEqual([200, `bytes of ${key}`]);
  });
});
