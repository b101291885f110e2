import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createOrder, type Order, orderText } from "../../workers/core/jobs/order.ts";

/** As the job's object makes it, by another SHA-256. */
function orderOf(count: number, epoch = 0, seed = 7, digest = "d", shuffle = true): Order {
  const hash = createHash("sha256")
    .update(orderText(seed, epoch, digest))
    .digest();
  const key = Array.from({ length: 8 }, (_, word) => hash.readUInt32BE(4 * word));
  return createOrder(count, key, shuffle);
}
const all = (order: Order, count: number) => Array.from({ length: count }, (_, position) => order.unitAt(position));

describe("the order of an epoch", () => {
  test("hands out each unit once, for every number of units up to 700", () => {
    for (let count = 1; count <= 700; count++) {
      const units = all(orderOf(count), count).toSorted((a, b) => a - b);
      expect(units.every((unit, index) => unit === index)).toBe(true);
    }
  });

  test("hands out no unit twice, and none beyond the last, of any number of units", () => {
    const property = fc.property(
      fc.integer({ min: 700, max: 1_000_000 }),
      fc.nat(),
      fc.nat(1000),
      (count, seed, epoch) => {
        const order = orderOf(count, epoch, seed);
        const step = Math.max(1, Math.floor(count / 2000));
        const seen = new Set<number>();
        let asked = 0;
        for (let position = 0; position < count; position += step, asked++) seen.add(order.unitAt(position));
        expect(seen.size).toBe(asked);
        expect([...seen].every((unit) => Number.isInteger(unit) && unit >= 0 && unit < count)).toBe(true);
      },
    );
    fc.assert(property, { numRuns: 100 });
  });

  test("is whole for a million units", () => {
    const order = orderOf(1_000_000);
    const seen = new Uint8Array(1_000_000);
    for (let position = 0; position < 1_000_000; position++) {
      const unit = order.unitAt(position);
      seen[unit] = (seen[unit] ?? 0) + 1;
    }
    expect(seen.every((times) => times === 1)).toBe(true);
  });

  test("is the same whenever it is asked, and hangs on seed, epoch and the units' digest", () => {
    const first = all(orderOf(1000), 1000);
    expect(all(orderOf(1000), 1000)).toEqual(first);
    for (const other of [orderOf(1000, 1), orderOf(1000, 0, 8), orderOf(1000, 0, 7, "e")]) {
      const same = all(other, 1000).filter((unit, position) => unit === first[position]).length;
      expect(same).toBeLessThan(20); // By chance it is one, near enough.
    }
  });

  test("is fixed: a job that was begun by one release goes on with the next", () => {
    expect(all(orderOf(10), 10)).toEqual(FIXED);
  });

  test.each([100, 1000, 4097, 65_536])(
    "is far from the list's own, of %i units: they lie a third of them apart",
    (count) => {
      const far =
        all(orderOf(count), count).reduce((sum, unit, position) => sum + Math.abs(unit - position), 0) / count;
      expect(far / count).toBeGreaterThan(0.27);
      expect(far / count).toBeLessThan(0.4);
    },
  );

  test.each([3, 10, 16, 100])("begins with each of %i units as often, over many epochs", (count) => {
    const epochs = 400 * count;
    const times = Array.from({ length: count }, () => 0);
    for (let epoch = 0; epoch < epochs; epoch++) {
      const unit = orderOf(count, epoch).unitAt(0);
      times[unit] = (times[unit] ?? 0) + 1;
    }
    // Chi-square: its mean is the degrees of freedom, and five standard deviations above that it is no chance.
    const chi = times.reduce((sum, n) => sum + (n - 400) ** 2 / 400, 0);
    expect(chi).toBeLessThan(count - 1 + 5 * Math.sqrt(2 * (count - 1)) + 5);
  });

  test("reaches all orders of four units, about as often", () => {
    const times = new Map<string, number>();
    for (let epoch = 0; epoch < 4800; epoch++) {
      const order = all(orderOf(4, epoch), 4).join("");
      times.set(order, (times.get(order) ?? 0) + 1);
    }
    expect(times.size).toBe(24);
    const chi = [...times.values()].reduce((sum, n) => sum + (n - 200) ** 2 / 200, 0);
    expect(chi).toBeLessThan(23 + 5 * Math.sqrt(46) + 5);
  });

  test("is the list's own where it is not shuffled", () => {
    expect(all(orderOf(50, 0, 7, "d", false), 50)).toEqual(Array.from({ length: 50 }, (_, unit) => unit));
  });
});

const FIXED = [0, 4, 6, 3, 5, 7, 9, 2, 8, 1];
