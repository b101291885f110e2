import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { RATE_SLOTS } from "../../workers/core/jobs/pace.ts";
import { WATCH_NODES_MAX } from "../../workers/core/limits.ts";
import { api, apiTokens, READER } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { credit, pass, watchedJob, type WatchedJob } from "./harness/watched.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens());
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"], now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

interface View {
  nodes: { name: string; isSilent: boolean; isStraggler: boolean; [more: string]: unknown }[];
  [more: string]: unknown;
}
const viewOf = async (id: string): Promise<View> => {
  const { status, body } = await api<View>(seen, `GET /v1/jobs/${id}`, undefined, READER);
  expect(status).toBe(200);
  return body;
};
const rateRows = (job: WatchedJob) =>
  runInDurableObject(job, (_, { storage }) => storage.sql.exec("SELECT * FROM rate").toArray().length);

describe("GET /v1/jobs/:id", () => {
  it("says whose the job is, what it has to do, and of each node what it said last", async () => {
    const { id, job, spec } = await watchedJob({ owner: "ada", labels: { team: "climate" }, nodes: 2 });
    await job.heartbeat("node-0", { step: 5, epoch: 1, loss: 0.5, metrics: { lr: 1 } });
    pass(1000);
    await job.heartbeat("node-0", { step: 6 });
    await job.heartbeat("node-1");
    const at = new Date(Date.now()).toISOString();
    const node = { leased: 0, done: 0, bytes: 0, isStraggler: false, isSilent: false, lastHeartbeatAt: at };
    expect(await viewOf(id)).toMatchObject({
      ...{ id, owner: "ada", labels: { team: "climate" }, state: "running", nodesExpected: 2 },
      progress: { epoch: 0, epochs: 1, units: 10, done: 0, leased: 0, waiting: 10, failed: 0 },
      units: { count: spec.unitList.count, bytes: spec.unitList.bytes },
      nodes: [
        { ...node, name: "node-0", step: 6, epoch: 1, loss: 0.5 },
        { ...node, name: "node-1", step: null, epoch: null, loss: null },
      ],
      ...{ acknowledged: { units: 0, bytes: 0 }, rate: { unitsPerSecond: 0, bytesPerSecond: 0 } },
      ...{ secondsLeft: { epoch: null, job: null }, reads: { requests: 0 } },
    });
  });

  it("keeps a node's loss until another is said, or that there is none", async () => {
    const { job } = await watchedJob();
    const lossOf = async () => must(await job.watch()).nodes.listed[0]?.loss;
    await job.heartbeat("node-0", { loss: 2 });
    await job.heartbeat("node-0", { step: 1 });
    expect(await lossOf()).toBe(2);
    await evictDurableObject(job);
    expect(await lossOf()).toBe(2);
    await job.heartbeat("node-0", { loss: null });
    expect(await lossOf()).toBeNull();
  });

  it("has the loss that any node said last", async () => {
    const { job } = await watchedJob();
    const losses: (number | null)[] = [];
    for (const [node, loss] of [["b", 3] as const, ["a", 2] as const, ["b", null] as const, ["a", 1] as const]) {
      pass(1000);
      await job.heartbeat(node, { loss });
      losses.push(must(await job.watch()).loss);
    }
    expect(losses).toEqual([3, 2, null, 1]);
  });

  it("calls a node silent from the moment that its heartbeat runs out, while others are heard", async () => {
    const { id, job } = await watchedJob({ heartbeatTimeoutSeconds: 90, lostAfterSeconds: 900 });
    await job.heartbeat("gone");
    pass(89_999);
    await job.heartbeat("alive");
    const silent = async () => (await viewOf(id)).nodes.filter(({ isSilent }) => isSilent).map(({ name }) => name);
    expect(await silent()).toEqual([]);
    pass(1);
    expect(await silent()).toEqual(["gone"]);
    expect(must(await job.watch()).nodes).toMatchObject({ expected: 1, heard: 2, silent: 1 });
    await job.heartbeat("gone");
    expect(await silent()).toEqual([]);
  });

  it("sums what nodes acknowledge, names stragglers, and keeps it all when evicted", async () => {
    const { id, job } = await watchedJob();
    for (const [node, seconds] of [["a", 1] as const, ["b", 1] as const, ["c", 5] as const]) {
      await job.heartbeat(node);
      await credit(job, node, 4, 400, 4000 * seconds);
    }
    const check = async () => {
      const view = await viewOf(id);
      expect(view).toMatchObject({ acknowledged: { units: 12, bytes: 1200 } });
      expect(view.nodes.filter(({ isStraggler }) => isStraggler).map(({ name }) => name)).toEqual(["c"]);
      expect(must(await job.watch()).stragglers).toEqual(["c"]);
    };
    await check();
    await evictDurableObject(job);
    await check();
    // Who is gone holds nobody up.
    pass(60_000);
    for (const node of ["a", "b"]) await job.heartbeat(node);
    pass(40_000);
    expect(must(await job.watch()).stragglers).toEqual([]);
  });
});

