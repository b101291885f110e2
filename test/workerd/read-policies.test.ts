import { env } from "cloudflare:workers";
import { afterEach, describe, expect, inject, it, vi } from "vitest";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { FOLLOWER_PATIENCE_MS } from "../../workers/core/limits.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import type { ThroughMessage } from "../../workers/core/migration/message.ts";
import { type Answer, codeOf, createDataset, type Reading, sameBytes, seal, startIsolate } from "./harness/reading.ts";
import { bytesOf, envWithSource, fill, type Stored, text } from "./harness/source.ts";
import { deliverMiss, missOf } from "./harness/through.ts";
import { holdTimers } from "./harness/time.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;

/** A dataset that has a source of its own, and an isolate that reads it and tells what it asked for to be copied. */
async function given(
  name: string,
  objects: Record<string, Uint8Array<ArrayBuffer>>,
  config: Partial<DatasetConfig> = {},
  seen: Record<string, unknown> = {},
) {
  const stored = await fill(`${name}/`, new Map(Object.entries(objects)));
  const source = { name: "test", prefix: `${name}/` };
  const dataset = await createDataset(name, { read: "through", source, ...config });
  const sent: ThroughMessage[] = [];
  const queue = { send: async (message: ThroughMessage) => void sent.push(message) };
  const isolate = (more: Record<string, unknown> = {}) =>
    startIsolate(dataset, {
      ...envWithSource({ endpoint: `${inject("faults")}/plain` }),
      MIGRATION_QUEUE: queue,
      ...seen,
      ...more,
    });
  const at = (key: string): Stored => stored.get(key) ?? { bytes: new Uint8Array(), etag: "" };
  const reading = await isolate();
  asked.mockClear();
  return { dataset, sent, at, isolate, reading };
}

/** Counts the requests that go out: nothing but a source is asked by `fetch` here. */
const asked = vi.spyOn(globalThis, "fetch");
afterEach(() => asked.mockClear());

const outcomeOf = (answer: Answer) => [answer.status, answer.headers.get("etag"), answer.headers.get("last-modified")];
const expectBytes = (answer: Answer, bytes: Uint8Array) => {
  expect([answer.status, answer.bytes.length]).toEqual([answer.status === 206 ? 206 : 200, bytes.length]);
  expect(sameBytes(answer.bytes, bytes)).toBe(true);
};

