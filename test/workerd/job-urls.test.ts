import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { givenRow } from "../harness/rows.ts";
import { ADMIN, api, apiTokens, request } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { startJob } from "./harness/node.ts";
import { must } from "./harness/run.ts";
import { sealable } from "./harness/sealed.ts";

interface Url {
  key: string;
  url: string | null;
  headers: Record<string, string>;
  etag: string | null;
  size: number | null;
}
interface Urls {
  urls: Url[];
  expiresAt: string;
  refreshAfter: string;
  serverTime: string;
}

const KEYS = Array.from({ length: 10_000 }, (_, n) => `c/${n + 1}`);

let seen: Env;
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

const read = (url: string | null) => request(seen, `GET ${new URL(url ?? "").pathname}`);

describe("ten thousand URLs", () => {
  let job: Awaited<ReturnType<typeof startJob>>;
  beforeAll(async () => {
    const dataset = await sealable();
    must(await dataset.stub.applyRows(dataset.id, [givenRow("first")]));
    await runInDurableObject(dataset.stub, (_, { storage }) => {
      storage.sql.exec(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO object (key, size, etag, uploaded_at, writer, placed, updated_at, seq)
         SELECT printf('c/%d', i), i, printf('%032x', i), 0, 'mig', 0, 0, 1 FROM n`,
      );
      storage.sql.exec("UPDATE total SET objects = objects + 10000");
    });
    await dataset.seal();
    const { id: datasetId, name: datasetName } = dataset;
    const input = { prefixes: ["c/"] };
    job = await startJob(seen, { datasetId, datasetName, prefix: `${datasetName}/`, outputPrefix: "runs/1/", input });
  });
  const ask = (body: object, accept: Record<string, string> = {}) =>
    request(seen, `POST ${job.root}/urls`, body, job.token, accept);
  const asked = async (body: object) => (await ask(body)).json<Urls>();

  it("come as they are made: the client reads the first before the last is there", async () => {
    for (const via of ["r2", "edge"]) {
      const answer = await ask({ method: "GET", via, keys: KEYS });
      expect(answer.headers.get("content-length")).toBeNull();
      const reader = answer.body?.getReader();
      const first = await reader?.read();
      expect(new TextDecoder().decode(first?.value)).toMatch(/^\{"urls":\[\{"key":"c\/1",/);
      expect(first?.value?.length).toBeLessThan(200_000);
      await reader?.cancel();
    }
  });

  it.each(["r2", "edge"])("are all there, in the order that was asked for, via %s", async (via) => {
    const { urls, ...times } = await asked({ method: "GET", via, keys: KEYS.toReversed(), expiresSeconds: 1000 });
    expect(urls.map(({ key }) => key)).toEqual(KEYS.toReversed());
    expect(new Set(urls.map(({ url }) => url)).size).toBe(10_000);
    for (const { key, etag, size } of urls) {
      const n = Number(key.slice(2));
      expect([size, etag]).toEqual([n, n.toString(16).padStart(32, "0")]);
    }
    const now = Date.parse(times.serverTime);
    expect(Date.parse(times.refreshAfter)).toBe(now + 750_000);
    expect(Date.parse(times.expiresAt)).toBe(now + 1_000_000);
  });

  it("as lines are the same, and the last line says that it is the last", async () => {
    const body = { method: "GET", keys: ["c/1", "c/none", "c/3"] };
    const lines = await ask(body, { accept: "application/x-ndjson" });
    expect(lines.headers.get("content-type")).toBe("application/x-ndjson");
    const parsed = (await lines.text())
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    const { urls, ...times } = await asked(body);
    expect(parsed).toEqual([...urls, { end: true, ...times }]);
    expect(urls[1]).toEqual({ key: "c/none", url: null, headers: {}, etag: null, size: null });
  });

  it("are one too few for 10,001 keys: a refusal that names the field", async () => {
    const answer = await ask({ method: "GET", keys: [...KEYS, "c/10001"] });
    expect(answer.status).toBe(400);
    const problem = await answer.json();
    expect(problem).toMatchObject({ code: "invalid-body", field: "keys", detail: expect.stringMatching(/10000/) });
  });

  it.each([
    [
      "a key outside the input, among the last",
      { keys: [...KEYS.slice(0, 9999), "d/1"] },
      403,
      "out-of-scope",
      "keys.9999",
    ],
    ["a key that no object has", { keys: ["c/\0"] }, 400, "invalid-key", "keys.0"],
    ["a life of no second", { keys: ["c/1"], expiresSeconds: 0 }, 400, "invalid-body", "expiresSeconds"],
    ["a way there is none", { keys: ["c/1"], via: "ftp" }, 400, "invalid-body", "via"],
  ])("are refused before the first byte for %s", async (_, body, status, code, field) => {
    const answer = await ask({ method: "GET", ...body }, { accept: "application/x-ndjson" });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([status, "application/problem+json"]);
    expect(await answer.json()).toMatchObject({ code, field });
  });

  it("that are asked for again an hour later are of the same keys, ETags and sizes", async () => {
    for (const via of ["r2", "edge"]) {
      const body = { method: "GET", via, keys: KEYS.slice(0, 100), expiresSeconds: 600 };
      const first = await asked(body);
      vi.setSystemTime(Date.now() + 3_000_000);
      const again = await asked(body);
      const lasting = ({ urls }: Urls) => urls.map(({ url: _, ...rest }) => rest);
      expect(lasting(again)).toEqual(lasting(first));
      expect(again.urls.filter(({ url }, index) => url === first.urls[index]?.url)).toEqual([]);
      expect(Date.parse(again.serverTime) - Date.parse(first.serverTime)).toBe(3_000_000);
      vi.setSystemTime(Date.now() - 3_000_000);
    }
  });

  it("do not live beyond the job", async () => {
    vi.setSystemTime(job.spec.expiresAt - 10_000);
    const { urls, ...times } = await asked({ method: "GET", keys: ["c/1"], expiresSeconds: 3600 });
    expect(Date.parse(times.expiresAt)).toBeLessThanOrEqual(job.spec.expiresAt);
    expect(new URL(urls[0]?.url ?? "").searchParams.get("X-Amz-Expires")).toMatch(/^(9|10)$/);
  });

  it("of outputs are signed with their length, type and if-none-match, and announced", async () => {
    const objects = [{ key: "runs/1/a", size: 7, contentType: "text/plain" }];
    const { urls } = await asked({ method: "PUT", objects });
    expect(urls).toMatchObject([
      { headers: { "content-length": "7", "content-type": "text/plain", "if-none-match": "*" } },
    ]);
    expect(must(await job.job.status()).outputs.announced).toBe(1);
    const outside = await ask({ method: "PUT", objects: [...objects, { key: "c/1", size: 1 }] });
    expect(await outside.json()).toMatchObject({ code: "out-of-scope", field: "objects.1.key" });
    expect(must(await job.job.status()).outputs.announced).toBe(1);
    // 990 bytes as it is written, and twice as many as R2 would keep it.
    const long = await ask({ method: "PUT", objects: [{ key: `runs/1/${"\u0958".repeat(330)}`, size: 1 }] });
    expect(await long.json()).toMatchObject({ code: "key-too-long", field: "objects.0.key" });
    expect(must(await job.job.status()).outputs.announced).toBe(1);
  });
});

describe("a job whose input is a glob", () => {
  it("reads at the edge by capabilities of its own keys, each of few keys, and none opens another's", async () => {
    const names = Array.from({ length: 130 }, (_, n) => `g/${n}.bin`);
    const contents = Object.fromEntries([...names, "g/x.txt"].map((name) => [name, `bytes of ${name}`]));
    const { id, seal } = await fillDataset(seen, "globbed", "files", contents);
    await seal();
    const input = { globs: ["g/*.bin"], keys: ["g/x.txt"] };
    const job = await startJob(seen, { datasetId: id, datasetName: "globbed", prefix: "globbed/", input });
    const keys = [...names.slice(0, 100), "g/x.txt", ...names.slice(100)];
    const { body } = await api<Urls>(seen, `POST ${job.root}/urls`, { method: "GET", via: "edge", keys }, job.token);
    expect(body.urls.map(({ key }) => key)).toEqual(keys);
    for (const { key, url } of [body.urls[0], body.urls[99], body.urls[100], body.urls[130]].flatMap(
      (each) => each ?? [],
    )) {
      const answer = await read(url);
      expect([answer.status, await answer.text()]).toEqual([200, `bytes of ${key}`]);
    }
    const capabilities = new Set(body.urls.map(({ url }) => new URL(url ?? "").pathname.split("/")[2] ?? ""));
    expect(capabilities.size).toBe(4);
    const [first = ""] = capabilities;
    expect((await request(seen, `GET /t/${first}/globbed@1/g/129.bin`)).status).toBe(403);
  });

  it("that names more keys than a capability holds, or longer ones, reads them at the edge as well", async () => {
    const long = Array.from({ length: 40 }, (_, n) => `k/${"long-".repeat(100)}${n}`);
    const { id, seal } = await fillDataset(
      seen,
      "many-keys",
      "files",
      Object.fromEntries(long.map((key) => [key, key])),
    );
    await seal();
    const job = await startJob(seen, {
      datasetId: id,
      datasetName: "many-keys",
      prefix: "many-keys/",
      input: { keys: long },
    });
    const { body } = await api<Urls>(
      seen,
      `POST ${job.root}/urls`,
      { method: "GET", via: "edge", keys: long },
      job.token,
    );
    for (const { key, url } of [body.urls[0], body.urls[39]].flatMap((each) => each ?? [])) {
      expect(await (await read(url)).text()).toBe(key);
    }
    expect(Math.max(...body.urls.map(({ url }) => url?.length ?? 0))).toBeLessThan(6000);
  });

  it("may name more prefixes than a capability holds, and reads below each of them", async () => {
    const prefixes = Array.from({ length: 64 }, (_, n) => `p${n}/`);
    const { id, seal } = await fillDataset(seen, "prefixed", "files", { "p0/a": "first", "p63/a": "last" });
    await seal();
    const job = await startJob(seen, {
      datasetId: id,
      datasetName: "prefixed",
      prefix: "prefixed/",
      input: { prefixes },
    });
    const asked = { method: "GET", via: "edge", keys: ["p0/a", "p63/a"] };
    const { body } = await api<Urls>(seen, `POST ${job.root}/urls`, asked, job.token);
    const texts = await Promise.all(body.urls.map(async ({ url }) => (await read(url)).text()));
    expect(texts).toEqual(["first", "last"]);
  });
});

describe("a job that has ended", () => {
  it("gets no URL any more", async () => {
    const { id, seal } = await fillDataset(seen, "ended", "files", { a: "1" });
    await seal();
    const job = await startJob(seen, {
      datasetId: id,
      datasetName: "ended",
      prefix: "ended/",
      input: { prefixes: [""] },
    });
    const asked = { method: "GET", keys: ["a"] };
    expect((await api(seen, `POST ${job.root}/urls`, asked, job.token)).status).toBe(200);
    expect((await api(seen, `POST ${job.root}/cancel`, undefined, ADMIN)).status).toBe(200);
    const { status, body } = await api(seen, `POST ${job.root}/urls`, asked, job.token);
    expect([status, body["code"]]).toEqual([409, "job-ended"]);
  });
});
