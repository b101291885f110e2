import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, inject, it, vi } from "vitest";
import { openPlace, writeRows } from "../../queues/manifest/answer.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { FOLLOWER_PATIENCE_MS, IN_FLIGHT_MAX_BYTES } from "../../workers/core/limits.ts";
import type { ThroughMessage } from "../../workers/core/migration/message.ts";
import worker from "../../workers/index.ts";
import { givenRow } from "../harness/rows.ts";
import { codeOf, createDataset, sameBytes, startIsolate } from "./harness/reading.ts";
import { must } from "./harness/run.ts";
import { bytesOf, envWithSource, fill, text } from "./harness/source.ts";
import { deliverMiss, missOf } from "./harness/through.ts";
import { holdTimers, until } from "./harness/time.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;
const range = (first: number, last: number) => ({ headers: { range: `bytes=${first}-${last}` } });
const sourceEnv = () => ({ ...envWithSource({ endpoint: `${inject("faults")}/plain` }) });
const failing = () => watchBucket({ get: () => Promise.reject(new Error("(10001)")) }).bucket;

/** A dataset that is read through to a source of its own, and what its readers ask to have copied. */
async function given(name: string, objects: Record<string, Uint8Array<ArrayBuffer>>, liveTtlSeconds = 3600) {
  const stored = await fill(`${name}/`, new Map(Object.entries(objects)));
  const dataset = await createDataset(name, {
    read: "through",
    source: { name: "test", prefix: `${name}/` },
    liveTtlSeconds,
  });
  const queue = { send: async (_: ThroughMessage) => undefined };
  const isolate = (more: Record<string, unknown> = {}) =>
    startIsolate(dataset, { ...sourceEnv(), MIGRATION_QUEUE: queue, ...more });
  const copy = async (key: string) => {
    const object = stored.get(key);
    if (object === undefined) throw new Error(`There is no ${key}.`);
    expect(await deliverMiss(missOf(name, key, object), envWithSource({}))).toBe("ack");
  };
  return { dataset, stored, isolate, copy };
}

describe("a source that ignores If-Match", () => {
  afterEach(() => vi.restoreAllMocks());

  it.each([
    ["blocks", 3 * MiB, [900_000, 1_600_000]],
    ["a stream", 12 * MiB, [1_000_000, 10_500_000]],
  ] as const)("never has two objects mixed in one answer: %s", async (what, size, [first, last]) => {
    const old = { bytes: bytesOf(size, 1), etag: "aaaa-1" };
    const young = { bytes: bytesOf(size, 2), etag: "bbbb-1" };
    let now = old;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (...args) => {
      const request = new Request(...args);
      const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
      const from = Number(asked?.[1] ?? 0);
      const to = Math.min(asked === null || asked[2] === "" ? size - 1 : Number(asked[2]), size - 1);
      const body = request.method === "HEAD" ? null : now.bytes.slice(from, to + 1);
      const headers = { etag: `"${now.etag}"`, "content-length": String(to - from + 1) };
      const span = { "content-range": `bytes ${from}-${to}/${size}` };
      return new Response(body, { status: asked === null ? 200 : 206, headers: { ...headers, ...(asked && span) } });
    });
    const source = { name: "test", prefix: "" };
    const dataset = await createDataset(`ignores-${what.replace(" ", "-")}`, { read: "source", source });
    const isolate = await startIsolate(dataset, sourceEnv());
    await isolate.read("object", range(0, 9));
    now = young;
    const answer = await isolate.read("object", range(first, last));
    const owner = answer.headers.get("etag") === '"aaaa-1"' ? old : young;
    expect([answer.status, answer.headers.get("etag")]).toEqual([206, `"${owner.etag}"`]);
    expect(sameBytes(answer.bytes, owner.bytes.subarray(first, last + 1))).toBe(true);
  });
});

describe("an R2 that takes longer than anybody waits for another", () => {
  it.each([
    ["unknown", false],
    ["known", true],
  ])("makes each reader wait for another once, of an object that is %s", async (_, isKnown) => {
    const { promise: answering, resolve: answer } = Promise.withResolvers<void>();
    const slow = watchBucket({ get: async (_key, real) => answering.then(real) });
    const dataset = await createDataset(`slow-${String(isKnown)}`);
    const { bytes } = await dataset.put("object", bytesOf(3 * MiB, 3));
    const isolate = await startIsolate(dataset, { DATASETS: slow.bucket });
    if (isKnown) await isolate.read("object", { method: "HEAD" });
    slow.count();
    const patience = holdTimers(FOLLOWER_PATIENCE_MS);
    const readers = Array.from({ length: 6 }, () => isolate.read("object", range(300_000, 300_099)));
    await until(() => patience.waiting() === 5);
    expect(slow.operations).toHaveLength(1);
    // Then each reads for itself, all of them at once: none has its answer yet.
    patience.ring();
    await until(() => slow.operations.length === 6);
    answer();
    for (const read of await Promise.all(readers)) {
      expect(sameBytes(read.bytes, bytes.subarray(300_000, 300_100))).toBe(true);
    }
    expect([patience.set(), slow.operations.length]).toEqual([5, 6]);
  });
});

