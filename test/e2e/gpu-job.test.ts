import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Client, createClient, followMigration, type Migration } from "../harness/client.ts";
import type { Instance } from "../harness/instance.ts";
import { fillSource, type Source, startLocalSource } from "../harness/local-source.ts";
import { startFreshInstance } from "./fresh-instance.ts";

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest("hex");

const chunks = new Map(
  Array.from({ length: 12 }, (_, n): [string, Uint8Array<ArrayBuffer>] => [
    `chunks/c/${n}`,
    Uint8Array.from(randomBytes(1000 + n)),
  ]),
);
const bytesOf = (key: string) => chunks.get(key) ?? new Uint8Array(0);

interface Job {
  id: string;
  state: string;
  token: string;
  read: { rootUrl: string };
}
interface Urls {
  urls: { key: string; url: string; headers: Record<string, string>; etag: string | null; size: number | null }[];
  expiresAt: string;
  serverTime: string;
}
let source: Source & { stop(): Promise<void> };
let instance: Instance;
let admin: Client;

beforeAll(async () => {
  source = await startLocalSource();
  const contentType = "application/octet-stream";
  await fillSource(
    source,
    [...chunks, ["beside", randomBytes(1)] as const].map(([key, bytes]) => ({
      key,
      bytes: Uint8Array.from(bytes),
      contentType,
    })),
  );
  instance = await startFreshInstance({ name: "e2e-gpu-job", sources: { local: source } });
  admin = createClient(instance.url, instance.tokens.admin);
  const dataset = { kind: "zarr", prefix: "precip/", source: { name: "local", prefix: "" } };
  await admin.call("PUT", "/v1/datasets/precip", dataset);
  const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
  expect(await followMigration(admin, started.id)).toMatchObject({
    state: "done",
    copied: { objects: chunks.size + 1 },
  });
});

afterAll(async () => {
  await instance?.stop();
  await source?.stop();
});

const startJob = async (body: object): Promise<{ job: Job; node: Client }> => {
  const submit = createClient(instance.url, instance.tokens.submit);
  const job = await submit.call<Job>("POST", "/v1/jobs", body);
  return { job, node: createClient(instance.url, job.token) };
};

