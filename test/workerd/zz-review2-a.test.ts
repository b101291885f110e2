import { env } from "cloudflare:workers";
import { afterAll, inject, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import type { ThroughMessage } from "../../workers/core/migration/message.ts";
import { createDataset, seal, startIsolate } from "./harness/reading.ts";
import { bytesOf, envWith, envWithSource, fill, type Stored, text } from "./harness/source.ts";
import { beforeDatasetCall, deliverMiss, missOf, registerThrough, rowAt } from "./harness/through.ts";
import { carry } from "./harness/delivery.ts";
import { startRun } from "./harness/run.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

async function given(name: string, objects: Record<string, Uint8Array<ArrayBuffer>>, config: Partial<DatasetConfig> = {}) {
  const stored = await fill(`${name}/`, new Map(Object.entries(objects)));
  const source = { name: "test", prefix: `${name}/` };
  const dataset = await createDataset(name, { read: "through", source, ...config });
  const sent: ThroughMessage[] = [];
  const queue = { send: async (message: ThroughMessage) => void sent.push(message) };
  const isolate = (more: Record<string, unknown> = {}) =>
    startIsolate(dataset, { ...envWithSource({ endpoint: `${inject("faults")}/plain` }), MIGRATION_QUEUE: queue, ...more });
  const at = (key: string): Stored => stored.get(key)!;
  return { dataset, sent, at, isolate };
}
const failing = () => watchBucket({ get: () => Promise.reject(new Error("R2 is failing (10001)")) }).bucket;
const show = (n: string, x: unknown) => { out.push(`@@ ${n}: ${JSON.stringify(x)}`); };
const out: string[] = [];
afterAll(() => { throw new Error("\n" + out.join("\n")); });

it("T1 tombstone and R2 trouble", async () => {
  const { at, isolate, dataset } = await given("t1", { k: text("deleted on purpose") });
  const r = await isolate();
  await deliverMiss(missOf("t1", "k", at("k")), r.env);
  await datasetOf(env, "t1").bury(dataset.config.id, ["k"]);
  await env.DATASETS.delete("t1/k");
  const ok = await (await isolate()).read("k");
  show("T1 R2 healthy", [ok.status]);
  const bad = await (await isolate({ DATASETS: failing() })).read("k");
  show("T1 R2 failing", [bad.status, new TextDecoder().decode(bad.bytes)]);
});

it("T2 stand-in older than what was promised", async () => {
  const { at, isolate } = await given("t2", { k: text("source, old") }, { liveTtlSeconds: 0 });
  let fails = false;
  const bucket = watchBucket({ get: (_, a) => (fails ? Promise.reject(new Error("(10001)")) : a()) }).bucket;
  const reading = await isolate({ DATASETS: bucket });
  await deliverMiss(missOf("t2", "k", at("k")), reading.env);
  show("T2 isolate A first", new TextDecoder().decode((await reading.read("k")).bytes));
  const put = await env.DATASETS.put("t2/k", "job output, new");
  await datasetOf(env, "t2").applyRows("ds_t2", [{ key: "k", size: put.size, etag: put.etag, uploadedAt: put.uploaded.getTime() + 5, contentType: null, proof: null, sourceEtag: null, sourceModifiedAt: null, writer: "job_1", stage: null, category: null }]);
  show("T2 isolate B", new TextDecoder().decode((await (await isolate()).read("k")).bytes));
  fails = true;
  const a = await reading.read("k");
  show("T2 isolate A, R2 failing", [a.status, a.headers.get("etag"), new TextDecoder().decode(a.bytes)]);
});

it("T3 delete after copy takes another's object", async () => {
  await registerThrough("t3");
  const stored = await fill("t3/", new Map([["x", bytesOf(100, 1)]]));
  const stub = datasetOf(env, "t3");
  let asked = 0;
  const during = beforeDatasetCall(envWith("plain"), "isBuried", async () => {
    if (++asked !== 2) return;
    await stub.bury("ds_t3", ["x"]);
    await env.DATASETS.delete("t3/x");
    await env.DATASETS.put("t3/x", "a job's output", { onlyIf: { etagDoesNotMatch: "*" } });
  });
  show("T3 settle", await deliverMiss(missOf("t3", "x", stored.get("x")!), during));
  show("T3 job's output is there", (await env.DATASETS.head("t3/x")) !== null);
});

it("T4 redelivery after burial leaves the copy", async () => {
  await registerThrough("t4");
  const stored = await fill("t4/", new Map([["x", bytesOf(100, 1)]]));
  const stub = datasetOf(env, "t4");
  let asked = 0;
  const during = beforeDatasetCall(envWith("plain"), "isBuried", async () => {
    if (++asked !== 2) return;
    await stub.bury("ds_t4", ["x"]);
    throw new Error("Durable Object reset because its code was updated.");
  });
  const m = missOf("t4", "x", stored.get("x")!);
  show("T4 first", await deliverMiss(m, during).catch(String));
  show("T4 second", await deliverMiss(m, envWith("plain")));
  show("T4 buried, and the copy is in R2", [await stub.isBuried("x"), (await env.DATASETS.head("t4/x")) !== null]);
});

it("T5 memo collision", async () => {
  const { dataset, isolate } = await given("t5", {});
  const a = await dataset.put("k", text("sealed bytes"));
  seal(dataset, a);
  const b = await dataset.put(`k?${a.etag}`, text("another object, which is longer"));
  const reading = await isolate();
  await reading.read(b.key);
  const head = await reading.read("k", { method: "HEAD", version: "3" });
  show("T5 sealed HEAD", [head.status, head.headers.get("content-length"), head.headers.get("etag"), "want", 12, a.etag]);
  const get = await reading.read("k", { version: "3" });
  show("T5 sealed GET", [get.status, new TextDecoder().decode(get.bytes).slice(0, 80)]);
});

it("T8 NFC", async () => {
  const nfc = "\u00e9", nfd = "e\u0301";
  const { at, isolate, sent } = await given("t8", { [nfc]: text("object one"), [nfd]: text("object TWO") });
  const r = await isolate();
  const d = async (q: string) => new TextDecoder().decode(q === "" ? new Uint8Array() : (await (await isolate()).read(q)).bytes);
  show("T8 before", [await d(nfc), await d(nfd)]);
  await deliverMiss(missOf("t8", nfc, at(nfc)), r.env);
  const head = await env.DATASETS.head("t8/" + nfc);
  show("T8 after", [await d(nfc), await d(nfd), head !== null, sent.length]);
});

it("T9 a migration brings a buried key back", async () => {
  await registerThrough("t9");
  await fill("t9/", new Map([["x", bytesOf(100, 1)]]));
  const stub = datasetOf(env, "t9");
  await stub.bury("ds_t9", ["x"]);
  await new Promise((r) => setTimeout(r, 50));
  const run = await startRun("t9", envWith("plain"));
  await carry(run);
  show("T9 buried, in R2, row", [await stub.isBuried("x"), (await env.DATASETS.head("t9/x")) !== null, (await rowAt("t9", "x"))?.writer]);
});

it("T7 timeouts of a source read", async () => {
  const { isolate } = await given("t7", { k: bytesOf(100, 3) }, { read: "source" });
  const spy = vi.spyOn(AbortSignal, "timeout");
  await (await isolate()).read("k");
  show("T7 timeouts", spy.mock.calls);
  spy.mockRestore();
});

it("T13 policy change", async () => {
  const { dataset, isolate } = await given("t13", { k: text("source") }, { read: "source", liveTtlSeconds: 3600 });
  await dataset.put("k", text("R2"));
  const r = await isolate();
  await r.read("k");
  await datasetOf(env, "t13").configure({ ...dataset.config, read: "through" });
  const now = Date.now();
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now + 60_000);
  const got = await r.read("k");
  clock.mockRestore();
  show("T13 a minute after source -> through", new TextDecoder().decode(got.bytes));
});
