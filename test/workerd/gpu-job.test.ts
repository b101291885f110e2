import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { newId } from "../../workers/adapters/ids.ts";
import { directoryOf, jobOf } from "../../workers/adapters/objects.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { tick } from "../../workers/cron.ts";
import { jobSpec } from "./harness/job.ts";

const HEARTBEAT_TIMEOUT_MS = 600_000;

// The clock stands still, but for what a test lets pass: far less than that goes by in truth, when the alarm would ring.
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

/** A job that the Directory lists, as the gateway makes them. */
async function createJob(more: Partial<JobSpec> = {}) {
  const now = Date.now();
  const id = newId("job", now);
  const spec = jobSpec({
    id,
    heartbeatTimeoutSeconds: HEARTBEAT_TIMEOUT_MS / 1000,
    lostAfterSeconds: HEARTBEAT_TIMEOUT_MS / 1000,
    expiresAt: now + 3_600_000,
    ...more,
  });
  await directoryOf(env).add("job", id, { name: spec.name, dataset: spec.datasetName });
  const job = jobOf(env, id);
  const created = await job.create(spec);
  expect(created).toMatchObject({ ok: true, value: { state: "pending", nodes: [] } });
  return { id, job, spec };
}
type Job = Awaited<ReturnType<typeof createJob>>["job"];

/** The state as it is kept: asking does not make time pass, only events and the alarm do. */
const stateOf = async (job: Job) => {
  const status = await job.status();
  return status.ok ? status.value.state : status.failure.code;
};
const alarmOf = (job: Job) => runInDurableObject(job, (_, state) => state.storage.getAlarm());
const dropAlarm = (job: Job) => runInDurableObject(job, (_, state) => state.storage.deleteAlarm());
const listedState = async (id: string) => {
  const { entries } = await directoryOf(env).list("job", null, 1000);
  return entries.find((entry) => entry.id === id)?.state;
};
const ended = { ok: false, failure: { code: "job-ended" } };

describe("a job's nodes", () => {
  it("make it running with their first heartbeat, and the alarm waits for their silence", async () => {
    const { job, spec } = await createJob();
    expect(await alarmOf(job)).toBe(spec.expiresAt);
    expect(await job.heartbeat("node-0")).toEqual({ ok: true, value: { state: "running", epoch: 0 } });
    const status = await job.status();
    const nodes = status.ok ? status.value.nodes : [];
    expect(nodes).toMatchObject([{ name: "node-0" }]);
    expect(await alarmOf(job)).toBe((nodes[0]?.lastHeardAt ?? 0) + HEARTBEAT_TIMEOUT_MS);
  });

  it("when all are silent, are lost with the job, by alarm, and the Directory knows", async () => {
    const { id, job } = await createJob();
    await job.heartbeat("node-0");
    await job.heartbeat("node-1");
    pass(HEARTBEAT_TIMEOUT_MS + 50);
    await runDurableObjectAlarm(job);
    expect(await stateOf(job)).toBe("lost");
    expect(await listedState(id)).toBe("lost");
    expect(await alarmOf(job)).toBeNull();
  });

  it("keep it alive while one of them is heard", async () => {
    const { job } = await createJob();
    await job.heartbeat("silent");
    for (let beats = 0; beats < 6; beats++) {
      pass(HEARTBEAT_TIMEOUT_MS / 4);
      expect(await job.heartbeat("alive")).toMatchObject({ ok: true, value: { state: "running" } });
    }
    await runDurableObjectAlarm(job);
    expect(await stateOf(job)).toBe("running");
    expect(await alarmOf(job)).toBeGreaterThan(Date.now());
  });

  it("keep it alive by whatever they ask, which costs no row each time, and an eviction forgets none of it", async () => {
    const { job } = await createJob();
    await job.heartbeat("node-0");
    const words = () =>
      runInDurableObject(job, (_, { storage }) => storage.sql.exec("SELECT * FROM nameless").toArray());
    await job.admit();
    pass(4000);
    await job.admit();
    expect(await words()).toEqual([]);
    for (let n = 0; n < 4; n++) {
      pass(HEARTBEAT_TIMEOUT_MS - 10_000);
      expect(await (n % 2 === 0 ? job.admit() : job.resumeState())).toMatchObject({ ok: true });
      await evictDurableObject(job);
      expect(await words()).toEqual([{ id: 1, heard_at: Date.now() }]);
    }
    pass(HEARTBEAT_TIMEOUT_MS);
    expect(await job.admit()).toMatchObject(ended);
    expect(await stateOf(job)).toBe("lost");
  });

  it("who are heard too late find the job lost, alarm or no alarm", async () => {
    const { job } = await createJob();
    await job.heartbeat("node-0");
    await dropAlarm(job);
    pass(HEARTBEAT_TIMEOUT_MS + 50);
    expect(await job.heartbeat("node-0")).toMatchObject(ended);
    expect(await stateOf(job)).toBe("lost");
  });

  it("are not awaited before the first heartbeat: a pending job may queue for a GPU until it expires", async () => {
    const { job } = await createJob();
    pass(HEARTBEAT_TIMEOUT_MS + 50);
    await runDurableObjectAlarm(job);
    expect(await stateOf(job)).toBe("pending");
  });
});

