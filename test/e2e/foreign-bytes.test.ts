import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Client, createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { type RawRequest, send } from "./raw-http.ts";
import { listStored, storeObject } from "./stored-object.ts";

/** Keys that somebody on the way would like to change. */
const NASTY_KEYS = [
  "a b/c",
  "a+b",
  "a=b&key=c",
  "100%",
  "a%2Fb",
  "%",
  "hash#tag",
  "query?token=x",
  "ünï/日本語/🎉",
  "folder/",
  "a//b",
  "/leading",
  "a/../b",
  "a/./b",
  "../above",
  "a/..",
  "..",
  ".",
  "...",
  "semi;colon:at@",
  "quote'\"`<>",
  "back\\slash",
  "tab\tline",
  "~!$&'()*,",
];

let instance: Instance & { secrets: InstanceSecrets };
let admin: Client;

interface Capability {
  capability: string;
  rootUrl: string;
}
const mint = (dataset: string, scope: object) =>
  admin.call<Capability>("POST", `/v1/datasets/${dataset}/capabilities`, scope);
const register = (dataset: string) =>
  admin.call("PUT", `/v1/datasets/${dataset}`, { kind: "files", prefix: `${dataset}/` });
const get = (path: string, options?: RawRequest) => send(`${instance.url}${path}`, options);
const store = (key: string, text: string | Buffer, headers: Record<string, string> = {}) =>
  storeObject(instance, key, Buffer.from(text), headers);

beforeAll(async () => {
  instance = await startFreshInstance({ name: "e2e-foreign-bytes" });
  admin = createClient(instance.url, instance.tokens.admin);
  for (const dataset of ["nasty", "foreign"]) await register(dataset);
});

afterAll(() => instance?.stop());

describe("a key", () => {
  const content = new Map(NASTY_KEYS.map((key) => [key, randomBytes(8)]));
  let job: { id: string; token: string };

  beforeAll(async () => {
    for (const [key, bytes] of content) await store(`nasty/${key}`, bytes);
    await listStored(admin, "nasty");
    const body = { name: "nasty", dataset: "nasty", input: { prefixes: [""] } };
    job = await admin.call("POST", "/v1/jobs", body);
  });

  /** The simulator's S3 endpoint signs a dot segment's %2F as it is on the wire; S3 signs the slash that it stands for. */
  const withoutDots = NASTY_KEYS.filter(
    (key) => !key.split("/").some((segment) => segment === "." || segment === ".."),
  );

  it.each([
    ["edge", NASTY_KEYS],
    ["r2", withoutDots],
  ])("comes back byte for byte by the %s URL that is handed out for it", async (via, keys) => {
    const node = createClient(instance.url, job.token);
    const asked = { method: "GET", via, keys };
    const { urls } = await node.call<{ urls: { key: string; url: string; headers: Record<string, string> }[] }>(
      "POST",
      `/v1/jobs/${job.id}/urls`,
      asked,
    );
    expect(urls.map(({ key }) => key)).toEqual(keys);
    for (const { key, url, headers } of urls) {
      // As it is, and after a client's URL parser had its way with it.
      for (const sent of [url, new URL(url).href]) {
        const answer = await send(sent, { headers });
        const same = answer.bytes.equals(content.get(key) ?? Buffer.alloc(0));
        expect([key, answer.status, same]).toEqual([key, 200, true]);
      }
    }
  });

  it.each(NASTY_KEYS)("%j is read by ?key=, at both doors", async (key) => {
    const { capability } = await mint("nasty", { prefixes: [""] });
    const query = `key=${encodeURIComponent(key)}`;
    for (const path of [`/d/nasty?${query}&token=${capability}`, `/t/${capability}/nasty?${query}`]) {
      const answer = await get(path);
      expect([answer.status, answer.bytes.equals(content.get(key) ?? Buffer.alloc(0))]).toEqual([200, true]);
    }
  });

  it("spelt in Unicode NFD reads the object that R2 keeps in NFC", async () => {
    await store("nasty/caf\u00e9", "composed");
    const { capability } = await mint("nasty", { prefixes: [""] });
    const answer = await get(`/t/${capability}/nasty/${encodeURIComponent("cafe\u0301")}`);
    expect([answer.status, answer.bytes.toString()]).toEqual([200, "composed"]);
  });
});

