import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { METER_IDLE_SECONDS, READER_SILENCE_MAX_SECONDS, READINGS_FOLD_SECONDS } from "../../workers/core/limits.ts";
import { type Delta, ReadCounts, type Reading, type Unreported } from "../../workers/core/metering/read-counts.ts";
import { countRead, emptyTally, type ReadEvent, TALLY_FIELDS, type Tally } from "../../workers/core/metering/tally.ts";

const event = (more: Partial<ReadEvent> = {}): ReadEvent => ({
  ...{ datasetId: "ds_1", datasetName: "era5", job: "job_1", outcome: "hit", bytes: 10, status: 200 },
  ...more,
});

const newCounts = (max?: number) => {
  let readers = 0;
  const givenUp: Delta[] = [];
  const counts = new ReadCounts(
    () => `reader-${++readers}`,
    (lost) => givenUp.push(lost),
    max,
  );
  return { counts, givenUp };
};

const plus = (a: Tally, b: Tally): Tally => {
  const sum = { ...a };
  for (const field of TALLY_FIELDS) sum[field] += b[field];
  return sum;
};

/** A job as its Durable Object keeps it: the newest reading of each reader, and those silent for an hour in one. */
class Job {
  readonly rows = new Map<string, { total: Tally; at: number }>();
  folded = emptyTally();

  take({ reader, total }: Reading, now: number): void {
    const known = this.rows.get(reader);
    if (known === undefined || total.requests >= known.total.requests) this.rows.set(reader, { total, at: now });
  }

  fold(now: number): void {
    for (const [reader, { total, at }] of this.rows) {
      if (now - at <= READINGS_FOLD_SECONDS * 1000) continue;
      this.folded = plus(this.folded, total);
      this.rows.delete(reader);
    }
  }

  get total(): Tally {
    return [...this.rows.values()].reduce((sum, { total }) => plus(sum, total), this.folded);
  }
}

describe("a tally", () => {
  it("counts each answer once by where its bytes came from, errors among them, and bytes of objects alone", () => {
    const tally = emptyTally();
    countRead(tally, event());
    countRead(tally, event({ outcome: "miss", bytes: 7, status: 206 }));
    countRead(tally, event({ outcome: "bypass", bytes: 1 }));
    countRead(tally, event({ outcome: "none", bytes: 4096 }));
    countRead(tally, event({ outcome: "none", bytes: 300, status: 404 }));
    countRead(tally, event({ outcome: "none", bytes: 200, status: 503 }));
    expect(tally).toEqual({
      ...{ requests: 6, bytes: 18, hits: 1, misses: 1, bypasses: 1, none: 3, clientErrors: 1, serverErrors: 1 },
    });
  });
});

const anyEvent = fc.record({
  datasetId: fc.constant("ds_1"),
  datasetName: fc.constant("era5"),
  job: fc.constantFrom("job_1", "job_2", null),
  outcome: fc.constantFrom("hit" as const, "miss" as const, "bypass" as const, "none" as const),
  bytes: fc.nat(1_000_000),
  status: fc.constantFrom(200, 206, 304, 404, 503),
});

type Step =
  | { type: "read"; event: ReadEvent }
  /** What becomes of a report on its way. `late` ones arrive, out of order, at the end. */
  | { type: "report"; fate: "arrives" | "lost" | "answer-lost" | "late" }
  | { type: "pass"; seconds: number };

/** Runs an isolate against its jobs, and ends with a report that arrives. */
function run(steps: readonly Step[]) {
  const { counts } = newCounts();
  const jobs = new Map<string, Job>();
  const truth = new Map<string | null, Tally>();
  const analytics = new Map<string | null, Tally>();
  const late: Unreported[] = [];
  let now = 0;
  const deliver = ({ job, reading }: Unreported) => {
    const taken = jobs.get(job) ?? new Job();
    jobs.set(job, taken);
    taken.take(reading, now);
  };
  const report = (fate: "arrives" | "lost" | "answer-lost" | "late") => {
    for (const { job, tally } of counts.take(250)) analytics.set(job, plus(analytics.get(job) ?? emptyTally(), tally));
    for (const unreported of counts.unreported(now)) {
      if (fate === "late") late.push(unreported);
      if (fate === "arrives" || fate === "answer-lost") deliver(unreported);
      if (fate === "arrives") counts.acknowledge(unreported, now);
    }
    counts.forget(now);
  };
  for (const step of steps) {
    if (step.type === "read") {
      counts.count(step.event, now);
      const tally = truth.get(step.event.job) ?? emptyTally();
      truth.set(step.event.job, tally);
      countRead(tally, step.event);
    } else if (step.type === "report") report(step.fate);
    else {
      now += step.seconds * 1000;
      for (const job of jobs.values()) job.fold(now);
    }
  }
  report("arrives");
  for (const unreported of late.reverse()) deliver(unreported);
  return { truth, analytics, jobs, counts };
}

function expectExact({ truth, analytics, jobs }: ReturnType<typeof run>): void {
  expect(analytics).toEqual(truth);
  for (const [job, tally] of truth) if (job !== null) expect(jobs.get(job)?.total, job).toEqual(tally);
}

