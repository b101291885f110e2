import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { classify } from "../../workers/adapters/s3-answers.ts";
import { SourcePressure } from "../../workers/adapters/source-pressure.ts";
import { withPressure } from "../../workers/adapters/with-pressure.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { formatHttpDate } from "../../workers/core/http/date.ts";
import { type Heard, NOTHING_LEARNT } from "../../workers/core/pressure/learn.ts";
import {
  type Ask,
  grantLease,
  type Lease,
  newSourceState,
  type SourceState,
} from "../../workers/core/pressure/lease.ts";
import type { Limits } from "../../workers/core/pressure/limits.ts";

const NO_LIMITS: Limits = { requestsPerSecond: null, bytesPerSecond: null, connections: null };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

const isWaiting = async (request: Promise<unknown>): Promise<boolean> =>
  (await Promise.race([request, Promise.resolve(WAITS)])) === WAITS;
const WAITS = Symbol("waits");

const noTimer = () => 0 as unknown as ReturnType<typeof setTimeout>;

/** A limiter that answers after `answersAfter` milliseconds, and an isolate that asks it. */
function isolate(limits: Partial<Limits>, answersAfter = 5) {
  const configured = { ...NO_LIMITS, ...limits };
  let state: SourceState = newSourceState(NOTHING_LEARNT);
  const calls: { ask: Ask; heard: Heard }[] = [];
  const kept: Promise<void>[] = [];
  const limiter = { limits: configured, fails: false, hangs: false };
  const lease = async (ask: Ask, heard: Heard): Promise<Lease> => {
    calls.push({ ask, heard });
    if (limiter.hangs) return new Promise<Lease>(() => undefined);
    await new Promise((done) => setTimeout(done, answersAfter));
    if (limiter.fails) throw new Error("The limiter is down.");
    const granted = grantLease(state, limiter.limits, ask, heard, Date.now());
    ({ state } = granted);
    return granted.lease;
  };
  const pressure = new SourcePressure(configured, lease, (work) => kept.push(work));
  /** Begins a request; resolves when it is let through, to the milliseconds that took, or the code of the refusal. */
  const begin = async (purpose: "reading" | "copying"): Promise<number | string> => {
    const beganAt = Date.now();
    if (pressure.enter(purpose) !== null) return 0;
    const waited = await pressure.wait(purpose);
    return waited.ok ? Date.now() - beganAt : waited.failure.code;
  };
  return { pressure, calls, kept, limiter, begin };
}

/** A request whose answer never comes. */
const hanging = (pressure: SourcePressure) =>
  withPressure({ head: () => new Promise<never>(() => undefined) }, pressure, "copying").head();

const slowDown = (retryAfterSeconds?: number) =>
  failure("source-throttled", "SlowDown", retryAfterSeconds === undefined ? {} : { retryAfterSeconds });

