import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { newId } from "../../workers/adapters/ids.ts";
import { Meter } from "../../workers/adapters/meter.ts";
import { jobOf } from "../../workers/adapters/objects.ts";
import { READINGS_FOLD_SECONDS } from "../../workers/core/limits.ts";
import type { Reading } from "../../workers/core/metering/read-counts.ts";
import { countRead, emptyTally, type ReadEvent, type Tally } from "../../workers/core/metering/tally.ts";
import { jobSpec, stubOf } from "./harness/job.ts";
import { must } from "./harness/run.ts";

async function createJob() {
  const spec = jobSpec();
  const job = stubOf(spec);
  must(await job.create(spec));
  const { id } = spec;
  return { id, job };
}
type Job = Awaited<ReturnType<typeof createJob>>["job"];

const readsOf = async (job: Job): Promise<Tally> => must(await job.status()).reads;
const rowsOf = (job: Job) =>
  runInDurableObject(job, (_, { storage }) =>
    storage.sql.exec<{ reader: string }>("SELECT reader FROM reading ORDER BY reader").toArray(),
  );
const tally = (requests: number): Tally => ({ ...emptyTally(), requests, hits: requests, bytes: 1000 * requests });
const reading = (reader: string, requests: number): Reading => ({ reader, total: tally(requests) });

describe("a job's reads", () => {
  it("are the sum over readers, and nothing before the first of them reports", async () => {
    const { job } = await createJob();
    expect(await readsOf(job)).toEqual(emptyTally());
    await job.recordReading(reading("a", 3));
    await job.recordReading(reading("b", 4));
    expect(await readsOf(job)).toEqual(tally(7));
  });

  it("do not change when a reading arrives twice, or after a newer one", async () => {
    const { job } = await createJob();
    for (const requests of [1, 5, 5, 3, 5, 1]) await job.recordReading(reading("a", requests));
    expect(await readsOf(job)).toEqual(tally(5));
  });

  it("keep every byte of a sum beyond 32 bits", async () => {
    const { job } = await createJob();
    const total = { ...tally(2), bytes: 5_497_558_138_880 };
    await job.recordReading({ reader: "a", total });
    await job.recordReading({ reader: "b", total });
    expect((await readsOf(job)).bytes).toBe(2 * 5_497_558_138_880);
  });

  it("survive the folding of readers that were silent for an hour, again and again, in one row", async () => {
    const { job } = await createJob();
    const pass = async () => {
      await runInDurableObject(job, (_, { storage }) => {
        storage.sql.exec(
          "UPDATE reading SET heard_at = heard_at - ? WHERE reader <> ''",
          READINGS_FOLD_SECONDS * 1000 + 1,
        );
      });
      await evictDurableObject(job); // It looks for the silent when it starts, and then every ten minutes.
    };
    for (const reader of ["a", "b", "c"]) await job.recordReading(reading(reader, 10));
    await pass();
    await job.recordReading(reading("d", 5));
    expect(await rowsOf(job)).toEqual([{ reader: "" }, { reader: "d" }]);
    expect(await readsOf(job)).toEqual(tally(35));
    await pass();
    await job.recordReading(reading("e", 1));
    expect(await rowsOf(job)).toEqual([{ reader: "" }, { reader: "e" }]);
    expect(await readsOf(job)).toEqual(tally(36));
    await evictDurableObject(job);
    await job.recordReading(reading("e", 2));
    expect(await rowsOf(job)).toEqual([{ reader: "" }, { reader: "e" }]);
    expect(await readsOf(job)).toEqual(tally(37));
  });

  it("are noted after its end too, for the last ones are reported then", async () => {
    const { job } = await createJob();
    await job.cancel();
    expect(await job.recordReading(reading("a", 3))).toEqual({ ok: true, value: null });
    expect(await readsOf(job)).toEqual(tally(3));
  });

  it("leave nothing behind where there is no such job", async () => {
    const job = jobOf(env, newId("job", Date.now()));
    expect(await job.recordReading(reading("a", 3))).toMatchObject({ ok: false, failure: { code: "unknown-job" } });
    expect(await rowsOf(job)).toEqual([]);
    expect(await runInDurableObject(job, (_, { storage }) => storage.getAlarm())).toBeNull();
  });
});