describe("an R2 that says nothing", () => {
  afterEach(() => vi.useRealTimers());

  it("is one that fails: 503 with Retry-After after 15 seconds", async () => {
    const silent = watchBucket({ get: () => new Promise<never>(() => undefined) });
    const dataset = await createDataset("silent");
    await dataset.put("object", bytesOf(100, 10));
    const isolate = await startIsolate(dataset, { DATASETS: silent.bucket });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const opened = isolate.open("object");
    await until(() => silent.operations.length === 1);
    await vi.advanceTimersByTimeAsync(15_000);
    const { response } = await opened;
    expect([response.status, response.headers.get("retry-after")]).toEqual([503, "2"]);
  });
});

it.each([
  "/d",
  "/d?key=k",
  "/D/silent/k",
  "//d/silent/k",
  "/t//silent/k",
  "/%64/silent/k",
  "/d%2Fsilent/k",
  "/t%2fx/silent/k",
])("a misspelt door is refused, and never by a 404, which a Zarr reader believes: %s", async (path) => {
  const ctx = createExecutionContext();
  const request = new Request<unknown, IncomingRequestCfProperties>(`https://penstock.example${path}`);
  const { status } = await worker.fetch(request, { ...env }, ctx);
  expect([path, [400, 401].includes(status)]).toEqual([path, true]);
});

it("blocks that are cached are gathered only while there is room for them; the rest is streamed", async () => {
  const dataset = await createDataset("gathered");
  const { bytes } = await dataset.put("object", bytesOf(12 * MiB, 11));
  await (await startIsolate(dataset)).read("object", range(0, 7 * MiB - 1));
  const isolate = await startIsolate(dataset);
  await isolate.read("object", { method: "HEAD" });
  const asks = Array.from({ length: 6 }, () => isolate.open("object", range(0, 7 * MiB - 1)));
  const opened = await Promise.all(asks);
  const outcomes = opened.map(({ response }) => response.headers.get("cache-status"));
  expect(outcomes.filter((outcome) => outcome === "penstock; hit").length * 7 * MiB).toBeLessThanOrEqual(
    IN_FLIGHT_MAX_BYTES,
  );
  expect(outcomes).toContain("penstock; fwd=bypass");
  for (const { response } of opened) {
    expect(sameBytes(new Uint8Array(await response.arrayBuffer()), bytes.subarray(0, 7 * MiB))).toBe(true);
  }
});

describe("when R2 fails, the source does not stand in", () => {
  it("for a key that was deleted on purpose, though the manifest still has its row", async () => {
    const { dataset, isolate, copy } = await given("stand-in-deleted", { k: bytesOf(900, 4) });
    await copy("k");
    await dataset.delete("k");
    await datasetOf(env, "stand-in-deleted").bury(dataset.config.id, ["k"]);
    const answer = await (await isolate({ DATASETS: failing() })).read("k");
    expect([answer.status, codeOf(answer)]).toEqual([503, "store-unavailable"]);
  });

  it("for what this isolate saw longer ago than it may remember, and somebody has replaced since", async () => {
    const { dataset, isolate, copy } = await given("stand-in-replaced", { k: bytesOf(900, 5) }, 0);
    await copy("k");
    let fails = false;
    const bucket = watchBucket({
      get: (_, answer) => (fails ? Promise.reject(new Error("(10001)")) : answer()),
    }).bucket;
    const reader = await isolate({ DATASETS: bucket });
    expect((await reader.read("k")).status).toBe(200);
    const output = await dataset.put("k", text("a job's output"));
    const row = givenRow("k", { size: 14, etag: output.etag, writer: "job_1" });
    const { name, id } = dataset.config;
    must(await writeRows(datasetOf(env, name), id, [row], "job_1", () => openPlace(env, name, id)));
    fails = true;
    const answer = await reader.read("k");
    expect([answer.status, codeOf(answer)]).toEqual([503, "store-unavailable"]);
  });
});

it("two keys of the source that are one in R2 keep their bytes, whichever was copied", async () => {
  const [composed, decomposed] = ["caf\u00e9", "cafe\u0301"];
  const objects = { [composed]: bytesOf(500, 6), [decomposed]: bytesOf(600, 7) };
  const { isolate, copy } = await given("unicode", objects);
  for (const copied of [null, decomposed]) {
    if (copied !== null) await copy(copied);
    const reader = await isolate();
    for (const [key, bytes] of Object.entries(objects)) {
      expect([copied, key, sameBytes((await reader.read(key)).bytes, bytes)]).toEqual([copied, key, true]);
    }
  }
});

describe("a copy of a key that is deleted meanwhile", () => {
  it("is taken away when its message comes again, and somebody else's object is not", async () => {
    const { dataset, stored, copy } = await given("buried-copy", { k: bytesOf(300, 8), j: bytesOf(300, 9) });
    await copy("k");
    await dataset.put("j", text("a job's output"));
    await datasetOf(env, "buried-copy").bury(dataset.config.id, ["k", "j"]);
    for (const key of ["k", "j"]) {
      const object = stored.get(key);
      if (object === undefined) throw new Error(`There is no ${key}.`);
      expect(await deliverMiss(missOf("buried-copy", key, object), envWithSource({}))).toBe("ack");
    }
    expect(await env.DATASETS.head("buried-copy/k")).toBeNull();
    expect(await (await env.DATASETS.get("buried-copy/j"))?.text()).toBe("a job's output");
  });
});
