import { env } from "cloudflare:workers";
import { afterEach, expect, it, vi, inject } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { BlockMemory } from "../../workers/adapters/block-memory.ts";
import { createDataset, sameBytes, seal, startIsolate, codeOf } from "./harness/reading.ts";
import { bytesOf, envWithSource, fill } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";
const MiB = 1024 * 1024;
const sleep = (ms: number) => new Promise((d) => setTimeout(d, ms));
const log = (...a: unknown[]) => console.log("ZZ", ...a.map((x) => typeof x === "string" ? x : JSON.stringify(x)));

it("A sealed deleted", async () => {
  const ds = await createDataset("zz-a");
  const o = await ds.put("c/0", bytesOf(1000, 1));
  seal(ds, o);
  const i = await startIsolate(ds);
  await i.read("c/0", { version: "3", method: "HEAD" });
  await ds.delete("c/0");
  const a = await i.read("c/0", { version: "3" });
  log("A sealed+deleted", a.status, codeOf(a), a.headers.get("cache-control"));
  const o2 = await ds.put("c/1", bytesOf(1000, 2));
  await i.read("c/1", { method: "HEAD" });
  await ds.put("c/1", bytesOf(1000, 3));
  const b = await i.read("c/1");
  log("A live+overwritten, no conditions", b.status, codeOf(b));
});

it("B memo collision", async () => {
  const ds = await createDataset("zz-b");
  const o = await ds.put("k", bytesOf(1000, 1));
  seal(ds, o);
  const other = await ds.put(`k?${o.etag}`, bytesOf(7, 9));
  const i = await startIsolate(ds);
  await i.read(`k?${o.etag}`);
  const a = await i.read("k", { version: "3", method: "HEAD" });
  log("B sealed HEAD of k: length, etag, cc", a.status, a.headers.get("content-length"), a.headers.get("etag"), a.headers.get("cache-control"), "true:", "1000", o.etag, "other:", other.etag);
  const g = await i.read("k", { version: "3" });
  log("B sealed GET of k", g.status, g.bytes.length);
});

it("C slow r2, followers chain", async () => {
  const ds = await createDataset("zz-c");
  await ds.put("k", bytesOf(1000, 1));
  const w = watchBucket({ get: async (_k, answer) => { await sleep(2500); return answer(); } });
  const i = await startIsolate(ds, { DATASETS: w.bucket });
  const t = Date.now();
  const ends = await Promise.all(Array.from({ length: 8 }, async () => { const r = await i.open("k"); await r.response.arrayBuffer(); return [r.response.status, Date.now() - t]; }));
  log("C 8 readers, each R2 get takes 2.5 s:", ends, w.count());
}, 60000);

it("E2 blockmemory", () => {
  const m = new BlockMemory(32 * MiB, 256 * 1024);
  for (let n = 0; n < 200_000; n++) m.put(`DATASETS/${n}`, new Uint8Array(0));
  let kept = 0; for (let n = 0; n < 200_000; n++) if (m.get(`DATASETS/${n}`)) kept++;
  log("E2 zero-length blocks kept", kept, "bytes", m.bytes);
});

it("F hits held past budget", async () => {
  const ds = await createDataset("zz-f");
  const n = 12, size = n * 8 * MiB + MiB;
  const { key } = await ds.put("shard", new Uint8Array(size));
  const i = await startIsolate(ds);
  const w = watchBucket();
  for (let k = 0; k < n; k++) await i.read(key, { headers: { range: `bytes=${k * 8 * MiB}-${(k + 1) * 8 * MiB - 1}` } });
  const j = await startIsolate(ds, { DATASETS: w.bucket });
  await j.read(key, { method: "HEAD" });
  const open = [];
  for (let k = 0; k < n; k++) open.push(await j.open(key, { headers: { range: `bytes=${k * 8 * MiB}-${(k + 1) * 8 * MiB - 1}` } }));
  log("F unread 8 MiB hits", open.map((o) => o.response.headers.get("cache-status")).join("|"), w.count());
  for (const o of open) await o.response.body?.cancel();
}, 60000);

it("H if-range date", async () => {
  const ds = await createDataset("zz-h", { liveTtlSeconds: 0 });
  await sleep(1000 - (Date.now() % 1000) + 20);
  await ds.put("k", bytesOf(1000, 1));
  const i = await startIsolate(ds);
  const a = await i.read("k", { headers: { range: "bytes=0-9" } });
  await ds.put("k", bytesOf(1000, 2));
  const b = await i.read("k", { headers: { range: "bytes=10-19", "if-range": a.headers.get("last-modified") ?? "" } });
  log("H if-range date, overwritten in the second", a.headers.get("etag"), b.status, b.headers.get("etag"));
});
