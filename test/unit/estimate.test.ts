import { describe, expect, test } from "vitest";
import { DEFAULT_PRICES, estimate, type EstimateTotals, pricesSchema } from "../../workers/core/migration/estimate.ts";

const nothing = { objects: 0, bytes: 0 };
const totals = (more: Partial<EstimateTotals>): EstimateTotals => ({
  ...{ pages: 0, listed: nothing, small: nothing, large: { ...nothing, parts: 0 } },
  ...more,
});
const GiB = 1024 ** 3;

describe("a run's requests", () => {
  test("of nothing are the one page that says so", () => {
    const { requests, objects, bytes } = estimate(totals({ pages: 1 }), DEFAULT_PRICES);
    expect({ objects, bytes }).toEqual(nothing);
    expect(requests).toEqual({ sourceList: 1, sourceGet: 0, classA: 2, classB: 0, queue: 3 });
  });

  test("of a million small objects are within what the engine promises", () => {
    const million = totals({ pages: 1000, small: { objects: 1_000_000, bytes: 4096e6 } });
    const { requests } = estimate(million, DEFAULT_PRICES);
    // A list and a report object a page, a put an object, a report object for 500.
    expect(requests).toEqual({ sourceList: 1000, sourceGet: 1e6, classA: 1_004_000, classB: 0, queue: 15_000 });
    expect(requests.classA).toBeLessThanOrEqual(1_004_000);
    expect(requests.queue).toBeLessThanOrEqual(24_000);
  });

  test("of objects in parts are two HEADs and a GET a part, and create, parts, complete and a look in R2", () => {
    const large = { objects: 4, bytes: 4 * GiB, parts: 64 };
    expect(estimate(totals({ pages: 1, large }), DEFAULT_PRICES).requests).toEqual({
      sourceList: 1,
      sourceGet: 4 * 2 + 64,
      classA: 1 + 4 * 2 + 64 + 1 + 1,
      classB: 4,
      // A list, rows, an upload and a finish each, and up to one message of parts more than the bytes alone need.
      queue: 3 * (1 + 1 + 4 * 2 + (8 + 4)),
    });
  });

  test("count what would be copied, and not what is there", () => {
    const { objects, bytes, requests } = estimate(
      totals({ pages: 10, listed: { objects: 10_000, bytes: 1e9 }, small: { objects: 3, bytes: 30 } }),
      DEFAULT_PRICES,
    );
    expect({ objects, bytes, sourceGet: requests.sourceGet }).toEqual({ objects: 3, bytes: 30, sourceGet: 3 });
  });
});

describe("a run's dollars", () => {
  test("are the requests and bytes at their prices", () => {
    const tera = totals({
      pages: 2000,
      small: { objects: 1_999_000, bytes: 1e11 },
      large: { objects: 1000, bytes: 9e11, parts: 15_000 },
    });
    const { dollars, requests } = estimate(tera, DEFAULT_PRICES);
    expect(dollars.sourceEgress).toBeCloseTo(90, 10);
    expect(dollars.sourceRequests).toBeCloseTo((2_016_000 / 1000) * 0.0004 + 2 * 0.005, 10);
    expect(requests.classA).toBe(2000 + 1_999_000 + 2000 + 15_000 + 2000 + 4000);
    expect(dollars.r2ClassA).toBeCloseTo(3 * 4.5, 10);
    expect(dollars.r2ClassB).toBeCloseTo(0.36, 10);
    expect(dollars.queue).toBeCloseTo((requests.queue / 1e6) * 0.4, 10);
    expect(dollars.storageMonth).toBeCloseTo(15, 10);
    const { total, ...parts } = dollars;
    expect(total).toBeCloseTo(
      Object.values(parts).reduce((sum, cost) => sum + cost, 0),
      10,
    );
  });

  test.each([
    [996_000, 1],
    [996_015, 1],
    [996_016, 2],
  ])("round class A up to whole millions: %d small objects are %d", (objects, millions) => {
    const { requests, dollars } = estimate(totals({ pages: 996, small: { objects, bytes: 0 } }), DEFAULT_PRICES);
    expect(requests.classA).toBe(2 * 996 + objects + Math.ceil(objects / 500));
    expect(dollars.r2ClassA).toBe(millions * 4.5);
  });

  test.each([
    [0, 0],
    [1, 1],
    [1e9, 1],
    [1e9 + 1, 2],
  ])("round storage up to whole GB-months of 10^9 bytes: %d bytes are %d", (bytes, months) => {
    const { dollars } = estimate(totals({ small: { objects: 1, bytes } }), DEFAULT_PRICES);
    expect(dollars.storageMonth).toBeCloseTo(months * 0.015, 10);
  });

  test("say how they were rounded, and what is not in them", () => {
    const { rounding } = estimate(totals({}), DEFAULT_PRICES);
    for (const word of ["whole millions", "GB-months", "free tiers", "overwritten"]) expect(rounding).toContain(word);
  });

  test("of nothing are none", () => {
    expect(estimate(totals({}), DEFAULT_PRICES).dollars.total).toBe(0);
  });

  test("follow the configuration: a source without egress charges costs none", () => {
    const prices = pricesSchema.parse({ egressPerGB: 0 });
    const { dollars } = estimate(totals({ small: { objects: 1, bytes: 1e12 } }), prices);
    expect(dollars.sourceEgress).toBe(0);
    expect(dollars.storageMonth).toBeCloseTo(15, 10);
  });
});

describe("prices", () => {
  test("are list prices where nothing is said", () => {
    expect(DEFAULT_PRICES).toEqual({
      ...{ egressPerGB: 0.09, sourceGetPerThousand: 0.0004, sourceListPerThousand: 0.005 },
      ...{ classAPerMillion: 4.5, classBPerMillion: 0.36, queuePerMillion: 0.4, storagePerGBMonth: 0.015 },
    });
  });

  test.each([{ egressPerGB: -1 }, { egressPerGB: "0.09" }, { egressPerGb: 0.09 }, { classAPerMillion: Infinity }])(
    "are refused as %j",
    (prices) => {
      expect(pricesSchema.safeParse(prices).success).toBe(false);
    },
  );
});
