import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Holding } from "../../workers/core/pressure/holding.ts";
import {
  hear,
  type Heard,
  inForce,
  isWorthWriting,
  type Learnt,
  NOTHING_LEARNT,
} from "../../workers/core/pressure/learn.ts";
import { grantLease, newSourceState, type SourceState } from "../../workers/core/pressure/lease.ts";
import { type Limits, PRESETS } from "../../workers/core/pressure/limits.ts";

const heard = (more: Partial<Heard>): Heard => ({
  ...{ ok: 0, throttled: 0, timedOut: 0, since: 0, retryAfterSeconds: null },
  ...more,
});

describe("what a source teaches", () => {
  it("is halved by a refusal, or by silence, and a burst of them counts once", () => {
    const once = hear(NOTHING_LEARNT, heard({ throttled: 40 }), 1000);
    expect(once.share).toBe(0.5);
    // Later words of requests that began before.
    expect(hear(once, heard({ throttled: 200, timedOut: 3 }), 61_000).share).toBe(0.5);
    expect(hear(once, heard({ timedOut: 1, since: once.loweredAt }), 61_000).share).toBe(0.25);
  });

  it("is raised by a hundredth for each second of clean work, however many tell of it", () => {
    let learnt: Learnt = hear(NOTHING_LEARNT, heard({ throttled: 1 }), 0);
    for (let now = 100; now <= 10_000; now += 100) learnt = hear(learnt, heard({ ok: 50 }), now);
    expect(learnt.share).toBeCloseTo(0.6);
  });

  it("is not raised by time in which nobody worked", () => {
    const low = hear(NOTHING_LEARNT, heard({ throttled: 1 }), 0);
    expect(hear(low, heard({}), 3_600_000).share).toBe(0.5);
    expect(hear(low, heard({ ok: 1 }), 3_600_000).share).toBe(0.51);
  });

  it("is a pause where the source says for how long, of five minutes at most", () => {
    const paused = hear(NOTHING_LEARNT, heard({ throttled: 1, retryAfterSeconds: 10 }), 1000);
    expect(paused.pausedUntil).toBe(11_000);
    expect(hear(paused, heard({ ok: 1 }), 2000).pausedUntil).toBe(11_000);
    expect(hear(paused, heard({ throttled: 1, retryAfterSeconds: 1e9 }), 2000).pausedUntil).toBe(302_000);
  });

  it("is never above the limits and never below a fiftieth of them, nor less than one of anything", () => {
    const report = fc.record({
      ok: fc.nat(50),
      throttled: fc.constantFrom(0, 0, 3),
      timedOut: fc.constantFrom(0, 0, 0, 1),
      isLate: fc.boolean(),
      ms: fc.integer({ min: 0, max: 5000 }),
    });
    const limit = (max: number) => fc.option(fc.integer({ min: 1, max }), { nil: null });
    const limits = fc.record({
      requestsPerSecond: limit(10_000),
      bytesPerSecond: limit(1e9),
      connections: limit(500),
    });
    fc.assert(
      fc.property(limits, fc.array(report, { maxLength: 80 }), (configured, reports) => {
        let learnt = NOTHING_LEARNT;
        let now = 1000;
        for (const { isLate, ms, ...more } of reports) {
          now += ms;
          learnt = hear(learnt, heard({ ...more, since: isLate ? 0 : learnt.loweredAt }), now);
          const force = inForce(configured, learnt);
          for (const name of ["requestsPerSecond", "bytesPerSecond", "connections"] as const) {
            const [most, now_] = [configured[name], force[name]];
            if (most === null) expect(now_).toBeNull();
            else {
              expect(now_).toBeLessThanOrEqual(most);
              expect(now_).toBeGreaterThanOrEqual(Math.max(1, Math.floor(most / 50)));
            }
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is written when it has changed by much, and at most once a minute", () => {
    const low = { ...NOTHING_LEARNT, share: 0.5 };
    expect(isWorthWriting(low, NOTHING_LEARNT, 0, 60_000)).toBe(true);
    expect(isWorthWriting(low, NOTHING_LEARNT, 0, 59_999)).toBe(false);
    expect(isWorthWriting({ ...low, share: 0.6 }, low, 0, 600_000)).toBe(false);
    expect(isWorthWriting(NOTHING_LEARNT, { ...low, share: 0.9 }, 0, 600_000)).toBe(true);
    expect(isWorthWriting({ ...low, pausedUntil: 30_000 }, low, 0, 1000)).toBe(true);
  });
});

/** Milliseconds of the simulation's clock. */
const TICK = 10;
const LATENCY = 50;
const ANSWER = 20;

/**
 * Isolates with workers that ask a source all the time, through their holdings and one limiter. The source takes
 * `bears(now)` requests in any second, and refuses what is more.
 */
function simulate(limits: Limits, isolates: number, workers: number, seconds: number, bears: (now: number) => number) {
  let state: SourceState = newSourceState(NOTHING_LEARNT);
  const all = Array.from({ length: isolates }, (_, i) => ({
    holding: new Holding(`isolate-${i}`, limits),
    busyUntil: Array.from({ length: workers }, () => 0),
    answerAt: null as number | null,
    deliver: (): void => undefined,
  }));
  const taken: number[] = [];
  const refused: number[] = [];
  let lately = 0;
  for (let now = 0; now < seconds * 1000; now += TICK) {
    for (const isolate of all) {
      const { holding } = isolate;
      if (isolate.answerAt !== null && now >= isolate.answerAt) {
        isolate.deliver();
        isolate.answerAt = null;
      }
      let waiting = 0;
      for (const [worker, busyUntil] of isolate.busyUntil.entries()) {
        if (now < busyUntil) continue;
        const entry = holding.take(now);
        if (entry === null) {
          waiting++;
          continue;
        }
        while ((taken[lately] ?? now) <= now - 1000) lately++;
        const isTaken = taken.length - lately < bears(now);
        if (isTaken) taken.push(now);
        else refused.push(now);
        holding.hear(entry, isTaken ? "ok" : "throttled", null, now);
        holding.release(entry);
        isolate.busyUntil[worker] = now + LATENCY;
      }
      if (isolate.answerAt === null && holding.isDue(now, waiting)) {
        const { ask, heard: told } = holding.ask(now, waiting);
        const granted = grantLease(state, limits, ask, told, now);
        ({ state } = granted);
        isolate.answerAt = now + ANSWER;
        isolate.deliver = () => holding.receive(granted.lease, isolate.answerAt ?? 0);
      }
    }
  }
  /** Requests a second, from one second to another. */
  const rateOf = (times: readonly number[]) => (from: number, to: number) =>
    times.filter((at) => at >= from * 1000 && at < to * 1000).length / (to - from);
  return { taken: rateOf(taken), refused: rateOf(refused), share: state.learnt.share };
}

const BODY_TICK = 250;

/** As `simulate`, without refusals: of bodies that take a second each, however large. Returns bytes a second. */
function simulateBodies(bytesPerSecond: number, bodyBytes: number, isolates: number, seconds: number): number {
  const limits: Limits = { requestsPerSecond: null, bytesPerSecond, connections: null };
  let state: SourceState = newSourceState(NOTHING_LEARNT);
  let bytes = 0;
  const all = Array.from({ length: isolates }, (_, i) => ({
    holding: new Holding(`isolate-${i}`, limits),
    busyUntil: 0,
    answerAt: null as number | null,
    deliver: (): void => undefined,
  }));
  for (let now = 0; now < seconds * 1000; now += BODY_TICK) {
    for (const isolate of all) {
      const { holding } = isolate;
      if (isolate.answerAt !== null && now >= isolate.answerAt) {
        isolate.deliver();
        isolate.answerAt = null;
      }
      const entry = now < isolate.busyUntil ? null : holding.take(now);
      if (entry !== null) {
        holding.charge(entry, bodyBytes);
        bytes += bodyBytes;
        isolate.busyUntil = now + 1000;
      }
      if (isolate.answerAt === null && holding.isDue(now, entry === null ? 1 : 0)) {
        const { ask, heard: told } = holding.ask(now, 0);
        const granted = grantLease(state, limits, ask, told, now);
        ({ state } = granted);
        isolate.answerAt = now + BODY_TICK;
        isolate.deliver = () => holding.receive(granted.lease, isolate.answerAt ?? 0);
      }
    }
  }
  return bytes / seconds;
}

describe("a limit of bytes", () => {
  it.each([
    [125e6, 5e9, 20],
    [10e6, 5e9, 4],
    [125e6, 64e6, 20],
  ])(
    "of %d a second holds for bodies of %d, by %d isolates: every one of them is paid for",
    (limit, body, isolates) => {
      // Each isolate has one body before it has paid for any: a fifth of what is paid for meanwhile.
      const seconds = (5 * isolates * body) / limit;
      const rate = simulateBodies(limit, body, isolates, seconds);
      expect(rate).toBeLessThanOrEqual(limit * 1.25);
      expect(rate).toBeGreaterThan(limit * 0.9);
    },
  );

  it("holds what a reader took who could not wait against others for five minutes at most", () => {
    const holding = new Holding("reader", { requestsPerSecond: null, bytesPerSecond: 1000, connections: null });
    holding.charge(holding.force(0), 1e12);
    expect(holding.ask(0, 0).ask.bytes.left).toBe(-1024 * 1024);
  });
});

describe("a source that refuses what is above a rate that nobody was told", () => {
  it("is asked at near that rate, and refuses few", () => {
    const { taken, refused } = simulate({ ...PRESETS.s3 }, 4, 30, 120, () => 300);
    expect(taken(20, 120)).toBeGreaterThan(300 * 0.6);
    expect(refused(20, 120)).toBeLessThan(taken(20, 120) * 0.05);
  });

  it("is asked at its limit while it bears that, and not for more", () => {
    const { taken, refused, share } = simulate({ ...PRESETS.s3, requestsPerSecond: 200 }, 4, 30, 30, () => 10_000);
    expect(refused(0, 30)).toBe(0);
    expect(share).toBe(1);
    expect(taken(5, 30)).toBeGreaterThan(200 * 0.95);
    expect(taken(5, 30)).toBeLessThanOrEqual(201);
  });

  it("that gets well is asked for all again within two minutes", () => {
    const { taken, share } = simulate({ ...PRESETS.s3 }, 4, 30, 160, (now) => (now < 30_000 ? 100 : 10_000));
    expect(taken(10, 30)).toBeLessThanOrEqual(100);
    expect(share).toBe(1);
    expect(taken(150, 160)).toBeGreaterThan(950);
  });
});
