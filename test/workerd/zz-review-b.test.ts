import { env } from "cloudflare:workers";
import { afterEach, expect, it, vi, inject } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { createDataset, sameBytes, startIsolate, codeOf } from "./harness/reading.ts";
import { bytesOf, envWithSource, fill } from "./harness/source.ts";
import { deliverMiss, missOf } from "./harness/through.ts";
import { watchBucket } from "./harness/watched-bucket.ts";
const MiB = 1024 * 1024;
const log = (...a: unknown[]) => console.log("ZZ", ...a.map((x) => typeof x === "string" ? x : JSON.stringify(x)));
const seenEnv = (more = {}) => ({ ...envWithSource({ endpoint: `${inject("faults")}/plain` }), ...more });
afterEach(() => { vi.restoreAllMocks(); });

it("D source that ignores If-Match", async () => {
  const size = 3 * MiB;
  const [old, now] = [bytesOf(size, 1), bytesOf(size, 2)];
  let current = { bytes: old, etag: "aaaa-1" };
  const ds = await createDataset("zz-d", { read: "source", source: { name: "test", prefix: "zz-d/" } });
  const i = await startIsolate(ds, seenEnv());
  vi.spyOn(globalThis, "fetch").mockImplementation(async (req: any) => {
    const r = new Request(req);
    const m = /bytes=(\d+)-(\d*)/.exec(r.headers.get("range") ?? "");
    const { bytes, etag } = current;
    const base = { etag: `"${etag}"`, "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT" };
    if (!m) return new Response(r.method === "HEAD" ? null : bytes, { headers: { ...base, "content-length": String(size) } });
    const s = Number(m[1]), e = Math.min(m[2] ? Number(m[2]) : size - 1, size - 1);
    return new Response(bytes.slice(s, e + 1), { status: 206, headers: { ...base, "content-length": String(e - s + 1), "content-range": `bytes ${s}-${e}/${size}` } });
  });
  await i.read("k", { headers: { range: "bytes=0-9" } });
  current = { bytes: now, etag: "bbbb-1" };
  const a = await i.read("k", { headers: { range: "bytes=900000-1600000" } });
  const cut = 1048576 - 900000;
  log("D", a.status, codeSafe(a), a.headers.get("etag"), "first part old:", sameBytes(a.bytes.subarray(0, 1000), old.subarray(900000, 901000)), "last part new:", sameBytes(a.bytes.subarray(-1000), now.subarray(1599001, 1600001)), cut);
});
const codeSafe = (a: any) => { try { return codeOf(a); } catch { return "-"; } };

it("E standIn after deletion / after overwrite in R2", async () => {
  const st = await fill("zz-e/", new Map([["k", bytesOf(1000, 1)], ["j", bytesOf(1000, 5)]]));
  const ds = await createDataset("zz-e", { read: "through", source: { name: "test", prefix: "zz-e/" }, liveTtlSeconds: 0 });
  let fails = false;
  const w = watchBucket({ get: async (_k, answer) => { if (fails) throw new Error("We encountered an internal error. Please try again. (10001)"); return answer(); } });
  const sent: any[] = [];
  const i = await startIsolate(ds, seenEnv({ DATASETS: w.bucket, MIGRATION_QUEUE: { send: async (m: any) => void sent.push(m) } }));
  for (const key of ["k", "j"]) {
    await i.read(key);
    log("E copy", await deliverMiss(missOf("zz-e", key, st.get(key) as any), seenEnv() as any));
    const a = await i.read(key);
    log("E r2 now", a.status, a.headers.get("etag"), a.headers.get("server-timing"));
  }
  // k: deleted on purpose; j: overwritten in R2 by a job
  await ds.delete("k");
  await datasetOf(env, "zz-e").bury(ds.config.id, ["k"]);
  await ds.put("j", bytesOf(500, 77));
  const j1 = await (await startIsolate(ds, seenEnv({ DATASETS: env.DATASETS }))).read("j");
  log("E other isolate, j", j1.status, j1.headers.get("etag"), j1.bytes.length);
  fails = true;
  const k = await i.read("k");
  log("E buried k while R2 fails", k.status, codeSafe(k), k.bytes.length, sameBytes(k.bytes, (st.get("k") as any).bytes));
  const j = await i.read("j");
  log("E overwritten j while R2 fails (liveTtl 0)", j.status, codeSafe(j), j.headers.get("etag"), j.bytes.length);
});

it("G NFC and NFD", async () => {
  const nfc = "caf\u00e9", nfd = "cafe\u0301";
  const st = await fill("zz-g/", new Map([[nfc, bytesOf(1000, 1)], [nfd, bytesOf(1000, 2)]]));
  const ds = await createDataset("zz-g", { read: "through", source: { name: "test", prefix: "zz-g/" }, liveTtlSeconds: 0 });
  const sent: any[] = [];
  // real R2 normalises; the simulator's bucket is asked for the NFC key by the product itself
  const i = await startIsolate(ds, seenEnv({ MIGRATION_QUEUE: { send: async (m: any) => void sent.push(m) } }));
  const before = await i.read(nfc);
  const b = await i.read(nfd);
  log("G before: nfc right", sameBytes(before.bytes, (st.get(nfc) as any).bytes), "nfd right", sameBytes(b.bytes, (st.get(nfd) as any).bytes));
  for (const m of sent.reverse()) log("G deliver", m.key === nfd ? "nfd" : "nfc", await deliverMiss(m, seenEnv() as any));
  const after = await i.read(nfc);
  log("G after: nfc right", sameBytes(after.bytes, (st.get(nfc) as any).bytes), "is nfd's", sameBytes(after.bytes, (st.get(nfd) as any).bytes), after.headers.get("etag"));
});

it("K hung source", async () => {
  const ds = await createDataset("zz-k", { read: "source", source: { name: "test", prefix: "zz-k/" } });
  const i = await startIsolate(ds, seenEnv());
  let aborted = false, signals: any[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (_req: any, init: any) => new Promise((_r, no) => { signals.push(init?.signal); init?.signal?.addEventListener("abort", () => { aborted = true; no(new Error("timeout")); }); }));
  const t = Date.now();
  const r = await Promise.race([i.read("k"), new Promise((d) => setTimeout(() => d("none after 8 s"), 8000))]);
  log("K hung source:", r as any, aborted, Date.now() - t);
}, 30000);

it("L stale joined flight, ttl 0", async () => {
  const ds = await createDataset("zz-l", { liveTtlSeconds: 0 });
  const o = await ds.put("k", bytesOf(1000, 1));
  const gate = Promise.withResolvers<void>();
  let first = true;
  const w = watchBucket({ get: async (_k, answer) => { const got = await answer(); if (first) { first = false; await gate.promise; } return got; } });
  const i = await startIsolate(ds, { DATASETS: w.bucket });
  const a = i.read("k");
  await vi.waitUntil(() => w.operations.length === 1);
  await new Promise((d) => setTimeout(d, 100));
  const n = await ds.put("k", bytesOf(1000, 2));
  const b = i.read("k");
  await new Promise((d) => setTimeout(d, 1500));
  gate.resolve();
  await a;
  const bb = await b;
  log("L read begun 1.5 s after the put, ttl 0: old etag?", bb.headers.get("etag") === `"${o.etag}"`, "new?", bb.headers.get("etag") === `"${n.etag}"`);
});
