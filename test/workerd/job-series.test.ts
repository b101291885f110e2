import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { SeriesView } from "../../durable-objects/gpu-job/series.ts";
import { newId } from "../../workers/adapters/ids.ts";
import { METRIC_NAMES_MAX } from "../../workers/core/jobs/series.ts";
import { METRICS_MAX, SERIES_SLOTS_MAX } from "../../workers/core/limits.ts";
import { ADMIN, api, apiTokens, LIMITED, READER } from "./harness/api.ts";
import { must } from "./harness/run.ts";
import { envWith } from "./harness/source.ts";
import { pass, tokenOf, watchedJob, type WatchedJob } from "./harness/watched.ts";

const DAY = 86_400_000;
let seen: Env;

beforeAll(async () => {
  seen = envWith("plain", await apiTokens("other"));
});
// Times that are even tens of seconds, so that slots begin where the tests say.
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"], now: 1_800_000_000_000 }));
afterEach(() => void vi.useRealTimers());

/** A job whose nodes may be silent for as long as a test likes. */
const patient = () => {
  const day = DAY / 1000;
  return watchedJob({ heartbeatTimeoutSeconds: day, lostAfterSeconds: 30 * day, expiresAt: Date.now() + 30 * DAY });
};
const slotsOf = (job: WatchedJob) =>
  runInDurableObject(job, (_, { storage }) =>
    storage.sql.exec<{ slot: number; said: string }>("SELECT slot, said FROM series_slot ORDER BY slot").toArray(),
  );
const named = (count: number, of = "m") =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`${of}${n}`, n] as const));
const seriesOf = async (id: string, query = "") => {
  const { status, body } = await api<SeriesView>(seen, `GET /v1/jobs/${id}/series${query}`, undefined, READER);
  expect(status).toBe(200);
  return body;
};
const beat = async (spec: Parameters<typeof tokenOf>[0], body: object) =>
  api(seen, `POST /v1/jobs/${spec.id}/heartbeat`, body, await tokenOf(spec));