describe("the requests of an isolate", () => {
  it("share one call for a lease, and need no more while its tokens last", async () => {
    const { begin, calls } = isolate({ requestsPerSecond: 1000 });
    const first = Promise.all(Array.from({ length: 40 }, () => begin("copying")));
    await pass(5);
    expect(await first).toEqual(Array.from({ length: 40 }, () => 5));
    expect(calls).toHaveLength(1);
    expect(await begin("copying")).toBe(0);
    expect(calls).toHaveLength(1);
  });

  it("have the platform keep the one that asks alive until the lease has come, though its client has its answer", async () => {
    const { begin, kept } = isolate({ requestsPerSecond: 1000 });
    await begin("reading");
    expect(kept).toHaveLength(1);
    expect(await isWaiting(kept[0] as Promise<void>)).toBe(true);
    await pass(5);
    expect(await isWaiting(kept[0] as Promise<void>)).toBe(false);
    expect(await begin("copying")).toBe(0);
  });

  it("are let through in the order in which they came", async () => {
    const { begin } = isolate({ requestsPerSecond: 10 });
    const order: number[] = [];
    const all = Promise.all(Array.from({ length: 30 }, async (_, i) => begin("copying").then(() => order.push(i))));
    await pass(5000);
    await all;
    expect(order).toEqual(Array.from({ length: 30 }, (_, i) => i));
  });

  it("at work all the time ask for a lease about once a second, before it is spent", async () => {
    const { begin, calls } = isolate({ requestsPerSecond: 2000 });
    const waits: (number | string)[] = [];
    // 500 a second for four seconds.
    for (let n = 0; n < 200; n++) {
      const ten = Array.from({ length: 10 }, () => begin("copying"));
      await pass(20);
      waits.push(...(await Promise.all(ten)));
    }
    expect(calls.length).toBeLessThan(16);
    expect(waits.slice(200).filter((ms) => ms !== 0)).toEqual([]);
  });

  it("without limits go at once, and are told of every two seconds", async () => {
    const { begin, calls, pressure } = isolate({});
    for (let n = 0; n < 1000; n++) {
      expect(await begin("copying")).toBe(0);
      await pass(10);
    }
    expect(calls.length).toBeLessThanOrEqual(6);
    expect(pressure.enter("copying")).not.toBeNull();
  });

  it("without limits are held to them within two seconds after somebody has set some", async () => {
    const { begin, limiter } = isolate({});
    await begin("copying");
    await pass(10);
    limiter.limits = { ...NO_LIMITS, requestsPerSecond: 5 };
    await pass(2000);
    await begin("copying"); // Tells, and is told.
    await pass(10);
    let passed = 0;
    for (let n = 0; n < 100; n++) void begin("copying").then(() => passed++);
    await pass(1000);
    expect(passed).toBeLessThanOrEqual(12);
  });
});

describe("a copy", () => {
  it("waits for a minute, and is then refused, for its consumer lives for fifteen", async () => {
    const { pressure, begin } = isolate({ connections: 1 });
    void hanging(pressure);
    const second = begin("copying");
    await pass(59_000);
    expect(await isWaiting(second)).toBe(true);
    await pass(2000);
    expect(await second).toBe("source-limited");
  });

  it("goes on when a connection is free", async () => {
    const { pressure, begin } = isolate({ connections: 1 });
    const first = pressure.wait("copying");
    await pass(10);
    const entered = await first;
    if (!entered.ok) throw new Error(entered.failure.detail);
    const second = begin("copying");
    await pass(700);
    expect(await isWaiting(second)).toBe(true);
    pressure.release(entered.value);
    expect(await second).toBe(700);
  });

  it("waits for bytes that others took to be paid for", async () => {
    const { pressure, begin } = isolate({ bytesPerSecond: 1_000_000 });
    const first = pressure.wait("copying");
    await pass(10);
    const entered = await first;
    if (!entered.ok) throw new Error(entered.failure.detail);
    pressure.charge(entered.value, 6_000_000);
    const second = begin("copying");
    await pass(4000);
    expect(await isWaiting(second)).toBe(true);
    await pass(2000);
    expect(await second).toBeGreaterThan(4000);
  });

  it("that would wait longer than a minute for a source that asked for it is refused at once, and told until when", async () => {
    const { pressure, begin, calls } = isolate({});
    const entry = pressure.enter("copying");
    if (entry === null) throw new Error("It was not let through.");
    await pass(10);
    pressure.hear(entry, slowDown(120));
    await pass(10);
    expect(calls.at(-1)?.heard).toMatchObject({ throttled: 1, retryAfterSeconds: 120 });
    expect(await pressure.wait("copying")).toMatchObject({
      ok: false,
      failure: { code: "source-throttled", retryAfterSeconds: 120 },
    });
    await pass(90_000);
    const patient = begin("copying");
    await pass(31_000);
    expect(await patient).toBeGreaterThan(29_000);
  });

  it("does not wait behind one whose request was cut off", async () => {
    const { pressure, begin } = isolate({ requestsPerSecond: 1 });
    await pass(0);
    // A request that is cut off looks no more: its timers die with it.
    const spy = vi.spyOn(globalThis, "setTimeout").mockImplementation(noTimer);
    void pressure.wait("copying");
    void pressure.wait("copying");
    spy.mockRestore();
    await pass(5000);
    const live = begin("copying");
    await pass(3000);
    expect(await isWaiting(live)).toBe(false);
  });
});

