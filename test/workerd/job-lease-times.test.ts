import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Leasing, leasingJob } from "./harness/leasing.ts";
import { must } from "./harness/run.ts";

// The clock stands still, but for what a test lets pass.
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());
const pass = (seconds: number) => vi.setSystemTime(Date.now() + seconds * 1000);

const evict = async ({ job }: Leasing) => {
  await runInDurableObject(job, () => undefined); // One that is not there cannot be evicted.
  await evictDurableObject(job);
};
const alarmOf = ({ job }: Leasing) => runInDurableObject(job, (_, { storage }) => storage.getAlarm());
/** What is kept, without asking, which would let time pass. */
const kept = ({ job }: Leasing) =>
  runInDurableObject(job, (_, { storage: { sql } }) =>
    sql
      .exec<{ leased: number; waiting: number; given_up: number; state: string }>(
        "SELECT leased, waiting, given_up, state FROM lease_standing, job",
      )
      .one(),
  );

/** How time is told to the object; with each it must come to the same. */
const TELLERS: Record<string, { before: (of: Leasing) => Promise<void>; tell: (of: Leasing) => Promise<unknown> }> = {
  "its alarm alone": {
    before: async () => undefined,
    tell: ({ job }) => runDurableObjectAlarm(job),
  },
  "a request alone": {
    before: async ({ job }) => runInDurableObject(job, (_, { storage }) => storage.deleteAlarm()),
    tell: ({ job }) => job.hasEnded(),
  },
  "its alarm, evicted before each step": {
    before: evict,
    tell: async (of) => {
      await evict(of);
      await runDurableObjectAlarm(of.job);
      await evict(of);
    },
  },
  "a request, evicted before each step": {
    before: evict,
    tell: async (of) => {
      await evict(of);
      await of.job.hasEnded();
      await evict(of);
    },
  },
};