describe("GET /v1/jobs/:id/series", () => {
  it("has a point for each slot of time, summed over nodes", async () => {
    const { id, job } = await patient();
    const startedAt = Date.now();
    await job.heartbeat("node-0", { step: 1, epoch: 0, loss: 4, metrics: { "grad/norm": 0.5 } });
    await job.heartbeat("node-1", { step: 3, loss: 1 });
    pass(25_000);
    await job.heartbeat("node-0", { step: 9, loss: null });
    const at = (ms: number) => new Date(startedAt + ms).toISOString();
    expect(await seriesOf(id)).toEqual({
      slotSeconds: 10,
      startedAt: at(0),
      series: {
        step: [
          { at: at(0), count: 2, mean: 2, least: 1, most: 3, last: 3 },
          { at: at(20_000), count: 1, mean: 9, least: 9, most: 9, last: 9 },
        ],
        epoch: [{ at: at(0), count: 1, mean: 0, least: 0, most: 0, last: 0 }],
        loss: [{ at: at(0), count: 2, mean: 2.5, least: 1, most: 4, last: 1 }],
        "grad/norm": [{ at: at(0), count: 1, mean: 0.5, least: 0.5, most: 0.5, last: 0.5 }],
      },
    });
    const { series } = await seriesOf(id, "?names=epoch,nothing");
    expect(Object.fromEntries(Object.entries(series).map(([name, points]) => [name, points.length]))).toEqual({
      epoch: 1,
      nothing: 0,
    });
  });

  it("is empty before anything was said, though nodes were heard", async () => {
    const { id, job } = await patient();
    await job.heartbeat("node-0");
    const nothing = { slotSeconds: 10, startedAt: null };
    expect(await seriesOf(id)).toEqual({ ...nothing, series: {} });
    expect(await seriesOf(id, "?names=loss")).toEqual({ ...nothing, series: { loss: [] } });
  });

  it("covers a whole job in 512 slots: they double and keep every count and sum, also of an object evicted between", async () => {
    const { id, job } = await patient();
    let [beats, sum, most] = [0, 0, 0];
    // Heartbeats that come closer at first, over seven days.
    for (let elapsed = 0; elapsed < 7 * DAY; elapsed = Math.ceil(elapsed * 1.01) + 5000) {
      vi.setSystemTime(1_800_000_000_000 + elapsed);
      beats += 1;
      sum += beats;
      most = Math.max(most, beats);
      must(await job.heartbeat("node-0", { step: beats, loss: -beats }));
      if (beats % 100 === 0) await evictDurableObject(job);
    }
    expect(beats).toBeGreaterThan(SERIES_SLOTS_MAX);
    const slots = await slotsOf(job);
    expect(slots.length).toBeLessThanOrEqual(SERIES_SLOTS_MAX);
    expect(slots.at(-1)?.slot).toBeLessThan(SERIES_SLOTS_MAX);
    const { slotSeconds, series } = await seriesOf(id);
    expect(slotSeconds).toBe(1280);
    const { step = [], loss = [] } = series;
    const count = step.reduce((all, point) => all + point.count, 0);
    const total = step.reduce((all, point) => all + point.mean * point.count, 0);
    expect([count, Math.round(total), step[0]?.least, step.at(-1)?.most, step.at(-1)?.last]).toEqual([
      beats,
      sum,
      1,
      most,
      beats,
    ]);
    expect([loss[0]?.most, loss.at(-1)?.least]).toEqual([-1, -beats]);
  });

  it("of the most names in the most slots still fits one answer", async () => {
    const { id, job } = await patient();
    for (const of of ["a", "b"]) await job.heartbeat("node-0", { step: 1, epoch: 1, loss: 1, metrics: named(30, of) });
    await runInDurableObject(job, (_, { storage }) => {
      for (let slot = 1; slot < SERIES_SLOTS_MAX; slot++) {
        storage.sql.exec("INSERT INTO series_slot SELECT ?, said FROM series_slot WHERE slot = 0", slot);
      }
    });
    const { series } = await seriesOf(id);
    expect(Object.values(series).map(({ length }) => length)).toEqual(Array(63).fill(SERIES_SLOTS_MAX));
    // What is twice as wide is one transaction too.
    pass(SERIES_SLOTS_MAX * 10_000);
    must(await job.heartbeat("node-0", { loss: 1 }));
    expect((await slotsOf(job)).length).toBe(SERIES_SLOTS_MAX / 2 + 1);
  });

  it("stays when the job has ended, and takes nothing more", async () => {
    const { id, job, spec } = await patient();
    await job.heartbeat("node-0", { loss: 1 });
    await job.cancel();
    const before = await seriesOf(id);
    expect((await beat(spec, { node: "node-0", loss: 2 })).body).toMatchObject({ code: "job-ended" });
    expect(await seriesOf(id)).toEqual(before);
  });

  it("refuses names that none can have, and who may not read the dataset", async () => {
    const { id, spec } = await patient();
    const get = (path: string, token = ADMIN) => api(seen, `GET /v1/jobs/${path}`, undefined, token);
    expect(await get(`${id}/series?names=a%20b`)).toMatchObject({ status: 400, body: { field: "names.0" } });
    expect(await get(`${id}/series?names=`)).toMatchObject({ status: 400 });
    expect(await get(`${id}/series?name=loss`)).toMatchObject({ status: 400, body: { field: "name" } });
    expect(await get(`${newId("job", Date.now())}/series`)).toMatchObject({ body: { code: "unknown-job" } });
    expect(await get("nobody/series")).toMatchObject({ body: { code: "unknown-job" } });
    expect(await get(`${id}/series`, LIMITED)).toMatchObject({ status: 403, body: { code: "out-of-scope" } });
    expect(await get(`${id}/series`, await tokenOf(spec))).toMatchObject({ status: 401 });
  });
});

