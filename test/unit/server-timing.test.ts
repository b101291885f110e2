import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ServerTiming, STEPS } from "../../workers/core/read/server-timing.ts";

/** A clock that a test moves. */
function clock() {
  const time = { now: 1_700_000_000_000 };
  return { time, timing: new ServerTiming(() => time.now) };
}

describe("Server-Timing", () => {
  it("names auth, resolve, cache and r2 where nothing was waited for", () => {
    expect(clock().timing.format()).toBe("auth;dur=0, resolve;dur=0, cache;dur=0, r2;dur=0");
  });

  it("says how long each step was waited for, and names the source only where it was", async () => {
    const { time, timing } = clock();
    const taking = async (ms: number) => void (time.now += ms);
    await timing.time(
      "r2",
      Promise.resolve().then(() => taking(12)),
    );
    expect(timing.format()).toBe("auth;dur=0, resolve;dur=0, cache;dur=0, r2;dur=12");
    await timing.time(
      "source",
      Promise.resolve().then(() => taking(7)),
    );
    expect(timing.format()).toBe("auth;dur=0, resolve;dur=0, cache;dur=0, r2;dur=12, source;dur=7");
  });

  it("adds up what a step waited for in several pieces, failed ones too, and passes on what came", async () => {
    const { time, timing } = clock();
    const after = async <T>(ms: number, value: () => T): Promise<T> => {
      await Promise.resolve();
      time.now += ms;
      return value();
    };
    expect(
      await timing.time(
        "cache",
        after(3, () => "found"),
      ),
    ).toBe("found");
    const fails = after(4, () => {
      throw new Error("no cache");
    });
    await expect(timing.time("cache", fails)).rejects.toThrow("no cache");
    expect(timing.format()).toContain("cache;dur=7");
  });

  it("is a header's value that the specification allows, whatever was waited for", async () => {
    const waits = fc.array(fc.tuple(fc.constantFrom(...STEPS), fc.nat(100_000)), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(waits, async (steps) => {
        const { time, timing } = clock();
        const plain = new Map<string, number>();
        for (const [step, ms] of steps) {
          plain.set(step, (plain.get(step) ?? 0) + ms);
          await timing.time(
            step,
            Promise.resolve().then(() => void (time.now += ms)),
          );
        }
        const metrics = timing.format().split(", ");
        expect(metrics.every((metric) => /^[a-z0-9]+;dur=\d+$/.test(metric))).toBe(true);
        for (const step of ["auth", "resolve", "cache", "r2"]) {
          expect(metrics).toContain(`${step};dur=${plain.get(step) ?? 0}`);
        }
        expect(metrics.length).toBe(plain.has("source") ? 5 : 4);
      }),
    );
  });
});