describe("a GPU job", () => {
  const body = { name: "unet-7", dataset: "precip", input: { prefixes: ["chunks/"] }, outputPrefix: "runs/unet-7/" };
  let job: Job;
  let node: Client;
  const urls = (asked: object) => node.call<Urls>("POST", `/v1/jobs/${job.id}/urls`, asked);
  const putUrl = async (key: string, size: number, contentType: string) => {
    const { urls: made } = await urls({ method: "PUT", objects: [{ key, size, contentType }] });
    const { url = "", headers = {} } = made[0] ?? {};
    return { url, headers };
  };

  beforeAll(async () => {
    ({ job, node } = await startJob(body));
  });

  it("names a live dataset, and reads the version that is sealed for it, in units", () => {
    const bytes = [...chunks.values()].reduce((sum, { length }) => sum + length, 0);
    expect(job).toMatchObject({ dataset: "precip@1", units: { count: 1, bytes }, warnings: [] });
    expect(new URL(job.read.rootUrl).pathname).toMatch(/\/precip@1\/$/);
  });

  it("is pending until a node's heartbeat, then running", async () => {
    expect(job.state).toBe("pending");
    const beat = await node.call("POST", `/v1/jobs/${job.id}/heartbeat`, { node: "node-0" });
    expect(beat).toMatchObject({ id: job.id, state: "running" });
  });

  it.each(["r2", "edge"])("reads its input by GET URLs via %s, with the manifest's size", async (via) => {
    const keys = [...chunks.keys()];
    const answer = await urls({ method: "GET", via, keys, expiresSeconds: 600 });
    expect(Date.parse(answer.expiresAt) - Date.parse(answer.serverTime)).toBe(600_000);
    expect(answer.urls.map(({ key }) => key)).toEqual(keys);
    for (const { key, url, headers, etag, size } of answer.urls) {
      const response = await fetch(url, { headers });
      expect([response.status, response.headers.get("etag"), size]).toEqual([200, `"${etag}"`, bytesOf(key).length]);
      expect(md5(new Uint8Array(await response.arrayBuffer()))).toBe(md5(bytesOf(key)));
    }
  });

  it("signs ranges of R2 as it signs the whole: the Range header is free", async () => {
    const { urls: made } = await urls({ method: "GET", keys: ["chunks/c/3"] });
    const { url = "", headers = {} } = made[0] ?? {};
    const response = await fetch(url, { headers: { ...headers, range: "bytes=10-19" } });
    expect(response.status).toBe(206);
    expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from(bytesOf("chunks/c/3").subarray(10, 20)));
  });

  it("has no URL, ETag or size for a key that its version does not hold", async () => {
    const { urls: made } = await urls({ method: "GET", keys: ["chunks/c/999"] });
    expect(made).toEqual([{ key: "chunks/c/999", url: null, headers: {}, etag: null, size: null }]);
  });

  it("gets no URL outside its input and output", async () => {
    const outside = { status: 403, code: "out-of-scope" };
    await expect(urls({ method: "GET", keys: ["chunks/c/0", "beside"] })).rejects.toMatchObject(outside);
    await expect(urls({ method: "GET", keys: ["chunks"] })).rejects.toMatchObject(outside);
    const object = { key: "chunks/c/0", size: 1 };
    await expect(urls({ method: "PUT", objects: [object] })).rejects.toMatchObject(outside);
  });

  it("signs 10,000 keys in one request, and refuses 10,001", async () => {
    const keys = Array.from({ length: 10_000 }, (_, n) => `chunks/c/${n}`);
    const { urls: made } = await urls({ method: "GET", keys });
    expect(made).toHaveLength(10_000);
    expect(made[11]).toMatchObject({ key: "chunks/c/11", size: bytesOf("chunks/c/11").length });
    const fetched = await fetch(made[11]?.url ?? "", { headers: made[11]?.headers ?? {} });
    expect(md5(new Uint8Array(await fetched.arrayBuffer()))).toBe(md5(bytesOf("chunks/c/11")));
    const refused = urls({ method: "GET", keys: [...keys, "chunks/c/10000"] });
    await expect(refused).rejects.toMatchObject({ status: 400, code: "invalid-body" });
  });

  it("writes an output once: a PUT of another length or type is 403, a second PUT is 412", async () => {
    const text = "step,loss\n1,0.25\n";
    const { url, headers } = await putUrl("runs/unet-7/loss.csv", text.length, "text/csv");
    const { "content-length": _, ...unsized } = headers;
    const put = async (sent: Record<string, string>, bytes: string) =>
      (await fetch(url, { method: "PUT", headers: sent, body: bytes })).status;
    expect(await put(unsized, `${text}2,0.125\n`)).toBe(403);
    expect(await put({ ...unsized, "content-type": "text/html" }, text)).toBe(403);
    const { "if-none-match": __, ...unconditional } = unsized;
    expect(await put(unconditional, text)).toBe(403);
    expect(await put(headers, text)).toBe(200);
    expect(await put(headers, text)).toBe(412);
  });

  it("does not finish while an announced output is missing, or is not what was announced", async () => {
    await putUrl("runs/unet-7/model.pt", 3, "application/octet-stream");
    const finish = (asked: object) => node.call("POST", `/v1/jobs/${job.id}/finish`, asked);
    await expect(finish({})).rejects.toMatchObject({ status: 409, code: "output-missing" });
    const never = finish({ outputs: ["runs/unet-7/never.pt"] });
    await expect(never).rejects.toMatchObject({ status: 409, code: "output-not-announced" });
    await putUrl("runs/unet-7/loss.csv", 5, "text/csv"); // Announced anew with another length than was put.
    const other = finish({ outputs: ["runs/unet-7/loss.csv"] });
    await expect(other).rejects.toMatchObject({ status: 409, code: "output-mismatch" });
    expect(await admin.call("GET", `/v1/jobs/${job.id}`)).toMatchObject({ state: "running" });
  });

  it("takes what was put by an older announcement for another thing: it is aborted, and put again", async () => {
    await putUrl("runs/unet-7/loss.csv", 17, "text/csv");
    const finish = node.call("POST", `/v1/jobs/${job.id}/finish`, { outputs: ["runs/unet-7/loss.csv"] });
    await expect(finish).rejects.toMatchObject({ status: 409, code: "output-mismatch" });
    await node.call("POST", `/v1/jobs/${job.id}/outputs/abort`, { keys: ["runs/unet-7/loss.csv"] });
    const { url, headers } = await putUrl("runs/unet-7/loss.csv", 17, "text/csv");
    expect((await fetch(url, { method: "PUT", headers, body: "step,loss\n1,0.25\n" })).status).toBe(200);
  });

  it("finishes with its outputs, and again with the same answer", async () => {
    const finish = { outcome: "done", outputs: ["runs/unet-7/loss.csv"] };
    const first = await node.call("POST", `/v1/jobs/${job.id}/finish`, finish);
    expect(first).toMatchObject({ state: "done", outputs: { announced: 2, committed: 1 } });
    expect(await node.call("POST", `/v1/jobs/${job.id}/finish`, finish)).toEqual(first);
    const otherwise = node.call("POST", `/v1/jobs/${job.id}/finish`, { outcome: "failed" });
    await expect(otherwise).rejects.toMatchObject({ status: 409, code: "job-ended" });
  });

  it("shows its output in the manifest, written by the job and proved by nobody", async () => {
    const row = await vi.waitFor(
      async () => {
        const path = "/v1/datasets/precip/manifest?prefix=runs/";
        const page = await admin.call<{ objects: object[] }>("GET", path);
        expect(page.objects).toHaveLength(1);
        return page.objects[0];
      },
      { timeout: 240_000, interval: 200 },
    );
    const etag = md5(new TextEncoder().encode("step,loss\n1,0.25\n"));
    expect(row).toMatchObject({ key: "runs/unet-7/loss.csv", size: 17, etag, proof: null, writer: job.id });
  });

  it("does not finish with what another job has put under the same key", async () => {
    const other = await startJob({ ...body, name: "unet-9" });
    const size = "step,loss\n1,0.25\n".length;
    const object = { key: "runs/unet-7/loss.csv", size, contentType: "text/csv" };
    const root = `/v1/jobs/${other.job.id}`;
    const { urls: made } = await other.node.call<{ urls: { url: string; headers: Record<string, string> }[] }>(
      "POST",
      `${root}/urls`,
      { method: "PUT", objects: [object] },
    );
    const put = { method: "PUT", headers: made[0]?.headers ?? {}, body: "another job's" + " ".repeat(size - 13) };
    expect((await fetch(made[0]?.url ?? "", put)).status).toBe(412);
    const finish = other.node.call("POST", `${root}/finish`, {});
    await expect(finish).rejects.toMatchObject({ status: 409, code: "output-mismatch" });
  });

  it("is refused everything with job-ended once it is cancelled", async () => {
    const other = await startJob({ ...body, name: "unet-8", outputPrefix: "runs/unet-8/" });
    const root = `/v1/jobs/${other.job.id}`;
    await other.node.call("POST", `${root}/heartbeat`, { node: "node-0" });
    const cancelled = await admin.call("POST", `${root}/cancel`);
    expect(cancelled).toMatchObject({ id: other.job.id, state: "cancelled" });
    const ended = { status: 409, code: "job-ended" };
    const calls: [string, object][] = [
      ["heartbeat", { node: "node-0" }],
      ["urls", { method: "GET", keys: ["chunks/c/0"] }],
      ["urls", { method: "PUT", objects: [{ key: "runs/unet-8/x", size: 1 }] }],
      ["finish", {}],
    ];
    for (const [route, asked] of calls) {
      await expect(other.node.call("POST", `${root}/${route}`, asked), route).rejects.toMatchObject(ended);
    }
    const read = await fetch(`${other.job.read.rootUrl}chunks/c/0`);
    expect([read.status, ((await read.json()) as { code: string }).code]).toEqual([403, "revoked-token"]);
  });
});

