import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { WatchSummary } from "../../durable-objects/gpu-job/summary.ts";
import { emptyTally } from "../../workers/core/metering/tally.ts";
import { SOCKETS_MAX } from "../../workers/core/limits.ts";
import { apiTokens, LIMITED, READER, request } from "./harness/api.ts";
import { leasingJob } from "./harness/leasing.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { alarmOf, pass, tokenOf, watch, watchedJob, type WatchedJob } from "./harness/watched.ts";

let seen: Env;
beforeAll(async () => {
  seen = envWith("plain", await apiTokens("other"));
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** A job that nobody loses or expires while a test runs. */
const job = () => watchedJob({ heartbeatTimeoutSeconds: 3600, lostAfterSeconds: 36_000 });
const socketsOf = (of: WatchedJob) =>
  runInDurableObject(
    of,
    (_, state) => state.getWebSockets().filter(({ readyState }) => readyState === WebSocket.OPEN).length,
  );
/** Answers once all that was sent before has arrived. */
const settled = async (socket: WebSocket): Promise<void> => {
  const pong = new Promise<void>((done) => {
    socket.addEventListener("message", ({ data }) => (data === "pong" ? done() : undefined));
  });
  socket.send("ping");
  await pong;
};
const messages = (waiting: readonly string[]) => waiting.filter((text) => text !== "pong").length;

describe("a WebSocket that watches a job", () => {
  it("is told at once how it stands, then of each change, and is closed after the end", async () => {
    const { id, job: object } = await job();
    const watcher = await watch(seen, id, READER);
    expect(await watcher.next()).toMatchObject({ id, state: "pending", nodes: { heard: 0 } });
    pass(1000);
    await object.heartbeat("node-0", { loss: 0.5 });
    expect(await watcher.next()).toMatchObject({ state: "running", loss: 0.5, nodes: { heard: 1 } });
    pass(1000);
    must(await object.cancel());
    expect(await watcher.next()).toMatchObject({ state: "cancelled" });
    expect(await watcher.closed).toEqual({ code: 1000, reason: "The job has ended." });
    expect(watcher.waiting).toEqual([]);
  });

  it("is told of the end at once, also within the second, and of no change before it twice", async () => {
    const { id, job: object } = await job();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    await object.heartbeat("node-0");
    must(await object.cancel());
    expect(await watcher.next()).toMatchObject({ state: "cancelled", nodes: { heard: 1 } });
    await watcher.closed;
    expect(watcher.waiting).toEqual([]);
  });

  it("of a job that has ended is told so, and closed", async () => {
    const { id, job: object } = await job();
    must(await object.cancel());
    const watcher = await watch(seen, id, READER);
    expect(await watcher.next()).toMatchObject({ state: "cancelled" });
    expect(await watcher.closed).toMatchObject({ code: 1000 });
  });

  it("is told at most once a second, by the alarm, of all that changed in it", async () => {
    const { id, job: object, spec } = await job();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    const lookedAt = Date.now();
    for (let beats = 1; beats <= 9; beats++) {
      pass(100);
      await object.heartbeat("node-0", { step: beats });
    }
    await settled(watcher.socket);
    expect(messages(watcher.waiting)).toBe(0);
    expect(await alarmOf(object)).toBe(lookedAt + 1000);
    pass(100);
    await runDurableObjectAlarm(object);
    await settled(watcher.socket);
    expect(messages(watcher.waiting)).toBe(1);
    const told = watcher.waiting.find((text) => text !== "pong") ?? "";
    expect(JSON.parse(told)).toMatchObject({ nodes: { listed: [{ step: 9 }] } });
    // Nothing is due any more but what time itself brings: the node's silence.
    expect(await alarmOf(object)).toBe(Math.min(spec.expiresAt, Date.now() - 100 + 3_600_000));
  });

  it("is told nothing where nothing has changed", async () => {
    const { id, job: object } = await job();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    pass(5000);
    must(await object.announced(null));
    await runDurableObjectAlarm(object);
    await settled(watcher.socket);
    expect(messages(watcher.waiting)).toBe(0);
  });

  it("is told by the alarm what time alone changes: a rate, and a node that is stuck with a unit", async () => {
    const of = await leasingJob(30, {
      heartbeatTimeoutSeconds: 3600,
      lostAfterSeconds: 36_000,
      units: { leaseSeconds: 3600 },
    });
    for (const name of ["a", "b", "c"]) {
      for (let n = 0; n < 4; n++) {
        const granted = await of.lease(name, 1);
        pass(300);
        await of.done(name, granted);
      }
    }
    await of.lease("c", 1);
    const watcher = await watch(seen, of.id, READER);
    expect((await watcher.next()).stragglers).toEqual([]);
    const until = Date.now() + 400_000;
    for (let rings = 0; rings < 60; rings++) {
      const at = (await alarmOf(of.job)) ?? Infinity;
      if (at > until) break;
      vi.setSystemTime(Math.max(at, Date.now()));
      await runDurableObjectAlarm(of.job);
    }
    await settled(watcher.socket);
    const told = watcher.waiting.filter((text) => text !== "pong").map((text) => JSON.parse(text) as WatchSummary);
    expect(told.some(({ rate }) => rate.unitsPerSecond > 0)).toBe(true);
    expect(told.at(-1)).toMatchObject({ stragglers: ["c"], rate: { unitsPerSecond: 0 } });
    must(await of.job.cancel());
  });

  it("is told that a node has fallen silent, by the alarm, and of the reads that the edge observes", async () => {
    const { id, job: object } = await watchedJob({ heartbeatTimeoutSeconds: 90, lostAfterSeconds: 900 });
    await object.heartbeat("node-0");
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    expect(await alarmOf(object)).toBe(Date.now() + 90_000);
    pass(90_000);
    await runDurableObjectAlarm(object);
    expect(await watcher.next()).toMatchObject({ state: "running", nodes: { silent: 1 } });
    await object.recordReading({ reader: "a", total: { ...emptyTally(), requests: 3, bytes: 10, hits: 3 } });
    expect(await alarmOf(object)).toBe(Date.now() + 1000);
    pass(1000);
    await runDurableObjectAlarm(object);
    expect(await watcher.next()).toMatchObject({ reads: { requests: 3, bytes: 10 } });
  });

  it.each([
    ["lost", { heartbeatTimeoutSeconds: 90, lostAfterSeconds: 90 }],
    ["expired", { heartbeatTimeoutSeconds: 3600, lostAfterSeconds: 3600 }],
  ])("is told that the job was %s, by the alarm", async (state, more) => {
    const { id, job: object } = await watchedJob({
      ...more,
      expiresAt: Date.now() + 90_000 + (state === "lost" ? 1 : 0),
    });
    await object.heartbeat("node-0");
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    pass(90_000);
    await runDurableObjectAlarm(object);
    expect(await watcher.next()).toMatchObject({ state });
    expect(await watcher.closed).toMatchObject({ code: 1000 });
    expect(await alarmOf(object)).toBeNull();
  });

  it("survives that the object is not in memory: hibernates, and is told of what happens then", async () => {
    const { id, job: object } = await job();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    await evictDurableObject(object);
    expect(await socketsOf(object)).toBe(1);
    pass(1000);
    await object.heartbeat("node-0");
    expect(await watcher.next()).toMatchObject({ state: "running" });
    // Between a change and the alarm that would tell of it.
    await object.heartbeat("node-1");
    await evictDurableObject(object);
    await object.settleMessage(0); // Which sets the alarm anew, by what is known of old.
    expect(await alarmOf(object)).toBeLessThanOrEqual(Date.now() + 1000);
    pass(1000);
    await runDurableObjectAlarm(object);
    expect(await watcher.next()).toMatchObject({ nodes: { heard: 2 } });
    await evictDurableObject(object);
    must(await object.cancel());
    expect(await watcher.next()).toMatchObject({ state: "cancelled" });
    expect(await watcher.closed).toMatchObject({ code: 1000 });
  });

  it("is answered a ping, and closed for anything else", async () => {
    const { id, job: object } = await job();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    await settled(watcher.socket);
    watcher.socket.send("hello");
    expect(await watcher.closed).toMatchObject({ code: 1008 });
    expect(await socketsOf(object)).toBe(0);
    const binary = await watch(seen, id, READER);
    binary.socket.send(new Uint8Array([1, 2, 3]));
    expect(await binary.closed).toMatchObject({ code: 1008 });
  });

  it("whose look at the job fails has it looked at again a second later, not without pause", async () => {
    const { id, job: object } = await watchedJob();
    const watcher = await watch(seen, id, READER);
    await watcher.next();
    await runInDurableObject(object, (_, { storage }) => storage.sql.exec("ALTER TABLE reading RENAME TO away"));
    pass(5000);
    must(await object.heartbeat("node-0"));
    expect(await alarmOf(object)).toBe(Date.now() + 1000);
    await runInDurableObject(object, (_, { storage }) => storage.sql.exec("ALTER TABLE away RENAME TO reading"));
    pass(1000);
    await runDurableObjectAlarm(object);
    expect(await watcher.next()).toMatchObject({ state: "running", nodes: { heard: 1 } });
  });

  it("that leaves is forgotten, and the others are told all the same; without any there is no alarm for them", async () => {
    const { id, job: object, spec } = await job();
    const [leaving, staying] = [await watch(seen, id, READER), await watch(seen, id, READER)];
    for (const each of [leaving, staying]) await each.next();
    leaving.socket.close(1001, "going");
    expect(await leaving.closed).toMatchObject({ code: 1000 });
    pass(1000);
    await object.heartbeat("node-0");
    expect(await staying.next()).toMatchObject({ state: "running" });
    expect(await socketsOf(object)).toBe(1);
    staying.socket.close();
    await staying.closed;
    await object.heartbeat("node-1");
    expect(await alarmOf(object)).toBe(Math.min(spec.expiresAt, Date.now() + 36_000_000));
  });

  it("of a hundred is one of all that a job may have: one more is refused, until one leaves", async () => {
    const { id } = await job();
    const watchers = await Promise.all(Array.from({ length: SOCKETS_MAX }, () => watch(seen, id, READER)));
    await Promise.all(watchers.map((each) => each.next()));
    const open = () => request(seen, `GET /v1/jobs/${id}/events`, undefined, READER, { upgrade: "websocket" });
    const refused = await open();
    expect(refused.webSocket).toBeNull();
    expect([refused.status, (await refused.json<{ code: string }>()).code]).toEqual([429, "too-many-watchers"]);
    watchers[0]?.socket.close();
    await watchers[0]?.closed;
    const more = await watch(seen, id, READER);
    expect(await more.next()).toMatchObject({ id });
    for (const { socket } of [more, ...watchers.slice(1)]) socket.close();
  });

  it("is opened by the job's own token, which never reaches the object, and by nobody without", async () => {
    const { id, job: object, spec } = await job();
    const fetched = vi.fn<(init: unknown) => void>();
    const watched = {
      ...seen,
      GPU_JOB: {
        getByName: (name: string) =>
          new Proxy(seen.GPU_JOB.getByName(name), {
            get(stub, property) {
              if (property !== "fetch") return Reflect.get(stub, property) as unknown;
              return (url: string, init: RequestInit) => {
                fetched([url, init]);
                return stub.fetch(url, init);
              };
            },
          }),
      } as unknown as Env["GPU_JOB"],
    };
    const token = await tokenOf(spec);
    const watcher = await watch(watched, id, token);
    await watcher.next();
    expect(JSON.stringify(fetched.mock.calls)).not.toContain(token);
    expect(fetched).toHaveBeenCalledTimes(1);
    for (const other of [LIMITED, "nobody", await tokenOf((await job()).spec)]) {
      await expect(watch(watched, id, other)).rejects.toThrow(/^40[13]: /);
    }
    expect(fetched).toHaveBeenCalledTimes(1);
    expect(await socketsOf(object)).toBe(1);
  });
});