describe("through: what R2 does not have", () => {
  it("is served from the source, and its copy asked for once", async () => {
    const { reading, sent, at } = await given("pass", { "a/0": bytesOf(5000, 1) });
    const answer = await reading.read("a/0");
    expectBytes(answer, at("a/0").bytes);
    expect(answer.headers.get("etag")).toBe(`"${at("a/0").etag}"`);
    expect(answer.headers.get("server-timing")).toMatch(/^auth;.*resolve;.*cache;.*r2;.*source;dur=/);
    await reading.read("a/0");
    expect(sent).toEqual([
      expect.objectContaining({
        type: "through",
        dataset: "pass",
        datasetId: "ds_pass",
        key: "a/0",
        etag: at("a/0").etag,
        size: 5000,
      }),
    ]);
  });

  it("is not copied for a HEAD, which wants no bytes", async () => {
    const { reading, sent, at } = await given("head", { k: bytesOf(70, 2) });
    const answer = await reading.read("k", { method: "HEAD" });
    expect([answer.status, answer.headers.get("content-length")]).toEqual([200, "70"]);
    expect(answer.headers.get("etag")).toBe(`"${at("k").etag}"`);
    expect(sent).toEqual([]);
  });

  it("has one ETag, one Last-Modified and one type before and after the copy, and no source request after it", async () => {
    const { reading, isolate, sent, at } = await given("moved", { k: bytesOf(90_000, 3) });
    const before = await reading.read("k");
    const [message] = sent;
    if (message === undefined) throw new Error("No copy was asked for.");
    expect(await deliverMiss(message, reading.env)).toBe("ack");
    expect(await env.DATASETS.head("moved/k")).not.toBeNull();
    asked.mockClear();
    const after = await (await isolate()).read("k");
    expectBytes(after, at("k").bytes);
    expect(outcomeOf(after)).toEqual(outcomeOf(before));
    expect(after.headers.get("content-type")).toBe(before.headers.get("content-type"));
    expect(asked).not.toHaveBeenCalled();
    const known = await (await isolate()).read("k", { headers: { "if-none-match": before.headers.get("etag") ?? "" } });
    expect(known.status).toBe(304);
  });

  it("causes one source request, however many ask at once", async () => {
    const { reading, at } = await given("at-once", { k: bytesOf(300_000, 4) });
    holdTimers(FOLLOWER_PATIENCE_MS); // However long the source takes, nobody loses patience.
    const answers = await Promise.all(Array.from({ length: 24 }, () => reading.read("k")));
    for (const answer of answers) expectBytes(answer, at("k").bytes);
    expect(asked).toHaveBeenCalledTimes(1);
  });

  it("is read in ranges from the blocks that the first of them brought", async () => {
    const { reading, at } = await given("ranged", { shard: bytesOf(3 * MiB + 17, 5) });
    const { bytes } = at("shard");
    for (const [range, start, end] of [
      ["bytes=100-299", 100, 300],
      ["bytes=300-70000", 300, 70_001],
      ["bytes=-4096", bytes.length - 4096, bytes.length],
      ["bytes=-16", bytes.length - 16, bytes.length],
    ] as const) {
      const answer = await reading.read("shard", { headers: { range } });
      expect(answer.status).toBe(206);
      expectBytes(answer, bytes.subarray(start, end));
    }
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it("is 404 where the source says in S3's words that it has none, and may not be kept", async () => {
    const { reading, sent } = await given("none", {});
    for (const method of ["GET", "HEAD"] as const) {
      const answer = await reading.read("nothing", { method });
      expect([method, answer.status, answer.headers.get("cache-control")]).toEqual([
        method,
        404,
        "no-store, no-transform",
      ]);
    }
    expect(sent).toEqual([]);
  });

  it("is not looked for at the source where it was deleted on purpose", async () => {
    const { dataset, reading } = await given("buried", { gone: bytesOf(10, 6), kept: bytesOf(10, 7) });
    await datasetOf(env, "buried").bury(dataset.config.id, ["gone"]);
    expect((await reading.read("gone")).status).toBe(404);
    expect(asked).not.toHaveBeenCalled();
    expect((await reading.read("kept")).status).toBe(200);
  });

  it("is never looked for at the source by a sealed version", async () => {
    const { dataset, reading } = await given("sealed", { late: bytesOf(10, 8), there: bytesOf(10, 9) });
    expect((await reading.read("late", { version: "3" })).status).toBe(404);
    seal(dataset, await dataset.put("there", text("sealed bytes")));
    await dataset.delete("there");
    const answer = await reading.read("there", { version: "3" });
    expect([answer.status, codeOf(answer)]).toEqual([409, "object-changed"]);
    expect(asked).not.toHaveBeenCalled();
  });
});

describe("a source in trouble", () => {
  const FAULTS = [
    "404-page",
    "503",
    "reset",
    "html",
    "redirect",
    "403",
    "wrong-byte",
    "html-same-etag",
    "shorter",
    "truncate",
  ];

  it.each(FAULTS)("is never a 404, nor other bytes: %s", async (fault) => {
    const key = `fault-${fault}`;
    const { reading } = await given(`trouble-${fault}`, { [key]: bytesOf(5000, 10) });
    for (const method of ["GET", "HEAD"] as const) {
      const answer = await reading.read(key, { method });
      // A HEAD has no bytes that could be wrong.
      if (method === "HEAD" && answer.status === 200) continue;
      expect([method, [502, 503].includes(answer.status)]).toEqual([method, true]);
      if (answer.status === 503) expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    }
  });

  it("answers 503 with Retry-After while it is down, and does not touch what R2 has", async () => {
    const { dataset, isolate } = await given("down", {});
    await dataset.put("here", text("in R2"));
    const reading = await isolate({ ...envWithSource({ endpoint: "http://127.0.0.1:9" }) });
    expect((await reading.read("here")).status).toBe(200);
    const answer = await reading.read("away");
    expect([answer.status, codeOf(answer)]).toEqual([503, "source-unavailable"]);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  });
});

describe("R2 in trouble", () => {
  const failing = () => watchBucket({ get: () => Promise.reject(new Error("R2 is failing (10001)")) }).bucket;

  /** A dataset whose object was copied, and an R2 that fails from now on. */
  async function copied(name: string, config: Partial<DatasetConfig> = {}) {
    const there = await given(name, { k: bytesOf(9000, 11) }, config);
    await there.reading.read("k");
    const [message] = there.sent;
    if (message !== undefined) await deliverMiss(message, there.reading.env);
    return there;
  }

  it("has the source stand in, at the ETag that the manifest promises", async () => {
    const { isolate, at } = await copied("stand-in");
    const answer = await (await isolate({ DATASETS: failing() })).read("k");
    expectBytes(answer, at("k").bytes);
    expect(answer.headers.get("etag")).toBe(`"${at("k").etag}"`);
  });

  it("has the source stand in, at the ETag that this isolate has told its readers", async () => {
    const { dataset, at, isolate } = await copied("stand-by", { liveTtlSeconds: 0 });
    let fails = false;
    const bucket = watchBucket({
      get: (_, answer) => (fails ? Promise.reject(new Error("(10001)")) : answer()),
    }).bucket;
    const reading = await isolate({ DATASETS: bucket });
    const before = await reading.read("k");
    fails = true;
    expect(outcomeOf(await reading.read("k"))).toEqual(outcomeOf(before));
    expectBytes(await reading.read("k", { headers: { range: "bytes=10-99" } }), at("k").bytes.subarray(10, 100));
    expect(dataset.config.read).toBe("through");
  });

  it("stays R2's trouble where the source has another object by now, or nothing was promised", async () => {
    // Copied without being read: no cache has its bytes.
    const { isolate, reading: first, at } = await given("moved-on", { k: bytesOf(9000, 11) });
    expect(await deliverMiss(missOf("moved-on", "k", at("k")), first.env)).toBe("ack");
    const changed = { k: bytesOf(9000, 12), new: bytesOf(10, 13) };
    await fill("moved-on/", new Map(Object.entries(changed)));
    const reading = await isolate({ DATASETS: failing() });
    for (const key of ["k", "new"]) {
      const answer = await reading.read(key);
      expect([key, answer.status, codeOf(answer)]).toEqual([key, 503, "store-unavailable"]);
    }
  });

  it("stays R2's trouble on the policy r2", async () => {
    const { dataset, isolate } = await copied("r2-alone");
    await datasetOf(env, "r2-alone").configure({ ...dataset.config, read: "r2" });
    const other = await isolate({ DATASETS: failing() });
    vi.useFakeTimers({ now: Date.now() + 11_000, toFake: ["Date"] });
    const answer = await other.read("k").finally(() => vi.useRealTimers());
    expect([answer.status, codeOf(answer)]).toEqual([503, "store-unavailable"]);
  });
});

describe("the other policies", () => {
  it("source: reads from the source, whatever R2 has", async () => {
    const { dataset, reading, at, sent } = await given("source", { k: bytesOf(100, 14) }, { read: "source" });
    await dataset.put("k", text("R2's"));
    await dataset.put("only-in-r2", text("R2's"));
    expectBytes(await reading.read("k"), at("k").bytes);
    expect((await reading.read("only-in-r2")).status).toBe(404);
    expect(sent).toEqual([]);
  });

  it("r2: never asks the source", async () => {
    const { reading } = await given("alone", { k: bytesOf(100, 15) }, { read: "r2" });
    expect((await reading.read("k")).status).toBe(404);
    expect(asked).not.toHaveBeenCalled();
  });
});

describe("a training run", () => {
  it("does not notice that its data moves, nor that either store fails for a while", async () => {
    const chunks = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`c/${i}`, bytesOf(20_000 + i, 100 + i)]));
    let trouble: "none" | "r2" = "none";
    const { bucket } = watchBucket({
      get: (_, answer) => (trouble === "r2" ? Promise.reject(new Error("(10001)")) : answer()),
    });
    const { reading, isolate, sent, at } = await given("training", chunks, { liveTtlSeconds: 0 }, { DATASETS: bucket });
    const epoch = async (by: Reading) => {
      for (const key of Object.keys(chunks)) {
        const answer = await by.read(key);
        expectBytes(answer, at(key).bytes);
        expect(answer.headers.get("etag")).toBe(`"${at(key).etag}"`);
      }
    };
    await epoch(reading); // All from the source.
    for (const message of sent.splice(0, 6)) await deliverMiss(message, reading.env);
    await epoch(reading); // Half and half.
    for (const message of sent.splice(0)) await deliverMiss(message, reading.env);
    await epoch(reading);
    trouble = "r2"; // R2 fails, and the source stands in.
    await epoch(reading);
    trouble = "none"; // The source is gone, for good.
    const without = { ...envWithSource({ endpoint: "http://127.0.0.1:9" }) };
    await epoch(await isolate({ ...without, DATASETS: bucket }));
  });
});
