import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { ADMIN, api, apiTokens, READER, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";

let seen: Env;

beforeAll(async () => {
  const { API_TOKENS } = await apiTokens("limited");
  seen = { ...env, API_TOKENS: JSON.stringify(API_TOKENS) };
});

interface Urls {
  urls: { key: string; url: string; size: number | null; headers: Record<string, string> }[];
}
interface JobAnswer {
  id: string;
  token: string;
  read: { rootUrl: string; expiresAt: string };
  readOutputs: { rootUrl: string; expiresAt: string };
}
interface Problem {
  code: string;
}

/** The Dataset objects, whose versions seem to have so many pages. */
function withIndexPages(pages: number): Env["DATASET"] {
  const getByName = (name: string) => {
    const stub = env.DATASET.getByName(name);
    const sealedIndex = async (id: string, number: number) => {
      const index = await stub.sealedIndex(id, number);
      return index.ok ? { ok: true, value: { ...index.value, pages } } : index;
    };
    return new Proxy(stub, {
      get: (real, method): unknown => (method === "sealedIndex" ? sealedIndex : Reflect.get(real, method)),
    });
  };
  return { getByName } as unknown as Env["DATASET"];
}

const filled = (name: string, kind: "files" | "zarr", objects: Record<string, string>) =>
  fillDataset(seen, name, kind, objects);

/** Reads by a capability of this version; the status and the text. */
async function reader(name: string, version: string) {
  const minted = await api(seen, `POST /v1/datasets/${name}/capabilities`, { prefixes: [""], version });
  expect(minted.status).toBe(201);
  const root = new URL(String(minted.body["rootUrl"])).pathname;
  return {
    root,
    async get(key: string, headers: Record<string, string> = {}) {
      const response = await request(seen, `GET ${root}${key}`, undefined, "", headers);
      return { status: response.status, headers: response.headers, text: await response.text() };
    },
  };
}

describe("versions over HTTP", () => {
  it("are sealed, listed, described, named and told apart", async () => {
    const { put, seal } = await filled("routes", "files", { a: "one", "raw/b": "two" });
    const { begun, described } = await seal({ note: "the first", aliases: ["stable"] });
    expect([begun.status, begun.body["state"]]).toEqual([202, "sealing"]);
    expect(described.body).toMatchObject({
      ...{ dataset: "routes", number: 1, state: "sealed", note: "the first", objects: 2, bytes: 6, parent: null },
      ...{ aliases: ["stable"], stages: { raw: { objects: 1, bytes: 3 }, none: { objects: 1, bytes: 3 } } },
    });
    expect((await api(seen, "POST /v1/datasets/routes/versions", {})).status).toBe(200);
    await put("a", "another");
    await put("c", "three");
    expect((await seal()).described.body).toMatchObject({ number: 2, parent: 1, objects: 3 });
    expect((await api(seen, "PUT /v1/datasets/routes/aliases/stable", { version: 2 })).status).toBe(200);
    const { body } = await api<{ versions: { number: number; aliases: string[] }[] }>(
      seen,
      "GET /v1/datasets/routes/versions",
    );
    expect(body.versions.map(({ number, aliases }) => [number, aliases])).toEqual([
      [2, ["stable"]],
      [1, []],
    ]);
    const forward = await api<{ changes: object[] }>(
      seen,
      "GET /v1/datasets/routes/versions/1..stable",
      undefined,
      READER,
    );
    expect(forward.body.changes).toMatchObject([
      { change: "changed", key: "a", before: { size: 3 }, after: { size: 7 } },
      { change: "added", key: "c", before: null, after: { size: 5 } },
    ]);
    const back = await api<{ changes: object[] }>(seen, "GET /v1/datasets/routes/versions/2..1");
    expect(back.body.changes).toMatchObject([
      { change: "changed", key: "a", before: { size: 7 }, after: { size: 3 } },
      { change: "removed", key: "c", before: { size: 5 }, after: null },
    ]);
    expect((await api(seen, "DELETE /v1/datasets/routes/aliases/stable")).status).toBe(200);
    expect((await api(seen, "GET /v1/datasets/routes/versions/stable")).body).toMatchObject({
      code: "unknown-version",
    });
  });

  it("tell changes in pages, and take no cursor of another diff, of a list, or of an alias that has moved", async () => {
    const { put, seal } = await filled("paged", "files", { a: "1", b: "1", c: "1" });
    await seal();
    for (const key of ["a", "b", "c"]) await put(key, "2 ");
    await seal({ aliases: ["new"] });
    const line = "GET /v1/datasets/paged/versions/";
    type Page = { changes: { key: string }[]; cursor?: string };
    const first = await api<Page>(seen, `${line}1..new?limit=1`);
    expect(first.body.changes.map(({ key }) => key)).toEqual(["a"]);
    const next = await api<Page>(seen, `${line}1..2?cursor=${first.body.cursor}`);
    expect(next.body.changes.map(({ key }) => key)).toEqual(["b", "c"]);
    await put("d", "3");
    await seal({ aliases: ["new"] });
    for (const other of ["1..new", "2..3", "2..1"]) {
      const { status, body } = await api(seen, `${line}${other}?cursor=${first.body.cursor}`);
      expect([other, status, body["code"]]).toEqual([other, 400, "invalid-cursor"]);
    }
    const list = await api<{ cursor: string }>(seen, "GET /v1/datasets/paged/versions?limit=1");
    expect((await api(seen, `${line}1..2?cursor=${list.body.cursor}`)).status).toBe(400);
    expect((await api(seen, `GET /v1/datasets/paged/versions?cursor=${first.body.cursor}`)).status).toBe(400);
    expect((await api(seen, `${line}1..2..3`)).status).toBe(404);
  });

  it.each([
    ["GET /v1/datasets/refused/versions/99", undefined, 404, "unknown-version"],
    ["GET /v1/datasets/refused/versions/live", undefined, 404, "unknown-version"],
    ["GET /v1/datasets/refused/versions/1..99", undefined, 404, "unknown-version"],
    ["GET /v1/datasets/refused/versions/live..1", undefined, 404, "unknown-version"],
    ["PUT /v1/datasets/refused/aliases/live", { version: 1 }, 400, "invalid-name"],
    ["PUT /v1/datasets/refused/aliases/7", { version: 1 }, 400, "invalid-name"],
    ["PUT /v1/datasets/refused/aliases/good", { version: 99 }, 404, "unknown-version"],
    ["DELETE /v1/datasets/refused/aliases/none", undefined, 404, "unknown-version"],
    ["POST /v1/datasets/refused/versions", { notes: "" }, 400, "invalid-body"],
    ["POST /v1/datasets/refused/versions", { aliases: ["1"] }, 400, "invalid-body"],
    ["POST /v1/datasets/unheard-of/versions", {}, 404, "unknown-dataset"],
    ["POST /v1/datasets/refused/capabilities", { prefixes: [""], version: "99" }, 404, "unknown-version"],
  ])("%s %j is refused: %i %s", async (line, body, status, code) => {
    const { seal } = await filled("refused", "files", { a: "one" });
    await seal();
    const answer = await api(seen, line, body, ADMIN);
    expect([answer.status, answer.body["code"]]).toEqual([status, code]);
  });

  it("are sealed by who may submit jobs, and not by who may only read", async () => {
    await filled("guarded", "files", { a: "one" });
    const answer = await api(seen, "POST /v1/datasets/guarded/versions", {}, READER);
    expect([answer.status, answer.body["code"]]).toEqual([403, "forbidden-role"]);
  });
});

describe("a capability of a version", () => {
  it("reads what was sealed; what has changed since is a 409 that names the version, and what came since is missing", async () => {
    const { put, seal } = await filled("pinned", "files", { a: "one", b: "two" });
    await seal();
    await put("b", "changed");
    await put("c", "new");
    const { get, root } = await reader("pinned", "1");
    expect(root).toMatch(/\/pinned@1\/$/);
    expect(await get("a")).toMatchObject({ status: 200, text: "one" });
    const changed = await get("b");
    expect(changed.status).toBe(409);
    expect(changed.text).toContain("version 1");
    expect((await get("c")).status).toBe(404);
    expect((await (await reader("pinned", "live")).get("b")).text).toBe("changed");
  });

  it("is a job's, too, that names a version or an alias of it, and its URLs have the ETags that were sealed", async () => {
    const { put, seal } = await filled("trained", "files", { a: "one" });
    await seal({ aliases: ["stable"] });
    await put("a", "changed");
    const spec = { name: "j", dataset: "trained@stable", input: { prefixes: [""] } };
    const job = await api(seen, "POST /v1/jobs", spec);
    expect([job.status, job.body["dataset"]]).toEqual([201, "trained@1"]);
    const token = String(job.body["token"]);
    const line = `POST /v1/jobs/${String(job.body["id"])}/urls`;
    const sealed = { size: 3, etag: "f97c5d29941bfb1b2fdab0874906ab82" };
    const edge = await api<Urls>(seen, line, { method: "GET", via: "edge", keys: ["a", "b"] }, token);
    expect(edge.body.urls).toMatchObject([
      { key: "a", ...sealed, headers: {} },
      { key: "b", size: null, etag: null },
    ]);
    const r2 = await api<Urls>(seen, line, { method: "GET", via: "r2", keys: ["a"] }, token);
    expect(r2.body.urls).toMatchObject([{ key: "a", ...sealed, headers: { "if-match": `"${sealed.etag}"` } }]);
    const { searchParams } = new URL(r2.body.urls[0]?.url ?? "");
    expect(searchParams.get("X-Amz-SignedHeaders")).toBe("host;if-match");
  });

  it("signs no URL of R2 for a job where its version has no object, whatever has come since", async () => {
    const { put, seal } = await filled("since", "files", { a: "one" });
    await seal();
    await put("later", "came after");
    const job = await api(seen, "POST /v1/jobs", { name: "j", dataset: "since@1", input: { prefixes: [""] } });
    const line = `POST /v1/jobs/${String(job.body["id"])}/urls`;
    const asked = { method: "GET", via: "r2", keys: ["a", "later"] };
    const sealed = await api<Urls>(seen, line, { ...asked, keys: ["none", "a", "later"] }, String(job.body["token"]));
    const absent = { url: null, headers: {}, etag: null, size: null };
    expect(sealed.body.urls).toMatchObject([
      { key: "none", ...absent },
      { key: "a", size: 3 },
      { key: "later", ...absent },
    ]);
    expect(new URL(sealed.body.urls[1]?.url ?? "").pathname).toMatch(/\/since\/a$/);
    const live = await api(seen, "POST /v1/jobs", { name: "j", dataset: "since", input: { prefixes: [""] } });
    expect(live.body["dataset"], "what was there is sealed now").toBe("since@2");
    const moving = `POST /v1/jobs/${String(live.body["id"])}/urls`;
    const { body } = await api<Urls>(seen, moving, { ...asked, keys: ["later", "none"] }, String(live.body["token"]));
    expect(body.urls).toMatchObject([
      { key: "later", size: 10, headers: { "if-match": expect.any(String) } },
      { key: "none", ...absent },
    ]);
  });

  it("tells a job the second in which its URLs of R2 end, and none after it", async () => {
    await filled("job-ends", "files", { "in/a": "one" });
    const clock = vi.spyOn(Date, "now").mockReturnValue(Math.floor(Date.now() / 1000) * 1000 + 999);
    onTestFinished(() => clock.mockRestore());
    const { body: job } = await api<JobAnswer>(seen, "POST /v1/jobs", {
      ...{ name: "j", dataset: "job-ends", input: { prefixes: ["in/"] }, outputPrefix: "out/" },
    });
    for (const asked of [
      { method: "GET", via: "r2", keys: ["in/a"], expiresSeconds: 60 },
      { method: "PUT", objects: [{ key: "out/b", size: 1, contentType: "text/plain" }], expiresSeconds: 60 },
    ]) {
      const { body } = await api<Urls & { expiresAt: string }>(seen, `POST /v1/jobs/${job.id}/urls`, asked, job.token);
      const { searchParams } = new URL(body.urls[0]?.url ?? "");
      const from = (searchParams.get("X-Amz-Date") ?? "").replace(/^(.{4})(..)(..T..)(..)(..Z)$/, "$1-$2-$3:$4:$5");
      const ends = Date.parse(from) + Number(searchParams.get("X-Amz-Expires")) * 1000;
      expect(body.expiresAt, asked.method).toBe(new Date(ends).toISOString());
    }
  });

  it("is refused to a job for more keys than can be looked up at once, by name", async () => {
    const { seal } = await filled("wide", "files", { a: "one" });
    await seal();
    const wide = { ...seen, DATASET: withIndexPages(1_000_000) };
    const job = await api(wide, "POST /v1/jobs", { name: "j", dataset: "wide@1", input: { prefixes: [""] } });
    const line = `POST /v1/jobs/${String(job.body["id"])}/urls`;
    const keys = Array.from({ length: 4000 }, (_, n) => `k${n}`);
    const refused = await api(wide, line, { method: "GET", via: "edge", keys }, String(job.body["token"]));
    expect(refused).toMatchObject({ status: 400, body: { code: "too-many-keys", field: "keys" } });
    expect(refused.body["detail"]).toContain("ask for fewer keys");
  });

  it("opens a job's input alone; what the job puts out it reads back by a second one, at the moving head", async () => {
    const { put, seal } = await filled("own-out", "files", { "in/a": "one", "runs/j/old": "sealed" });
    await seal();
    const input = { prefixes: ["in/"] };
    const spec = { name: "j", dataset: "own-out@1", input, outputPrefix: "runs/j/" };
    const job = await api<JobAnswer>(seen, "POST /v1/jobs", spec);
    const { id, token, read, readOutputs } = job.body;
    expect(readOutputs).toMatchObject({ expiresAt: read.expiresAt, capability: expect.any(String) });
    await put("in/later", "came after");
    await put("runs/j/ckpt", "weights");
    await put("runs/j/old", "put anew");
    const get = async (url: string) => {
      const response = await request(seen, `GET ${new URL(url).pathname}`, undefined, "");
      return [response.status, response.status === 200 ? await response.text() : (await response.json<Problem>()).code];
    };
    expect(await get(`${read.rootUrl}in/a`)).toEqual([200, "one"]);
    expect(await get(`${read.rootUrl}runs/j/ckpt`)).toEqual([403, "out-of-scope"]);
    expect(await get(`${readOutputs.rootUrl}runs/j/ckpt`)).toEqual([200, "weights"]);
    expect(await get(`${readOutputs.rootUrl}in/later`)).toEqual([403, "out-of-scope"]);

    const line = `POST /v1/jobs/${id}/urls`;
    const asked = (via: string, keys: string[]) => api<Urls>(seen, line, { method: "GET", via, keys }, token);
    const edge = await asked("edge", ["runs/j/ckpt", "in/a", "runs/j/old", "in/later"]);
    expect(await Promise.all(edge.body.urls.map(({ url }) => get(url)))).toEqual([
      [200, "weights"],
      [200, "one"],
      [200, "put anew"],
      [404, "object-not-found"],
    ]);
    const r2 = await asked("r2", ["runs/j/ckpt", "in/a", "runs/j/none"]);
    expect(r2.body.urls.map(({ key, size, headers }) => [key, size, Object.keys(headers)])).toEqual([
      ["runs/j/ckpt", 7, []],
      ["in/a", 3, ["if-match"]],
      ["runs/j/none", null, []],
    ]);
    expect((await asked("edge", ["runs/other"])).status).toBe(403);

    const live = await api<JobAnswer>(seen, "POST /v1/jobs", { ...spec, dataset: "own-out" });
    expect(await get(`${live.body.read.rootUrl}in/later`)).toEqual([200, "came after"]);
    expect(await get(`${live.body.read.rootUrl}runs/j/ckpt`)).toEqual([403, "out-of-scope"]);
    expect(await get(`${live.body.readOutputs.rootUrl}runs/j/ckpt`)).toEqual([200, "weights"]);
  });

  it("reads the version's own files by the URLs of its description, in ranges and by HEAD", async () => {
    const { seal } = await filled("files-of", "files", { a: "one" });
    const { described } = await seal();
    const files = described.body["files"] as { name: string; bytes: number; url: string }[];
    expect(files.map(({ name }) => name)).toEqual(["manifest-0001.parquet", "index.bin", "version.json"]);
    for (const { url, bytes } of files) {
      const { pathname } = new URL(url);
      const head = await request(seen, `HEAD ${pathname}`, undefined, "");
      expect([head.status, head.headers.get("content-length")]).toEqual([200, String(bytes)]);
      const range = await request(seen, `GET ${pathname}`, undefined, "", { range: "bytes=-4" });
      expect(range.status).toBe(206);
      await range.arrayBuffer();
    }
    const document = await request(seen, `GET ${new URL(files[2]?.url ?? "").pathname}`, undefined, "");
    expect(await document.json()).toMatchObject({ format: "penstock-version/1", number: 1, objects: 1 });
  });

  it("reads those files, too, where all capabilities were revoked a moment before they were described", async () => {
    const { seal } = await filled("files-revoked", "files", { a: "one" });
    await seal();
    expect((await api(seen, "DELETE /v1/datasets/files-revoked/capabilities")).status).toBe(200);
    const { body } = await api<{ files: { url: string }[] }>(seen, "GET /v1/datasets/files-revoked/versions/1");
    for (const { url } of body.files) {
      const file = await request(seen, `GET ${new URL(url).pathname}`, undefined, "");
      await file.arrayBuffer();
      expect(file.status, url).toBe(200);
    }
  });
});

describe("the manifest of a version, signed by R2", () => {
  it("has URLs that are good for what was sealed, by a header that is signed and told", async () => {
    const { seal } = await filled("by-r2", "files", { a: "one" });
    await seal();
    interface Signed {
      objects: { etag: string; url: string; headers: Record<string, string> }[];
    }
    const of = async (version: string, sign = "r2") =>
      (await api<Signed>(seen, `GET /v1/datasets/by-r2/manifest?version=${version}&sign=${sign}`)).body.objects[0];
    const sealed = await of("1");
    expect(sealed?.headers).toEqual({ "if-match": `"${sealed?.etag ?? ""}"` });
    expect(new URL(sealed?.url ?? "").searchParams.get("X-Amz-SignedHeaders")).toBe("host;if-match");
    const live = await of("live");
    expect(live?.headers).toEqual({});
    expect(new URL(live?.url ?? "").searchParams.get("X-Amz-SignedHeaders")).toBe("host");
    expect((await of("1", "edge"))?.headers).toEqual({});
  });
});

describe("records of a version", () => {
  it("are of the object that was sealed; once it has changed they are a 409 that names the version", async () => {
    const { put, seal } = await fillDataset(seen, "lines", "files", { "a.jsonl": '{"n":1}\n{"n":2}\n' });
    await seal({ aliases: ["first"] });
    const read = async (query: string) => {
      const response = await request(seen, `GET /v1/datasets/lines/records/${query}`, undefined, READER);
      return { status: response.status, text: await response.text() };
    };
    expect((await read("a.jsonl?version=first")).text.split("\n").slice(0, 2)).toEqual(['{"n":1}', '{"n":2}']);
    await put("a.jsonl", '{"n":3}\n');
    await put("b.jsonl", '{"n":4}\n');
    expect((await read("a.jsonl")).text).toMatch(/^{"n":3}\n/);
    const changed = await read("a.jsonl?version=1");
    expect([changed.status, JSON.parse(changed.text)]).toMatchObject([
      409,
      { code: "object-changed", field: "version" },
    ]);
    expect(changed.text).toContain("version 1");
    expect((await read("b.jsonl?version=1")).status).toBe(404);
    expect((await read("a.jsonl?version=7")).status).toBe(404);
  });
});

describe("a Zarr dataset's version", () => {
  const array = (fill: string) => `{"zarr_format": 3, "node_type": "array", "fill_value": ${fill}, "shape": [4]}`;

  it("serves consolidated metadata of format 3 in the root's place, made of the documents byte for byte", async () => {
    const root = '{"zarr_format": 3, "node_type": "group", "attributes": {"n": 1.0}}\n';
    const { seal } = await filled("v3", "zarr", {
      "zarr.json": root,
      "t2m/zarr.json": array("9007199254740993"),
      "deep/zarr.json": '{"zarr_format": 3, "node_type": "group"}',
      "deep/u/zarr.json": array("0"),
      "t2m/c/0": "chunk",
    });
    expect((await seal()).described.body).toMatchObject({ derived: ["zarr.json"], warnings: [], objects: 5 });
    const { get } = await reader("v3", "1");
    const { status, text, headers } = await get("zarr.json");
    expect([status, headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(text).toContain('"fill_value": 9007199254740993');
    expect(JSON.parse(text)).toMatchObject({
      node_type: "group",
      attributes: { n: 1 },
      consolidated_metadata: {
        kind: "inline",
        must_understand: false,
        metadata: { t2m: { shape: [4] }, deep: { node_type: "group" }, "deep/u": { shape: [4] } },
      },
    });
    expect((await get("t2m/c/0")).text).toBe("chunk");
    expect((await (await reader("v3", "live")).get("zarr.json")).text).toBe(root);
    const { body } = await api<{ objects: { key: string; size: number }[] }>(
      seen,
      "GET /v1/datasets/v3/manifest?version=1",
    );
    expect(body.objects.find(({ key }) => key === "zarr.json")?.size).toBe(root.length);
  });

  const plain = '{"zarr_format": 3, "node_type": "group"}';
  const twoStores = {
    ...{ "a/zarr.json": plain, "a/open/zarr.json": plain, "a/private/zarr.json": array("7"), "a/private/c/0": "chunk" },
    ...{ "b/zarr.json": plain, "b/x/zarr.json": array("0") },
  };

  it("shows by one key nothing of others: its metadata are consolidated for who may read all of it, and else as they are", async () => {
    const { seal } = await filled("partly", "zarr", twoStores);
    expect((await seal()).described.body).toMatchObject({ derived: ["a/zarr.json", "b/zarr.json"] });
    const of = async (scope: object, key: string) => {
      const { body } = await api(seen, "POST /v1/datasets/partly/capabilities", { ...scope, version: "1" });
      const root = new URL(String(body["rootUrl"])).pathname;
      const response = await request(seen, `GET ${root}${key}`, undefined, "");
      const text = await response.text();
      return [response.status, text === plain ? "as it is" : text.includes("consolidated_metadata") ? "whole" : ""];
    };
    expect(await of({ keys: ["a/zarr.json"] }, "a/private/zarr.json")).toEqual([403, ""]);
    expect(await of({ keys: ["a/zarr.json"] }, "a/zarr.json")).toEqual([200, "as it is"]);
    expect(await of({ keys: ["a/zarr.json"], prefixes: ["a/open/", "b/"] }, "a/zarr.json")).toEqual([200, "as it is"]);
    expect(await of({ prefixes: ["a/"] }, "a/zarr.json")).toEqual([200, "whole"]);
    expect(await of({ prefixes: [""] }, "b/zarr.json")).toEqual([200, "whole"]);
  });

  it("has signed URLs that serve what their entries say, to each object alone and to a job", async () => {
    const { seal } = await filled("told", "zarr", twoStores);
    await seal();
    interface Entry {
      key: string;
      size: number;
      etag: string;
      url: string;
    }
    const { body } = await api<{ objects: Entry[] }>(seen, "GET /v1/datasets/told/manifest?version=1&sign=edge");
    const { body: job } = await api<JobAnswer>(seen, "POST /v1/jobs", {
      ...{ name: "j", dataset: "told@1", input: { keys: ["a/zarr.json"], prefixes: ["b/"] } },
    });
    const asked = { method: "GET", via: "edge", keys: ["a/zarr.json", "b/zarr.json"] };
    const { body: signed } = await api<{ urls: Entry[] }>(seen, `POST /v1/jobs/${job.id}/urls`, asked, job.token);
    expect([body.objects.length, signed.urls.length]).toEqual([6, 2]);
    for (const { key, size, etag, url } of [...body.objects, ...signed.urls]) {
      const read = await request(seen, `GET ${new URL(url).pathname}`, undefined, "");
      const served = { size: (await read.arrayBuffer()).byteLength, etag: read.headers.get("etag") };
      expect([key, served]).toEqual([key, { size, etag: `"${etag}"` }]);
    }
    expect(body.objects.find(({ key }) => key === "b/zarr.json")?.size).toBe(plain.length);
    // By the job's prefix it may read all of the one store, and one key of the other.
    expect(signed.urls.map(({ key, size }) => [key, size === plain.length])).toEqual([
      ["a/zarr.json", true],
      ["b/zarr.json", false],
    ]);
  });

  it("serves .zmetadata of format 2, where the store has none", async () => {
    const documents = {
      ".zgroup": '{"zarr_format": 2}',
      ".zattrs": "{}",
      "t/.zarray": '{"zarr_format": 2}',
      "t/.zattrs": '{"a": NaN}',
    };
    const { seal } = await filled("v2", "zarr", { ...documents, "t/.zattrs": '{"a": 1}', "t/0": "x" });
    expect((await seal()).described.body).toMatchObject({ derived: [".zmetadata"] });
    const { get } = await reader("v2", "1");
    expect(JSON.parse((await get(".zmetadata")).text)).toEqual({
      zarr_consolidated_format: 1,
      metadata: {
        ".zgroup": { zarr_format: 2 },
        ".zattrs": {},
        "t/.zarray": { zarr_format: 2 },
        "t/.zattrs": { a: 1 },
      },
    });
    expect((await (await reader("v2", "live")).get(".zmetadata")).status).toBe(404);
  });

  it("is left as it is where it has consolidated metadata already, is a lone array, or cannot be understood", async () => {
    const group = '{"zarr_format": 3, "node_type": "group", "consolidated_metadata": {"kind": "inline"}}';
    const stores = {
      "own/zarr.json": group,
      "own/a/zarr.json": array("0"),
      "lone/zarr.json": array("0"),
      "broken/zarr.json": '{"node_type": "group"}',
      "broken/a/zarr.json": "{",
      "two/.zgroup": "{}",
      "two/.zmetadata": "{}",
    };
    const { seal } = await filled("kept", "zarr", stores);
    const { body } = (await seal()).described;
    expect(body).toMatchObject({ derived: [], state: "sealed" });
    expect(body["warnings"]).toMatchObject([expect.stringContaining("broken")]);
    const { get } = await reader("kept", "1");
    for (const [key, text] of Object.entries(stores)) expect((await get(key)).text).toBe(text);
  });
});