describe("stored bytes are foreign", () => {
  const stored: [string, string | Buffer, Record<string, string>][] = [
    ["page.html", "<script>alert(1)</script>", { "content-type": "text/html; charset=utf-8" }],
    ["image.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>", { "content-type": "image/svg+xml" }],
    ["code.js", "alert(1)", { "content-type": "text/javascript", "content-disposition": 'inline; filename="a.js"' }],
    ["plain.txt", "plain", { "content-type": "text/plain", "content-disposition": "inline" }],
    ["cached.bin", "cached", { "cache-control": "public, max-age=31536000, immutable" }],
    ["german.txt", "Hallo", { "content-type": "text/plain", "content-language": "de" }],
    ["rows.json.gz", gzipSync("[1,2,3]"), { "content-type": "application/json", "content-encoding": "gzip" }],
  ];
  const read = (key: string, options?: RawRequest) => get(`/t/${foreign.capability}/foreign/${key}`, options);
  let foreign: Capability;

  beforeAll(async () => {
    for (const [key, bytes, headers] of stored) await store(`foreign/${key}`, bytes, headers);
    foreign = await mint("foreign", { prefixes: [""] });
  });

  it.each(stored)(
    "%s goes out sandboxed, unsniffable and as it is, on the first read and the second",
    async (key, bytes) => {
      for (const method of ["GET", "GET", "HEAD"]) {
        const answer = await read(key, { method });
        expect(answer.status).toBe(200);
        expect(answer.headers["content-security-policy"]).toBe("sandbox; default-src 'none'");
        expect(answer.headers["x-content-type-options"]).toBe("nosniff");
        expect(answer.headers["cross-origin-resource-policy"]).toBe("cross-origin");
        expect(answer.headers["referrer-policy"]).toBe("no-referrer");
        // wrangler's proxy looks into HTML for the place of its reload script, and takes the length away.
        const length = key === "page.html" && method === "GET" ? undefined : String(bytes.length);
        expect(answer.headers["content-length"]).toBe(length);
        expect(answer.bytes.equals(method === "HEAD" ? Buffer.alloc(0) : Buffer.from(bytes))).toBe(true);
      }
    },
  );

  it("makes a download of what a browser would run", async () => {
    expect((await read("page.html")).headers["content-disposition"]).toBe("attachment");
    expect((await read("image.svg")).headers["content-disposition"]).toBe("attachment");
    expect((await read("code.js")).headers["content-disposition"]).toBe('attachment; filename="a.js"');
    expect((await read("plain.txt")).headers["content-disposition"]).toBe("inline");
  });

  it("replays the stored language and encoding, and no stored Cache-Control", async () => {
    expect((await read("german.txt")).headers["content-language"]).toBe("de");
    expect((await read("cached.bin")).headers["cache-control"]).toBe("private, no-cache, no-transform");
  });

  it("sends stored gzip as stored, whole and in ranges of the stored bytes", async () => {
    const gzip = gzipSync("[1,2,3]");
    // Not to clients that refuse gzip: for them the simulator unpacks it, deaf to no-transform.
    for (const accepted of [{}, { "accept-encoding": "gzip" }]) {
      const whole = await read("rows.json.gz", { headers: accepted });
      expect([whole.headers["content-encoding"], whole.bytes.equals(gzip)]).toEqual(["gzip", true]);
      const range = await read("rows.json.gz", { headers: { ...accepted, range: "bytes=2-5" } });
      expect([range.status, range.headers["content-range"]]).toEqual([206, `bytes 2-5/${gzip.length}`]);
      expect(range.bytes.equals(gzip.subarray(2, 6))).toBe(true);
    }
  });
});