describe("a job ends", () => {
  it.each([0, 1])("by expiry, by alarm, with %i nodes heard just now", async (nodes) => {
    const { id, job } = await createJob({ expiresAt: Date.now() + 60_000, heartbeatTimeoutSeconds: 90 });
    if (nodes === 1) await job.heartbeat("node-0");
    pass(60_050);
    await runDurableObjectAlarm(job);
    expect(await stateOf(job)).toBe("expired");
    expect(await listedState(id)).toBe("expired");
  });

  it("when it is cancelled: no alarm is left, and the Directory knows", async () => {
    const { id, job } = await createJob();
    await job.heartbeat("node-0");
    expect(await job.cancel()).toEqual({ ok: true, value: "cancelled" });
    // The last one takes away the list of units.
    await runDurableObjectAlarm(job);
    await vi.waitFor(async () => expect(await alarmOf(job)).toBeNull(), { timeout: 60_000 });
    expect(await listedState(id)).toBe("cancelled");
    expect(await job.hasEnded()).toBe(true);
  });

  it("once: everything after that is refused, and changes nothing", async () => {
    const { job } = await createJob();
    await job.cancel();
    const before = await job.status();
    const output = { key: "out/0", size: 1, contentType: "text/plain" };
    expect(await job.heartbeat("node-0")).toMatchObject(ended);
    expect(await job.cancel()).toMatchObject(ended);
    expect(await job.beginFinish("done")).toMatchObject(ended);
    expect(await job.finish("done", [], 1)).toMatchObject(ended);
    expect(await job.announce([output])).toMatchObject(ended);
    expect(await job.announced(null)).toMatchObject(ended);
    await runDurableObjectAlarm(job);
    expect(await job.status()).toEqual(before);
  });

  it("never began where nobody created it: what is asked of it writes nothing", async () => {
    const job = jobOf(env, newId("job", Date.now()));
    const unknown = { ok: false, failure: { code: "unknown-job" } };
    expect(await job.status()).toMatchObject(unknown);
    expect(await job.heartbeat("node-0")).toMatchObject(unknown);
    expect(await job.announce([{ key: "out/0", size: 1, contentType: "text/plain" }])).toMatchObject(unknown);
    expect(await job.hasEnded()).toBe(true);
    await job.rearm();
    expect(await alarmOf(job)).toBeNull();
  });
});

describe("a job that is evicted", () => {
  it("keeps its nodes, its state and its alarm, and is lost by it", async () => {
    const { job } = await createJob();
    await job.heartbeat("node-0");
    const [before, alarm] = [await job.status(), await alarmOf(job)];
    await evictDurableObject(job);
    expect(await job.status()).toEqual(before);
    expect(await alarmOf(job)).toBe(alarm);
    pass(HEARTBEAT_TIMEOUT_MS + 50);
    await evictDurableObject(job);
    await runDurableObjectAlarm(job);
    expect(await stateOf(job)).toBe("lost");
  });

  it("and has lost its alarm is armed again by the cron, which expires nothing itself", async () => {
    const { job } = await createJob({ heartbeatTimeoutSeconds: 90 });
    await job.heartbeat("node-0");
    const alarm = await alarmOf(job);
    await dropAlarm(job);
    await evictDurableObject(job);
    expect(await alarmOf(job)).toBeNull();
    await tick(Date.now(), env);
    expect(await stateOf(job)).toBe("running");
    expect(await alarmOf(job)).toBe(alarm);
  });
});