describe("a GPU job on a version that an earlier job had sealed", () => {
  const body = {
    name: "unet-10",
    dataset: "precip@1",
    input: { prefixes: ["chunks/"] },
    outputPrefix: "runs/unet-10/",
  };
  let job: Job & { readOutputs: { rootUrl: string } };
  let node: Client;
  const urls = async (asked: object) => (await node.call<Urls>("POST", `/v1/jobs/${job.id}/urls`, asked)).urls;
  const statusOf = async (url: string, headers: Record<string, string>) => {
    const response = await fetch(url, { headers });
    await response.arrayBuffer();
    return response.status;
  };

  beforeAll(async () => {
    const started = await startJob(body);
    job = started.job as typeof job;
    node = started.node;
  });

  it("reads from R2 what was sealed, and only with the If-Match that was signed; once it has changed, a 412", async () => {
    const [signed] = await urls({ method: "GET", keys: ["chunks/c/5"] });
    const { url = "", headers = {}, etag } = signed ?? {};
    expect(headers).toEqual({ "if-match": `"${etag}"` });
    const response = await fetch(url, { headers });
    expect(response.status).toBe(200);
    expect(md5(new Uint8Array(await response.arrayBuffer()))).toBe(md5(bytesOf("chunks/c/5")));
    expect(await statusOf(url, { ...headers, range: "bytes=1-3" })).toBe(206);
    expect(await statusOf(url, {})).toBe(403);
    expect(await statusOf(url, { "if-match": `"${"0".repeat(32)}"` })).toBe(403);

    const contentType = "application/octet-stream";
    await fillSource(source, [{ key: "chunks/c/5", bytes: Uint8Array.from(randomBytes(900)), contentType }]);
    const started = await admin.call<Migration>("POST", "/v1/migrations", { dataset: "precip" });
    expect(await followMigration(admin, started.id)).toMatchObject({ state: "done", copied: { objects: 1 } });
    expect(await statusOf(url, headers)).toBe(412);
    expect(await urls({ method: "GET", keys: ["chunks/c/5"] })).toMatchObject([{ headers, etag }]);
  });

  it("gets no URL of R2 for what the version has not", async () => {
    const answered = await urls({ method: "GET", keys: ["chunks/c/0", "chunks/c/999"] });
    expect(answered).toMatchObject([{ key: "chunks/c/0", headers: { "if-match": expect.any(String) } }, { url: null }]);
  });

  it("reads back its own outputs, by the edge and by R2", async () => {
    const object = { key: "runs/unet-10/loss.csv", size: 5, contentType: "text/csv" };
    const [put] = await urls({ method: "PUT", objects: [object] });
    expect((await fetch(put?.url ?? "", { method: "PUT", headers: put?.headers ?? {}, body: "1,0.5" })).status).toBe(
      200,
    );
    const roots = [`${job.readOutputs.rootUrl}${object.key}`];
    for (const via of ["edge", "r2"])
      roots.push((await urls({ method: "GET", via, keys: [object.key] }))[0]?.url ?? "");
    for (const url of roots) expect(await (await fetch(url)).text()).toBe("1,0.5");
  });
});