describe("a job's rate", () => {
  const rateOf = async (job: WatchedJob) => must(await job.watch()).rate.unitsPerSecond;

  it("is that of the last five minutes, or since the first node was heard, in slots that are over", async () => {
    const { job } = await watchedJob({ heartbeatTimeoutSeconds: 3600, lostAfterSeconds: 3600 });
    await job.heartbeat("node-0");
    await credit(job, "node-0", 20, 2000, 1);
    expect(await rateOf(job)).toBe(0);
    pass(10_000);
    expect(must(await job.watch()).rate).toEqual({ unitsPerSecond: 2, bytesPerSecond: 200 });
    pass(10_000);
    await evictDurableObject(job);
    expect(await rateOf(job)).toBe(1);
    pass(270_000);
    await credit(job, "node-0", 40, 0, 1);
    pass(10_000);
    expect(await rateOf(job)).toBe(60 / 300);
    pass(10_000);
    expect(await rateOf(job)).toBe(40 / 300);
    pass(300_000);
    expect(await rateOf(job)).toBe(0);
  });

  it("is told however many bytes nodes say that they read", async () => {
    const { id, job } = await watchedJob();
    await job.heartbeat("node-0");
    pass(10_000);
    for (const _ of [1, 2]) {
      await credit(job, "node-0", 900_000, 5e18, 1);
      pass(10_000);
    }
    await viewOf(id);
    const { rate, acknowledged } = must(await job.watch());
    expect(rate.bytesPerSecond).toBeGreaterThan(1e17);
    expect(acknowledged.bytes).toBe(1e19);
  });

  it("takes no more rows, however long the job runs", async () => {
    const { job } = await watchedJob({ lostAfterSeconds: 86_400, expiresAt: Date.now() + 86_400_000 });
    await job.heartbeat("node-0");
    for (let slots = 0; slots < 3 * RATE_SLOTS; slots++) {
      await credit(job, "node-0", 1, 10, 1);
      await credit(job, "node-0", 1, 10, 1);
      pass(10_000);
    }
    expect(await rateRows(job)).toBe(RATE_SLOTS + 1);
    expect(must(await job.status()).rate).toEqual({ unitsPerSecond: 0.2, bytesPerSecond: 2 });
  });

  it("of a job that has ended is that of all of it, and nothing of it changes any more", async () => {
    const { id, job } = await watchedJob();
    await job.heartbeat("node-0", { loss: 1 });
    await credit(job, "node-0", 50, 5000, 1);
    pass(25_000);
    await job.cancel();
    const before = await viewOf(id);
    expect(before).toMatchObject({ rate: { unitsPerSecond: 2, bytesPerSecond: 200 }, secondsLeft: { job: null } });
    pass(600_000);
    expect(await viewOf(id)).toEqual(before);
  });
});

describe("a watch", () => {
  it("of 500 nodes names a hundred, those in trouble first, by a handful of queries", async () => {
    const { job } = await watchedJob({ nodes: 500, heartbeatTimeoutSeconds: 90, lostAfterSeconds: 900 });
    const name = (n: number) => `node-${String(n).padStart(3, "0")}`;
    await runInDurableObject(job, (_, { storage }) => {
      for (let n = 0; n < 500; n++) {
        const heardAt = Date.now() - (n === 499 ? 90_000 : 0);
        storage.sql.exec(
          "INSERT INTO node (name, first_heard_at, last_heard_at, done, busy_ms, loss) VALUES (?, ?, ?, 10, ?, 0.123456789)",
          ...[name(n), Date.now() - 300_000, heardAt, n === 498 ? 90_000 : 10_000],
        );
      }
    });
    const queries = await runInDurableObject(job, async (object, { storage }) => {
      const exec = vi.spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "exec");
      await object.watch();
      const { length } = exec.mock.calls;
      exec.mockRestore();
      return length;
    });
    expect(queries).toBeGreaterThan(0);
    expect(queries).toBeLessThan(15);
    const summary = must(await job.watch());
    const { listed, ...counts } = summary.nodes;
    expect(counts).toEqual({ expected: 500, heard: 500, silent: 1 });
    expect(listed).toHaveLength(WATCH_NODES_MAX);
    expect(listed.slice(0, 3).map((node) => node.name)).toEqual([name(498), name(499), name(0)]);
    expect(summary.stragglers).toEqual([name(498)]);
    expect(JSON.stringify(summary).length).toBeLessThan(32_768);
  });

  it("is taken once a second for however many who look, and at once where the job's state has changed", async () => {
    const { job } = await watchedJob();
    must(await job.heartbeat("node-0", { loss: 0.5 }));
    const lossOf = async (mayBeOld: boolean) => must(await job.watch(mayBeOld)).loss;
    expect(await lossOf(true)).toBe(0.5);
    must(await job.heartbeat("node-0", { loss: 0.25 }));
    expect(await lossOf(true)).toBe(0.5);
    pass(999);
    const queries = await runInDurableObject(job, async (object, { storage }) => {
      const exec = vi.spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "exec");
      for (let look = 0; look < 10; look++) await object.watch(true);
      const nodes = exec.mock.calls.filter(([query]) => query.includes("FROM node WHERE"));
      exec.mockRestore();
      return nodes.length;
    });
    expect(queries).toBe(0);
    expect(await lossOf(false)).toBe(0.25);
    pass(1000);
    must(await job.heartbeat("node-0", { loss: 0.125 }));
    expect(await lossOf(true)).toBe(0.125);
    must(await job.cancel());
    expect(must(await job.watch(true)).state).toBe("cancelled");
  });
});
