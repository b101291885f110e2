import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Holders, partOf, seenLately } from "../../workers/core/pressure/connections.ts";
import { type Heard, NOTHING_LEARNT } from "../../workers/core/pressure/learn.ts";
import { grantLease, newSourceState, type SourceState } from "../../workers/core/pressure/lease.ts";
import type { Limits } from "../../workers/core/pressure/limits.ts";

const none: Heard = { ok: 0, throttled: 0, timedOut: 0, since: 0, retryAfterSeconds: null };
const NO_LIMITS: Limits = { requestsPerSecond: null, bytesPerSecond: null, connections: null };

/** Wants nothing, and has nothing left. */
const NOTHING: [want: number, left: number] = [0, 0];

/** A limiter, and holders that ask it. Times are milliseconds. */
function limiter(limits: Partial<Limits>) {
  let state: SourceState = newSourceState(NOTHING_LEARNT);
  const ask = (
    at: number,
    holder: string,
    want: { requests?: [want: number, left: number]; bytes?: [want: number, left: number]; connections?: number },
    heard: Partial<Heard> = {},
  ) => {
    const [requests, bytes] = [want.requests ?? NOTHING, want.bytes ?? NOTHING];
    const granted = grantLease(
      state,
      { ...NO_LIMITS, ...limits },
      {
        holder,
        requests: { want: requests[0], left: requests[1] },
        bytes: { want: bytes[0], left: bytes[1] },
        connections: want.connections ?? 0,
      },
      { ...none, ...heard },
      at,
    );
    state = granted.state;
    return granted.lease;
  };
  return { ask };
}