describe("POST /v1/jobs/:id/heartbeat", () => {
  it("answers with the state and the epoch of the job", async () => {
    const { id, spec } = await patient();
    const answer = await beat(spec, { node: "node-0", step: 10, epoch: 1, loss: 0.25, metrics: { lr: 1e-4 } });
    expect(answer).toMatchObject({ status: 200, body: { id, state: "running", epoch: 0 } });
    expect(Object.keys(answer.body).sort()).toEqual(["epoch", "id", "serverTime", "state"]);
  });

  it.each([
    ["a step that is not whole", { step: 1.5 }, "step"],
    ["a step below nothing", { step: -1 }, "step"],
    ["an epoch that is text", { epoch: "1" }, "epoch"],
    ["a loss that is text", { loss: "NaN" }, "loss"],
    ["a metric that is null", { metrics: { a: null } }, "metrics.a"],
    ["a metric of a name that is too long", { metrics: { ["a".repeat(65)]: 1 } }, `metrics.${"a".repeat(65)}`],
    ["a metric of a name with a space", { metrics: { "a b": 1 } }, "metrics.a b"],
    ["a metric called loss", { metrics: { loss: 1 } }, "metrics.loss"],
    ["a metric too many", { metrics: named(METRICS_MAX + 1) }, "metrics"],
    ["a field that there is not", { metric: 1 }, "metric"],
  ])("refuses %s, and changes nothing", async (_, more, field) => {
    const { job, spec } = await patient();
    const before = await job.status();
    const answer = await beat(spec, { node: "node-0", ...more });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid-body", field } });
    expect(answer.body["detail"]).not.toContain("Invalid key");
    expect(await job.status()).toEqual(before);
    expect(await slotsOf(job)).toEqual([]);
  });

  it("refuses a number beyond all numbers, which JSON can write", async () => {
    const { spec, job } = await patient();
    const init = { authorization: `Bearer ${await tokenOf(spec)}`, "content-type": "application/json" };
    const { default: worker } = await import("../../workers/index.ts");
    const { createExecutionContext } = await import("cloudflare:test");
    const body = '{"node":"n","loss":1e999}';
    const url = `https://penstock.example/v1/jobs/${spec.id}/heartbeat`;
    const sent = new Request<unknown, IncomingRequestCfProperties>(url, { method: "POST", headers: init, body });
    const response = await worker.fetch(sent, seen, createExecutionContext());
    expect([response.status, (await response.json<{ field: string }>()).field]).toEqual([400, "loss"]);
    expect(await slotsOf(job)).toEqual([]);
  });

  it("leaves out names beyond those that a job may have, and says which; all else is heard, its own names always", async () => {
    const { id, job, spec } = await patient();
    for (let first = 0; first < METRIC_NAMES_MAX; first += METRICS_MAX) {
      const metrics = named(Math.min(METRICS_MAX, METRIC_NAMES_MAX - first), `m${first}-`);
      expect(must(await job.heartbeat("node-0", { metrics }))).not.toHaveProperty("dropped");
    }
    const before = await slotsOf(job);
    const only = await beat(spec, { node: "node-1", metrics: { "one/more": 2 } });
    expect(only).toMatchObject({ status: 200, body: { state: "running", dropped: ["one/more"] } });
    expect(await slotsOf(job)).toEqual(before);
    const metrics = { "one/more": 2, "m0-1": 7, constructor: 1 };
    const answer = await beat(spec, { node: "node-2", step: 1, epoch: 1, loss: 1, metrics });
    expect(answer).toMatchObject({ status: 200, body: { dropped: ["one/more", "constructor"] } });
    const { nodes } = must(await job.status());
    expect(nodes.map(({ name, step }) => [name, step])).toEqual([
      ["node-0", null],
      ["node-1", null],
      ["node-2", 1],
    ]);
    const { series } = await seriesOf(id);
    expect(Object.keys(series)).toHaveLength(METRIC_NAMES_MAX + 3);
    expect(series["m0-1"]?.at(-1)?.last).toBe(7);
  });

  it("takes the largest numbers there are, and their sum is one", async () => {
    const { id, job } = await patient();
    for (const loss of [1.7e308, 1.7e308]) must(await job.heartbeat("node-0", { loss }));
    const [point] = (await seriesOf(id)).series["loss"] ?? [];
    expect(point?.count).toBe(2);
    expect(point?.mean).toBeGreaterThan(1e307);
  });

  it("is heard while the job is being finished", async () => {
    const { id, job, spec } = await patient();
    await job.heartbeat("node-0", { loss: 1 });
    must(await job.beginFinish("done"));
    const answer = await beat(spec, { node: "node-0", loss: 2 });
    expect(answer).toMatchObject({ status: 200, body: { state: "finishing" } });
    expect((await seriesOf(id, "?names=loss")).series["loss"]?.[0]).toMatchObject({ count: 2 });
  });
});
