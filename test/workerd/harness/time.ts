import { onTestFinished, vi } from "vitest";

/** Waits until something is so, however long that takes; no timer of a test's clock is rung meanwhile. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await scheduler.wait(5);
}

export interface HeldTimers {
  /** How many were set, all told. */
  set(): number;
  /** How many neither rang nor were cleared. */
  waiting(): number;
  /** Rings those that wait. */
  ring(): void;
}

/** Has no timer of so many milliseconds ring but when it is told to; all others ring as ever. Until the test is over. */
export function holdTimers(ms: number): HeldTimers {
  const real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout };
  const held = new Map<unknown, () => void>();
  let count = 0;
  const setting = vi.spyOn(globalThis, "setTimeout").mockImplementation(((ring: () => void, after?: number) => {
    if (after !== ms) return real.setTimeout(ring, after);
    const timer = { held: ++count };
    held.set(timer, ring);
    return timer;
  }) as typeof setTimeout);
  const clearing = vi.spyOn(globalThis, "clearTimeout").mockImplementation((timer) => {
    if (!held.delete(timer)) real.clearTimeout(timer);
  });
  onTestFinished(() => {
    setting.mockRestore();
    clearing.mockRestore();
  });
  return {
    set: () => count,
    waiting: () => held.size,
    ring() {
      const rings = [...held.values()];
      held.clear();
      for (const ring of rings) ring();
    },
  };
}