describe("the counts of an isolate that lives", () => {
  const read = anyEvent.map((of): Step => ({ type: "read", event: of }));
  const reports = (...fates: ("arrives" | "lost" | "answer-lost" | "late")[]) =>
    fc.constantFrom(...fates).map((fate): Step => ({ type: "report", fate }));
  const pass = (max: number) => fc.nat(max).map((seconds): Step => ({ type: "pass", seconds }));

  it("reach jobs and Analytics Engine exactly, however reports are lost, repeated, reordered or unanswered", () => {
    const steps = fc.array(fc.oneof(read, read, reports("arrives", "lost", "answer-lost", "late"), pass(20)), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (given) => expectExact(run(given))),
      { numRuns: 2000 },
    );
  });

  it("stay exact when hours pass between reports, reports are lost for hours, and jobs fold silent readers", () => {
    const steps = fc.array(fc.oneof(read, read, reports("arrives", "lost"), pass(2 * READINGS_FOLD_SECONDS)), {
      maxLength: 60,
    });
    fc.assert(
      fc.property(steps, (given) => expectExact(run(given))),
      { numRuns: 2000 },
    );
  });
});

describe("a reader", () => {
  const reportTo = (counts: ReadCounts, now: number): Reading[] =>
    counts.unreported(now).map((unreported) => {
      counts.acknowledge(unreported, now);
      return unreported.reading;
    });

  it("reports all that it has counted, each time, and nothing when nothing was added", () => {
    const { counts } = newCounts();
    counts.count(event(), 0);
    expect(reportTo(counts, 1)).toMatchObject([{ reader: "reader-1", total: { requests: 1, bytes: 10 } }]);
    expect(reportTo(counts, 2)).toEqual([]);
    counts.count(event(), 3);
    expect(reportTo(counts, 4)).toMatchObject([{ reader: "reader-1", total: { requests: 2, bytes: 20 } }]);
  });

  it("has nothing to report again when the answer to an older report comes last", () => {
    const { counts } = newCounts();
    counts.count(event(), 0);
    const older = counts.unreported(1);
    counts.count(event(), 2);
    for (const unreported of [...counts.unreported(3), ...older]) counts.acknowledge(unreported, 4);
    expect(counts.unreported(5)).toEqual([]);
  });

  it("takes another name after half an hour unheard, before its job may have folded it, and begins at zero", () => {
    const { counts } = newCounts();
    counts.count(event(), 0);
    reportTo(counts, 0);
    const [soon, late] = [READER_SILENCE_MAX_SECONDS * 1000, 2 * READER_SILENCE_MAX_SECONDS * 1000 + 1];
    counts.count(event(), soon);
    expect(reportTo(counts, soon)).toMatchObject([{ reader: "reader-1", total: { requests: 2 } }]);
    counts.count(event(), late);
    expect(reportTo(counts, late)).toMatchObject([{ reader: "reader-2", total: { requests: 1, bytes: 10 } }]);
    expect(late).toBeLessThanOrEqual(READINGS_FOLD_SECONDS * 1000 + 1);
  });

  it("is forgotten ten idle minutes after its last read, if job and Analytics Engine know all of it", () => {
    const { counts } = newCounts();
    const idle = METER_IDLE_SECONDS * 1000;
    counts.count(event(), 0);
    counts.take(250);
    counts.forget(idle);
    expect(counts.size).toBe(1);
    reportTo(counts, idle);
    counts.forget(idle - 1);
    expect(counts.size).toBe(1);
    counts.forget(idle);
    expect(counts.size).toBe(0);
    counts.count(event(), idle);
    expect(reportTo(counts, idle)).toMatchObject([{ reader: "reader-2", total: { requests: 1 } }]);
  });
});

describe("the number of jobs that an isolate counts for", () => {
  it("is bounded: what is reported makes room first", () => {
    const { counts, givenUp } = newCounts(4);
    for (let n = 0; n < 4; n++) counts.count(event({ job: `job_${n}` }), n);
    expect(counts.isCrowded).toBe(true);
    counts.take(250);
    for (const unreported of counts.unreported(4)) if (unreported.job !== "job_2") counts.acknowledge(unreported, 4);
    counts.count(event({ job: "job_4" }), 5);
    expect([counts.size, givenUp]).toEqual([2, []]);
    expect(counts.unreported(6).map(({ job }) => job)).toEqual(["job_2", "job_4"]);
  });

  it("is bounded though nothing can be reported: the oldest is given up, and somebody is told what it was", () => {
    const { counts, givenUp } = newCounts(4);
    for (let n = 0; n < 5; n++) counts.count(event({ job: `job_${n}` }), n);
    expect(counts.size).toBe(4);
    expect(givenUp).toMatchObject([{ job: "job_0", tally: { requests: 1, bytes: 10 } }]);
  });

  it("may be more than one invocation can write: the others are for the next", () => {
    const { counts } = newCounts();
    for (let n = 0; n < 300; n++) counts.count(event({ job: `job_${n}` }), n);
    const [first, second] = [counts.take(250), counts.take(250)];
    expect([first.length, second.length, counts.take(250).length]).toEqual([250, 50, 0]);
    expect(new Set([...first, ...second].map(({ job }) => job)).size).toBe(300);
  });
});
