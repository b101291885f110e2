import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Client, createClient } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { type InstanceSecrets, startFreshInstance } from "./fresh-instance.ts";
import { type RawAnswer, type RawRequest, send } from "./raw-http.ts";
import { storeObject } from "./stored-object.ts";

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
const codeOf = ({ bytes }: RawAnswer) => (JSON.parse(bytes.toString()) as { code: string }).code;
const get = (path: string, options?: RawRequest) => send(`${instance.url}${path}`, options);
const store = (key: string, text: string | Buffer, headers: Record<string, string> = {}) =>
  storeObject(instance, key, Buffer.from(text), headers);

let era5: Capability;

beforeAll(async () => {
  instance = await startFreshInstance({ name: "e2e-data-plane-access" });
  admin = createClient(instance.url, instance.tokens.admin);
  for (const dataset of ["era5", "other"]) await register(dataset);
  await store("era5/t2m/0", "zero");
  await store("era5/t2m-private/0", "secret");
  await store("era5/zarr.json", "{}");
  await store("other/t2m/0", "other");
  era5 = await mint("era5", { prefixes: ["t2m/"], keys: ["zarr.json"] });
});

afterAll(() => instance?.stop());

describe("access", () => {
  it("is given alike by the path, the header and ?token=, for the live head by both its names", async () => {
    const { capability } = era5;
    const headers = { authorization: `Bearer ${capability}` };
    const doors: [string, RawRequest?][] = [
      [`/t/${capability}/era5/t2m/0`],
      [`/t/${capability}/era5@live/t2m/0`],
      ["/d/era5/t2m/0", { headers }],
      ["/d/era5@live/t2m/0", { headers }],
      [`/d/era5/t2m/0?token=${capability}`],
    ];
    const etags = new Set<string | undefined>();
    for (const [path, options] of doors) {
      const answer = await get(path, options);
      expect([path, answer.status, answer.bytes.toString()]).toEqual([path, 200, "zero"]);
      etags.add(answer.headers.etag);
    }
    expect(etags.size).toBe(1);
  });

  /** [what, path, status, code]; `C` stands for the capability. */
  const REFUSALS: [string, string, number, string][] = [
    ["no token", "/d/era5/t2m/0", 401, "missing-token"],
    ["an empty ?token=", "/d/era5/t2m/0?token=", 401, "missing-token"],
    ["a garbage ?token=", "/d/era5/t2m/0?token=garbage", 401, "invalid-token"],
    ["a garbage path capability", "/t/garbage/era5/t2m/0", 401, "invalid-token"],
    ["no token for what is not there either", "/d/era5/t2m/99", 401, "missing-token"],
    ["no token for a dataset that is not there", "/d/era6/t2m/0", 401, "missing-token"],
    ["a missing object within the scope", "/t/C/era5/t2m/99", 404, "object-not-found"],
    ["an object outside the scope", "/t/C/era5/t2m-private/0", 403, "out-of-scope"],
    ["a missing object outside the scope", "/t/C/era5/t3m/99", 403, "out-of-scope"],
    ["the prefix itself without its slash", "/t/C/era5/t2m", 403, "out-of-scope"],
    ["a key that a scoped key begins", "/t/C/era5/zarr.json2", 403, "out-of-scope"],
    ["another dataset", "/t/C/other/t2m/0", 403, "wrong-dataset"],
    ["a dataset that is not there", "/t/C/era6/t2m/0", 403, "wrong-dataset"],
    ["a version that the capability is not for", "/t/C/era5@3/t2m/0", 403, "wrong-dataset"],
    ["a version that is none", "/t/C/era5@0/t2m/0", 400, "invalid-name"],
    ["an illegal dataset name", "/t/C/ERA5/t2m/0", 400, "invalid-name"],
    ["no key", "/t/C/era5/", 400, "invalid-key"],
    ["no dataset", "/t/C/", 400, "invalid-key"],
  ];

  it.each(REFUSALS)("is refused to %s", async (_, path, status, code) => {
    for (const method of ["GET", "HEAD"]) {
      const answer = await get(path.replace("/C/", `/${era5.capability}/`), { method });
      expect([method, answer.status]).toEqual([method, status]);
      if (method === "HEAD") continue;
      expect(codeOf(answer)).toBe(code);
      expect(answer.headers["cache-control"]).toContain("no-store");
      expect(answer.headers["access-control-allow-origin"]).toBe("*");
    }
  });

  it("prefers the header to ?token=: a good token does not save a bad header", async () => {
    const answer = await get(`/d/era5/t2m/0?token=${era5.capability}`, { headers: { authorization: "Bearer no" } });
    expect([answer.status, codeOf(answer)]).toEqual([401, "invalid-token"]);
  });

  it("opens at era5/ nothing of a prefix that only begins like it", async () => {
    await register("era5-private");
    await store("era5-private/t2m/0", "private");
    const { capability } = await mint("era5", { prefixes: [""] });
    for (const path of ["era5-private/t2m/0", "era5/..%2Fera5-private%2Ft2m%2F0", "era5/-private/t2m/0"]) {
      const answer = await get(`/t/${capability}/${path}`);
      expect([path, answer.status >= 400, answer.status < 500]).toEqual([path, true, true]);
    }
  });

  it.each([
    "t2m/../../other/t2m/0",
    "t2m%2F..%2F..%2Fother%2Ft2m%2F0",
    "t2m/%2e%2e/t2m-private/0",
    "t2m//0",
    "./t2m-private/0",
  ])("never climbs out of its dataset or scope: %s", async (key) => {
    const answer = await get(`/t/${era5.capability}/era5/${key}`);
    expect([400, 401, 403, 404]).toContain(answer.status);
    expect(answer.bytes.toString()).not.toMatch(/^other$|^secret$/);
  });

  it.each(["POST", "PUT", "DELETE", "PATCH"])("is by GET, HEAD and OPTIONS: %s is 405", async (method) => {
    const answer = await get(`/t/${era5.capability}/era5/t2m/0`, { method });
    expect([answer.status, answer.headers.allow, codeOf(answer)]).toEqual([
      405,
      "GET, HEAD, OPTIONS",
      "method-not-allowed",
    ]);
  });
});

describe("CORS", () => {
  const origin = "https://viewer.example";

  it("answers a preflight without a token, for a day", async () => {
    const answer = await get("/d/era5/t2m/0", {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "range,if-match" },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers).toMatchObject({
      "access-control-allow-origin": "*",
      "access-control-allow-methods": "GET, HEAD, OPTIONS",
      "access-control-max-age": "86400",
    });
    const allowed = answer.headers["access-control-allow-headers"]?.split(", ");
    expect(allowed).toEqual(
      expect.arrayContaining(["authorization", "range", "if-match", "if-none-match", "if-range"]),
    );
  });

  it("exposes what a reader needs, on answers and on refusals", async () => {
    for (const path of [`/t/${era5.capability}/era5/t2m/0`, "/d/era5/t2m/0"]) {
      const { headers } = await get(path, { headers: { origin } });
      const exposed = headers["access-control-expose-headers"]?.split(", ");
      expect(exposed).toEqual(expect.arrayContaining(["etag", "content-range", "content-length", "accept-ranges"]));
    }
  });

  it("has no header on the control API", async () => {
    const headers = { origin, authorization: `Bearer ${instance.tokens.read}` };
    const answer = await get("/v1/datasets", { headers });
    expect([answer.status, answer.headers["access-control-allow-origin"]]).toEqual([200, undefined]);
    const preflight = await get("/v1/datasets", { method: "OPTIONS", headers });
    expect(preflight.headers["access-control-allow-origin"]).toBeUndefined();
  });
});