const OUTCOMES = ["hit", "miss", "bypass", "none"] as const;
/** The nth read of a job: every read is different, so that no two mistakes even out. */
const nth = (n: number, job: string | null): ReadEvent => ({
  ...{ datasetId: "ds_1", datasetName: "era5", job, outcome: OUTCOMES[n % 4] ?? "hit", bytes: 2 ** (n % 40) },
  status: n % 7 === 0 ? 404 : 206,
});
const truthOf = (reads: Iterable<ReadEvent>): Tally => {
  const truth = emptyTally();
  for (const read of reads) countRead(truth, read);
  return truth;
};
const reads = (from: number, to: number, job: string | null) =>
  Array.from({ length: to - from }, (_, i) => nth(from + i, job));

/** The environment of an installation: an interval between reports. */
const live: Env = { ...env, METER_FLUSH_SECONDS: 5 };

/** Counts without a timer that reports: the test does. */
const countAll = (meter: Meter, seen: Env, events: readonly ReadEvent[]) => {
  for (const event of events) meter.count(seen, event, () => undefined);
};

/** The environment in which reports fail as told, before they arrive or on their way back. */
const failing = (fate: () => "arrives" | "lost" | "answer-lost"): Env => ({
  ...live,
  GPU_JOB: {
    getByName: (name: string) => ({
      async recordReading(sent: Reading) {
        const becomes = fate();
        if (becomes === "lost") throw new Error("The object cannot be reached.");
        await jobOf(env, name).recordReading(sent);
        if (becomes === "answer-lost") throw new Error("The object was reset.");
      },
    }),
  } as unknown as Env["GPU_JOB"],
});

/** The environment whose Analytics Engine is this list. */
const written = (points: AnalyticsEngineDataPoint[]): Env => ({
  ...live,
  READS: { writeDataPoint: (point) => void points.push(point ?? {}) } satisfies Env["READS"],
});

// Timers stand still, so that reports happen when a test says so.
beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "Date"] }));
afterEach(() => void vi.useRealTimers());

describe("the meter of an isolate", () => {
  it("is exact over many reports of which most fail, before they arrive or on their way back", async () => {
    const { id, job } = await createJob();
    const other = await createJob();
    const meter = new Meter();
    let calls = 0;
    const fates = ["lost", "answer-lost", "lost", "arrives", "answer-lost"] as const;
    const seen = failing(() => fates[calls++ % fates.length] ?? "arrives");
    for (let flush = 0; flush < 40; flush++) {
      countAll(meter, seen, reads(flush * 25, (flush + 1) * 25, id));
      countAll(meter, seen, reads(flush * 3, (flush + 1) * 3, other.id));
      await meter.flush(seen);
    }
    expect(await meter.flush(env)).toBe(true);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 1000, id)));
    expect(await readsOf(other.job)).toEqual(truthOf(reads(0, 120, other.id)));
    expect([(await rowsOf(job)).length, (await rowsOf(other.job)).length]).toEqual([1, 1]);
  });

  it("is exact when two reports run at once, and reads go on meanwhile", async () => {
    const { id, job } = await createJob();
    const meter = new Meter();
    countAll(meter, live, reads(0, 10, id));
    const first = meter.flush(env);
    countAll(meter, live, reads(10, 20, id));
    const second = meter.flush(env);
    countAll(meter, live, reads(20, 30, id));
    expect(await Promise.all([first, second])).toEqual([true, true]);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 20, id)));
    await meter.flush(env);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 30, id)));
  });

  it("takes with it what was read since its last report, when it dies, and no more; the next isolate's adds up", async () => {
    const { id, job } = await createJob();
    const dies = new Meter();
    for (let flush = 0; flush < 5; flush++) {
      countAll(dies, live, reads(flush * 10, (flush + 1) * 10, id));
      await dies.flush(env);
    }
    countAll(dies, live, reads(50, 60, id));
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 50, id)));
    const next = new Meter();
    countAll(next, live, reads(60, 70, id));
    await next.flush(env);
    expect(await readsOf(job)).toEqual(truthOf([...reads(0, 50, id), ...reads(60, 70, id)]));
  });

  it("does not report a job that is not there a second time", async () => {
    const meter = new Meter();
    let calls = 0;
    const seen = failing(() => (calls++, "arrives"));
    countAll(meter, seen, reads(0, 10, newId("job", Date.now())));
    expect([await meter.flush(seen), await meter.flush(seen), calls]).toEqual([true, true, 1]);
  });

  it("writes each difference once to Analytics Engine: per dataset and job, and reads without a job too", async () => {
    const { id } = await createJob();
    const meter = new Meter();
    const points: AnalyticsEngineDataPoint[] = [];
    const seen = written(points);
    countAll(meter, seen, [...reads(0, 9, id), ...reads(0, 2, null)]);
    await meter.flush(seen);
    await meter.flush(seen);
    countAll(meter, seen, reads(9, 10, id));
    await meter.flush(seen);
    expect(points).toEqual(
      [
        { job: id, events: reads(0, 9, id) },
        { job: null, events: reads(0, 2, null) },
        { job: id, events: reads(9, 10, id) },
      ].map(({ job, events }) => ({
        indexes: ["ds_1"],
        blobs: ["era5", job ?? ""],
        doubles: Object.values(truthOf(events)),
      })),
    );
  });

  it("writes no more than 250 points in one invocation, and the others in the next", async () => {
    const meter = new Meter();
    const points: AnalyticsEngineDataPoint[] = [];
    const seen = written(points);
    for (let n = 0; n < 300; n++) countAll(meter, seen, [{ ...nth(n, null), datasetId: `ds_${n}` }]);
    await meter.flush(seen);
    expect(points).toHaveLength(250);
    await meter.flush(seen);
    expect(new Set(points.map(({ indexes }) => indexes?.[0])).size).toBe(300);
  });

  it("needs no Analytics Engine", async () => {
    const { id, job } = await createJob();
    const { READS: _, ...without } = live;
    const meter = new Meter();
    countAll(meter, without as Env, reads(0, 10, id));
    expect(await meter.flush(without as Env)).toBe(true);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 10, id)));
  });
});