describe("tokens", () => {
  it("are a second's worth at first, then come at the rate, and nobody is told to come back for what it got", () => {
    const { ask } = limiter({ requestsPerSecond: 100 });
    expect(ask(0, "a", { requests: [60, 0] })).toMatchObject({ requests: 60, againMs: 0 });
    expect(ask(0, "a", { requests: [60, 0] })).toMatchObject({ requests: 40, againMs: 200 });
    expect(ask(500, "a", { requests: [60, 0] })).toMatchObject({ requests: 50 });
    expect(ask(60_000, "a", { requests: [500, 0] })).toMatchObject({ requests: 100, againMs: 500 });
  });

  it("that are left are given back, and are there for others", () => {
    const { ask } = limiter({ requestsPerSecond: 100 });
    expect(ask(0, "a", { requests: [100, 0] })).toMatchObject({ requests: 100 });
    expect(ask(0, "a", { requests: [10, 100] })).toMatchObject({ requests: -90 });
    expect(ask(0, "b", { requests: [50, 0] })).toMatchObject({ requests: 50 });
  });

  it("are owed by who took more than it had, before it gets any to use", () => {
    const { ask } = limiter({ bytesPerSecond: 1000 });
    expect(ask(0, "a", { bytes: [100, -400] })).toMatchObject({ bytes: 500 });
  });

  it("are shared: nobody gets more at once than an equal part, and what one leaves another may ask for again", () => {
    const { ask } = limiter({ requestsPerSecond: 100 });
    ask(0, "b", { requests: [0, 0] });
    expect(ask(0, "a", { requests: [100, 0] })).toMatchObject({ requests: 50, requestsPerSecond: 50 });
    expect(ask(0, "b", { requests: [10, 0] })).toMatchObject({ requests: 10 });
    expect(ask(0, "a", { requests: [100, 0] })).toMatchObject({ requests: 40 });
  });

  it("are not counted where there is no limit", () => {
    expect(limiter({}).ask(0, "a", { requests: [1e9, 0], bytes: [1e12, 0] })).toMatchObject({
      ...{ requests: null, bytes: null, connections: null, requestsPerSecond: null, bytesPerSecond: null },
    });
  });

  it("are never more in any window than the rate times the window, and a second's worth, whatever is asked and heard", () => {
    const step = fc.record({
      ms: fc.integer({ min: 0, max: 1500 }),
      holder: fc.constantFrom("a", "b", "c", "d"),
      want: fc.integer({ min: 0, max: 400 }),
      uses: fc.integer({ min: 0, max: 400 }),
      heard: fc.constantFrom<Partial<Heard>>(
        {},
        { ok: 5 },
        { throttled: 1, since: 1e12 },
        { timedOut: 1, since: 1e12 },
      ),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.array(step, { maxLength: 60 }), (rate, steps) => {
        const { ask } = limiter({ requestsPerSecond: rate });
        const left = new Map<string, number>();
        const given: { at: number; tokens: number }[] = [];
        let at = 0;
        for (const { ms, holder, want, uses, heard } of steps) {
          at += ms;
          // It uses some of what it has, and may have forgotten the rest.
          const has = Math.max(0, (left.get(holder) ?? 0) - uses);
          const { requests } = ask(at, holder, { requests: [want, has] }, heard);
          expect(requests).toBeLessThanOrEqual(Math.max(0, want));
          left.set(holder, has + (requests ?? 0));
          given.push({ at, tokens: requests ?? 0 });
        }
        for (let from = 0; from < given.length; from++) {
          let sum = 0;
          for (const { at: to, tokens } of given.slice(from)) {
            sum += tokens;
            expect(sum).toBeLessThanOrEqual((rate * (to - (given[from]?.at ?? 0))) / 1000 + rate + 1e-6);
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("are all given out when they are wanted: a limit is reached, too", () => {
    const { ask } = limiter({ requestsPerSecond: 100 });
    let sum = 0;
    for (let at = 0; at < 60_000; at += 250) {
      for (const holder of ["a", "b", "c"]) sum += ask(at, holder, { requests: [100, 0] }).requests ?? 0;
    }
    expect(sum).toBeGreaterThan(60 * 100 * 0.98);
    expect(sum).toBeLessThanOrEqual(61 * 100);
  });
});

describe("a pause", () => {
  it("is the whole source's: who asks next is told how long it still is", () => {
    const { ask } = limiter({});
    expect(ask(1000, "a", {}, { throttled: 1, retryAfterSeconds: 30 })).toMatchObject({ pausedMs: 30_000 });
    expect(ask(11_000, "b", {})).toMatchObject({ pausedMs: 20_000 });
    expect(ask(40_000, "b", {})).toMatchObject({ pausedMs: 0 });
  });
});

describe("connections", () => {
  it("are all one holder's while it is alone, and are evened out when another comes", () => {
    const { ask } = limiter({ connections: 10 });
    expect(ask(0, "a", { connections: 50 }).connections).toBe(10);
    expect(ask(100, "b", { connections: 50 }).connections).toBe(0);
    expect(ask(1000, "a", { connections: 50 }).connections).toBe(5);
    expect(ask(1100, "b", { connections: 50 }).connections).toBe(5);
  });

  it("that nobody else wants are for who does", () => {
    const { ask } = limiter({ connections: 10 });
    expect(ask(0, "b", { connections: 2 }).connections).toBe(2);
    expect(ask(0, "a", { connections: 50 }).connections).toBe(8);
  });

  it("of a holder that has not been heard for five seconds are free again", () => {
    const { ask } = limiter({ connections: 10 });
    ask(0, "a", { connections: 50 });
    expect(ask(4999, "b", { connections: 50 }).connections).toBe(0);
    expect(ask(5000, "b", { connections: 50 }).connections).toBe(10);
  });

  it("never add up to more than the limit, in whatever order holders ask, come and go", () => {
    const step = fc.record({
      ms: fc.integer({ min: 0, max: 3000 }),
      holder: fc.constantFrom("a", "b", "c", "d", "e"),
      wanted: fc.nat(40),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.array(step, { maxLength: 60 }), (limit, steps) => {
        let holders: Holders = new Map();
        let at = 0;
        for (const { ms, holder, wanted } of steps) {
          at += ms;
          const live = new Map(seenLately(holders, at));
          const connections = partOf(holder, wanted, limit, live);
          expect(connections).toBeGreaterThanOrEqual(0);
          expect(connections).toBeLessThanOrEqual(wanted);
          holders = live.set(holder, { seenAt: at, connections, wanted });
          const all = [...live.values()].reduce((sum, each) => sum + each.connections, 0);
          expect(all).toBeLessThanOrEqual(limit);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("are even, within one, when all who want many have asked twice", () => {
    const { ask } = limiter({ connections: 20 });
    const last = new Map<string, number | null>();
    for (let at = 0; at < 3000; at += 1000) {
      for (const holder of ["a", "b", "c"]) last.set(holder, ask(at, holder, { connections: 30 }).connections);
    }
    expect([...last.values()].every((connections) => connections === 6 || connections === 7 || connections === 8)).toBe(
      true,
    );
  });
});