describe.each(Object.entries(TELLERS))("by %s", (_, { before, tell }) => {
  it("a lease that runs out comes back, and no earlier", async () => {
    const of = await leasingJob(3);
    const { leases } = await of.lease("slow", 2);
    for (const seconds of [50, 49]) {
      await before(of);
      pass(seconds);
      must(await of.job.heartbeat("slow"));
    }
    expect(await kept(of)).toMatchObject({ leased: 2, waiting: 0 });
    await before(of);
    pass(1);
    await tell(of);
    expect(await kept(of)).toMatchObject({ leased: 0, waiting: 2, state: "running" });
    const acked = must(await of.job.ack("slow", [{ lease: leases[0]?.lease ?? "", outcome: "done" }]));
    expect(acked.acks[0]).toMatchObject({ outcome: "expired" });
    expect(acked.progress).toEqual({ units: 3, done: 0, leased: 0, waiting: 3, failed: 0 });
    const again = await of.lease("other", 3);
    expect(
      again.leases
        .map(({ unit }) => unit)
        .slice(0, 2)
        .toSorted((a, b) => a - b),
    ).toEqual(leases.map(({ unit }) => unit).toSorted((a, b) => a - b));
    expect(again.leases.map(({ attempt }) => attempt)).toEqual([2, 2, 1]);
  });

  it("what a node holds that falls silent comes back before its lease runs out, and another's stays", async () => {
    const of = await leasingJob(4);
    await of.lease("silent", 2);
    pass(30);
    await of.lease("heard", 1);
    await before(of);
    pass(29);
    await tell(of);
    expect(await kept(of)).toMatchObject({ leased: 3, waiting: 0 });
    await before(of);
    pass(1);
    await tell(of);
    expect(await kept(of)).toMatchObject({ leased: 1, waiting: 2 });
  });

  it("a unit whose leases all run out is given up, and reported with who had it last", async () => {
    const of = await leasingJob(1, { units: { maxAttempts: 2, epochs: 2 } });
    for (const node of ["node-0", "node-1"]) {
      const { leases } = await of.lease(node, 1);
      expect(leases).toHaveLength(1);
      await before(of);
      pass(60);
      await tell(of);
    }
    const { progress, failedUnits } = must(await of.job.status());
    expect(failedUnits).toEqual([{ unit: 0, epoch: 0, node: "node-1", reason: "node fell silent", attempts: 2 }]);
    // The epoch is over by that, and the next one begins.
    expect(progress).toMatchObject({ epoch: 1, done: 0, waiting: 1, failed: 0 });
  });

  it("a job is lost with all its nodes, and keeps what was out", async () => {
    const of = await leasingJob(3, { lostAfterSeconds: 70 });
    await of.lease("node-0", 1);
    await before(of);
    pass(69);
    await tell(of);
    expect(await kept(of)).toMatchObject({ state: "running", leased: 0, waiting: 1 });
    await before(of);
    pass(1);
    await tell(of);
    expect(await kept(of)).toMatchObject({ state: "lost" });
    await runDurableObjectAlarm(of.job); // One that was set before finds nothing more to do.
    expect(await alarmOf(of)).toBeNull();
  });

  it("a job expires, and its leases with it: none is longer than the job's life", async () => {
    const of = await leasingJob(3, { expiresAt: Date.now() + 50_000 });
    const { expiresAt } = await of.lease("node-0", 1);
    expect(expiresAt).toBe(of.spec.expiresAt);
    await before(of);
    pass(50);
    await tell(of);
    expect(await kept(of)).toMatchObject({ state: "expired" });
    expect(await of.job.lease("node-0", { request: "x", count: 1, epoch: null })).toMatchObject(ended);
    await runDurableObjectAlarm(of.job);
    expect(await alarmOf(of)).toBeNull();
  });

  it("a job that is being finished hands nothing out, and is lost only when its finish has died", async () => {
    const of = await leasingJob(3, { lostAfterSeconds: 70 });
    await of.lease("node-0", 2);
    must(await of.job.beginFinish("failed"));
    expect(await kept(of)).toMatchObject({ state: "finishing", leased: 0, waiting: 2 });
    const refused = await of.job.lease("node-0", { request: "x", count: 1, epoch: null });
    expect(refused).toMatchObject({ ok: false, failure: { code: "job-finishing" } });
    await before(of);
    pass(899);
    await tell(of);
    expect(await kept(of)).toMatchObject({ state: "finishing" });
    pass(1);
    await tell(of);
    expect(await kept(of)).toMatchObject({ state: "lost" });
  });
});

const ended = { ok: false, failure: { code: "job-ended" } };

describe("the alarm", () => {
  it("rings when the first lease can run out, and then when the next one can, though nobody asks", async () => {
    const of = await leasingJob(3, { lostAfterSeconds: 3000 });
    const start = Date.now();
    await of.lease("node-0", 1);
    expect(await alarmOf(of)).toBe(start + 60_000);
    pass(30);
    await of.lease("node-1", 1);
    // It is not put off with each request, for that would be written each time.
    expect(await alarmOf(of)).toBe(start + 60_000);
    pass(30);
    await runDurableObjectAlarm(of.job);
    expect(await kept(of)).toMatchObject({ leased: 1, waiting: 1 });
    expect(await alarmOf(of)).toBe(start + 90_000);
    pass(30);
    await runDurableObjectAlarm(of.job);
    expect(await kept(of)).toMatchObject({ leased: 0, waiting: 2 });
    expect(await alarmOf(of)).toBe(start + 3_030_000);
  });

  it("is written once for many requests of a job whose nodes are heard", async () => {
    const of = await leasingJob(1000);
    await of.lease("node-0", 1);
    const first = await alarmOf(of);
    for (let request = 0; request < 20; request++) {
      pass(1);
      await of.done("node-0", await of.lease("node-0", 3));
    }
    expect(await alarmOf(of)).toBe(first);
  });
});