describe("a reader", () => {
  it("does not wait for the first lease, and is charged for what it took before", async () => {
    const { begin, calls } = isolate({ requestsPerSecond: 50 });
    for (let n = 0; n < 20; n++) expect(await begin("reading")).toBe(0);
    await pass(2000);
    expect(await begin("copying").then(() => calls.at(-1)?.ask.requests.left)).toBeLessThanOrEqual(30);
  });

  it("waits for two seconds at most, and then goes ahead and owes what it took", async () => {
    const { begin, calls } = isolate({ requestsPerSecond: 1 });
    await begin("reading");
    await pass(10);
    const readers = Promise.all(Array.from({ length: 20 }, () => begin("reading")));
    await pass(2000);
    const waits = await readers;
    expect(Math.max(...waits.map(Number))).toBe(2000);
    await pass(1000);
    void begin("copying");
    await pass(1);
    expect(calls.at(-1)?.ask.requests.left).toBeLessThan(0);
  });
});

describe("a connection", () => {
  it("is in use for as long as its request lives, however long that is", async () => {
    const { pressure, begin } = isolate({ connections: 1 });
    void hanging(pressure);
    await pass(500_000);
    const second = begin("copying");
    await pass(59_000);
    expect(await isWaiting(second)).toBe(true);
  });

  it("of a request that was cut off is free after half a minute", async () => {
    const { pressure, begin } = isolate({ connections: 1 });
    // Its timers die with it, and nothing of it is run any more.
    const spy = vi.spyOn(globalThis, "setInterval").mockImplementation(noTimer);
    void hanging(pressure);
    await pass(10);
    spy.mockRestore();
    const second = begin("copying");
    await pass(25_000);
    expect(await isWaiting(second)).toBe(true);
    await pass(6000);
    expect(await isWaiting(second)).toBe(false);
    expect(await second).toBeLessThan(31_000);
  });
});

describe("while the limiter cannot be asked", () => {
  it("readers go at once, and it is logged once", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { begin, limiter } = isolate({ requestsPerSecond: 10 });
    limiter.fails = true;
    for (let n = 0; n < 200; n++) {
      expect(await begin("reading")).toBe(0);
      await pass(25);
    }
    expect(logged).toHaveBeenCalledTimes(1);
  });

  it.each(["fails", "hangs"] as const)("a copy goes on at the last known rate when it %s", async (how) => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { begin, limiter } = isolate({ requestsPerSecond: 20 });
    const worker = async (until: number) => {
      let passed = 0;
      for (; Date.now() < until; passed++) {
        if ((await begin("copying")) !== 0) continue;
        await new Promise((done) => setTimeout(done, 10));
      }
      return passed;
    };
    const known = Promise.all(Array.from({ length: 4 }, () => worker(Date.now() + 5000)));
    await pass(6000);
    await known;
    limiter[how] = true;
    const from = Date.now();
    const after = Promise.all(Array.from({ length: 4 }, () => worker(from + 20_000)));
    await pass(25_000);
    const perSecond = (await after).reduce((sum, passed) => sum + passed, 0) / 20;
    expect(perSecond).toBeGreaterThan(14);
    expect(perSecond).toBeLessThanOrEqual(24);
  });

  it("a copy begins at a tenth of what is configured where no word was ever heard", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { begin, limiter } = isolate({ requestsPerSecond: 20 });
    limiter.fails = true;
    let passed = 0;
    // More than may pass at twice that; each that waits has timers of its own, which is what the test takes long for.
    for (let n = 0; n < 50; n++) void begin("copying").then((ms) => (typeof ms === "number" ? passed++ : 0));
    await pass(10_000);
    expect(passed).toBeGreaterThan(16);
    expect(passed).toBeLessThan(32);
  });

  it("what was heard is told when it can be asked again", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { pressure, limiter, calls } = isolate({});
    limiter.fails = true;
    for (let n = 0; n < 3; n++) {
      const entry = pressure.enter("reading");
      if (entry === null) throw new Error("It was not let through.");
      pressure.hear(entry, failure("source-unreachable"));
      await pass(1100);
    }
    limiter.fails = false;
    await pass(1100);
    pressure.enter("reading");
    expect(calls.at(-1)?.heard).toMatchObject({ timedOut: 3 });
  });
});

