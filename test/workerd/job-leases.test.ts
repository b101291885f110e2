import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { playSchedule } from "./harness/lease-schedules.ts";
import { dice, SEED } from "./harness/seed.ts";

const SCHEDULES = 200;

beforeEach(() => {
  for (const method of ["log", "error", "warn"] as const) vi.spyOn(console, method).mockReturnValue(undefined);
  vi.useFakeTimers({ toFake: ["Date"] });
});
afterEach(() => void vi.useRealTimers());

it(
  `${SCHEDULES} schedules of twenty nodes that lease, die, return late and acknowledge twice lose no unit and count none twice (seed ${SEED})`,
  { timeout: 600_000 },
  async () => {
    let [given, expired, givenUp, epochs] = [0, 0, 0, 0];
    for (let schedule = 0; schedule < SCHEDULES; schedule++) {
      try {
        const model = await playSchedule(dice(schedule));
        for (const { ended } of model.given.values()) {
          given += 1;
          if (ended === "expired") expired += 1;
          if (ended === "given-up") givenUp += 1;
        }
        epochs += model.epochs.length;
      } catch (error) {
        throw new Error(`schedule ${schedule} of seed ${SEED}: ${String(error)}`, { cause: error });
      }
    }
    // What they are about has happened often.
    expect(Math.min(given / 40, expired / 5, givenUp / 2, epochs / 1.5)).toBeGreaterThan(SCHEDULES);
  },
);