describe("the timer of a meter", () => {
  const begun = () => {
    const works: Promise<unknown>[] = [];
    return { works, waitUntil: (work: Promise<unknown>) => void works.push(work) };
  };

  it("is started by the first of many reads, and reports after the interval though no other read comes", async () => {
    const { id, job } = await createJob();
    const meter = new Meter();
    const { works, waitUntil } = begun();
    for (const event of reads(0, 1000, id)) meter.count(live, event, waitUntil);
    expect(works).toHaveLength(1);
    vi.advanceTimersByTime(4999);
    expect(await readsOf(job)).toEqual(emptyTally());
    vi.advanceTimersByTime(1);
    await Promise.all(works);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 1000, id)));
    meter.count(live, nth(1000, id), waitUntil);
    expect(works).toHaveLength(2);
  });

  it("tries a report that failed once more, in the seconds that the request has left", async () => {
    const { id, job } = await createJob();
    let calls = 0;
    const flaky = failing(() => (calls++ === 0 ? "lost" : "arrives"));
    const meter = new Meter();
    const { works, waitUntil } = begun();
    for (const event of reads(0, 10, id)) meter.count(flaky, event, waitUntil);
    await vi.advanceTimersByTimeAsync(20_000);
    await Promise.all(works);
    expect([works.length, calls]).toEqual([1, 2]);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 10, id)));
  });

  it("that died with its request is started again by a read three intervals later, and nothing was lost", async () => {
    const { id, job } = await createJob();
    const meter = new Meter();
    const { works, waitUntil } = begun();
    const from = Date.now();
    meter.count(live, nth(0, id), () => undefined);
    vi.clearAllTimers(); // The runtime ended the request that owned it.
    vi.setSystemTime(from + 14_999);
    meter.count(live, nth(1, id), waitUntil);
    expect(works).toHaveLength(0);
    vi.setSystemTime(from + 15_000);
    meter.count(live, nth(2, id), waitUntil);
    meter.count(live, nth(3, id), waitUntil);
    expect(works).toHaveLength(1);
    vi.advanceTimersByTime(5000);
    await Promise.all(works);
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 4, id)));
  });

  it("hurries when there are too many jobs to wait for it", () => {
    const meter = new Meter();
    const { works, waitUntil } = begun();
    for (let n = 0; n <= 5000; n++) meter.count(live, nth(n, `job_${n}`), waitUntil);
    expect(works).toHaveLength(2);
    meter.count(live, nth(1, "job_1"), waitUntil);
    expect(works).toHaveLength(2);
    vi.clearAllTimers();
  });

  it("does not wait where the interval is zero: each read is reported behind its answer", async () => {
    const { id, job } = await createJob();
    const meter = new Meter();
    for (const event of reads(0, 3, id)) {
      const { works, waitUntil } = begun();
      meter.count({ ...live, METER_FLUSH_SECONDS: 0 }, event, waitUntil);
      expect(works).toHaveLength(1);
      vi.advanceTimersByTime(0);
      await Promise.all(works);
    }
    expect(await readsOf(job)).toEqual(truthOf(reads(0, 3, id)));
  });
});