describe("a reader of a source that asked to be left alone", () => {
  const paused = async (retryAfterSeconds: number) => {
    const { pressure, begin } = isolate({});
    const entry = pressure.enter("reading");
    if (entry === null) throw new Error("It was not let through.");
    pressure.hear(entry, slowDown(retryAfterSeconds));
    await pass(10);
    return { pressure, begin };
  };

  it("waits where that is soon over", async () => {
    const { begin } = await paused(1);
    const second = begin("reading");
    await pass(1000);
    expect(await second).toBeGreaterThan(900);
  });

  it("is refused at once where it is not, and told until when: the source would only refuse it again", async () => {
    const { pressure } = await paused(60);
    const refused = pressure.enter("reading") ?? pressure.wait("reading");
    await pass(0);
    expect(await refused).toMatchObject({ failure: { code: "source-throttled", retryAfterSeconds: 60 } });
  });
});

describe("what a request came to", () => {
  const told = async (failed: Failure | null) => {
    const { pressure, calls } = isolate({});
    const entry = pressure.enter("copying");
    if (entry === null) throw new Error("It was not let through.");
    await pass(10);
    pressure.hear(entry, failed);
    await pass(2010);
    pressure.enter("copying");
    const { ok, throttled, timedOut } = calls.at(1)?.heard ?? {};
    return { ok, throttled, timedOut };
  };

  it.each([
    ["source-throttled", { ok: 0, throttled: 1, timedOut: 0 }],
    ["source-unreachable", { ok: 0, throttled: 0, timedOut: 1 }],
    ["object-not-found", { ok: 1, throttled: 0, timedOut: 0 }],
    ["source-forbidden", { ok: 1, throttled: 0, timedOut: 0 }],
    [null, { ok: 1, throttled: 0, timedOut: 0 }],
  ] as const)("%s", async (code, expected) => {
    expect(await told(code === null ? null : failure(code))).toEqual(expected);
  });

  // An answer to HEAD has no body, so the status says it all. An object that cannot be read is answered with 500 for ever.
  it.each([
    [429, "", 1],
    [503, "", 1],
    [503, "SlowDown", 1],
    [503, "ServiceUnavailable", 1],
    [504, "", 1],
    [500, "", 0],
    [500, "InternalError", 0],
    [502, "", 0],
    [400, "RequestTimeout", 0],
    [409, "OperationAborted", 0],
  ])("an answer of %d %s counts as a refusal to do so much: %d", async (status, code, throttled) => {
    const body = code === "" ? "" : `<Error><Code>${code}</Code></Error>`;
    const failed = classify(new Response(null, { status }), body, "headers");
    expect(await told(failed)).toEqual({ ok: 0, throttled, timedOut: 0 });
  });

  it("says until when in seconds or by a date, which is by the server's own clock", () => {
    const after = (headers: Record<string, string>) =>
      classify(new Response(null, { status: 503, headers }), "", "object").retryAfterSeconds;
    const at = Date.UTC(2026, 10, 6, 8, 49, 37);
    const date = (seconds: number) => formatHttpDate(at + seconds * 1000);
    expect(after({ "retry-after": "30" })).toBe(30);
    expect(after({ "retry-after": date(45), date: date(0) })).toBe(45);
    expect(after({ "retry-after": date(-45), date: date(0) })).toBe(0);
    expect(after({ "retry-after": date(9999), date: date(0) })).toBe(300);
    vi.setSystemTime(at);
    expect(after({ "retry-after": date(20) })).toBe(20);
    expect(after({ "retry-after": "soon" })).toBeUndefined();
    expect(after({})).toBeUndefined();
  });
});
