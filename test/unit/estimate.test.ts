import { describe, expect, test } from "vitest";
import {
  type Asked,
  DEFAULT_PRICES,
  estimate as estimateOf,
  type EstimateTotals,
  pricesSchema,
} from "../../workers/core/migration/estimate.ts";

const nothing = { objects: 0, bytes: 0 };
const totals = (more: Partial<EstimateTotals>): EstimateTotals => ({
  ...{ pages: 0, listed: nothing, small: nothing, large: { ...nothing, parts: 0 } },
  ...more,
});
const COPY: Asked = { direction: "in", task: "copy", isByKey: false };
const estimate = (found: EstimateTotals, prices: typeof DEFAULT_PRICES, asked: Partial<Asked> = {}) =>
  estimateOf(found, prices, { ...COPY, ...asked });
const GiB = 1024 ** 3;

describe("a run's requests", () => {
  test("of nothing are the one page that says so", () => {
    const { requests, objects, bytes } = estimate(totals({ pages: 1 }), DEFAULT_PRICES);
    expect({ objects, bytes }).toEqual(nothing);
    expect(requests).toEqual({ sourceList: 1, sourceGet: 0, sourcePut: 0, classA: 2, classB: 0, queue: 3 });
  });

  test("of a million small objects are within what the engine promises", () => {
    const million = totals({ pages: 1000, small: { objects: 1_000_000, bytes: 4096e6 } });
    const { requests } = estimate(million, DEFAULT_PRICES);
    // A list and a report object a page, a put an object, a report object for 500.
    expect(requests).toEqual({
      ...{ sourceList: 1000, sourceGet: 1e6, sourcePut: 0, classA: 1_004_000, classB: 0, queue: 15_000 },
    });
    expect(requests.classA).toBeLessThanOrEqual(1_004_000);
    expect(requests.queue).toBeLessThanOrEqual(24_000);
  });

  test("of objects in parts are two HEADs and a GET a part, and create, parts, complete and a look in R2", () => {
    const large = { objects: 4, bytes: 4 * GiB, parts: 64 };
    expect(estimate(totals({ pages: 1, large }), DEFAULT_PRICES).requests).toEqual({
      sourceList: 1,
      sourceGet: 4 * 2 + 64,
      sourcePut: 0,
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

describe("the way back", () => {
  const found = totals({
    pages: 10,
    listed: { objects: 9999, bytes: 1e12 },
    small: { objects: 1000, bytes: 1e9 },
    large: { objects: 10, bytes: 9e9, parts: 150 },
  });

  test("reads R2, and writes to the source with a look before and after each object", () => {
    expect(estimate(found, DEFAULT_PRICES, { direction: "back" }).requests).toEqual({
      sourceList: 10,
      sourceGet: 2 * 1000 + 2 * 10,
      sourcePut: 1000 + 2 * 10 + 150,
      // Listings and report objects alone: nothing is put into R2 but the report.
      classA: 10 + 10 + 3,
      classB: 1000 + 10 + 150,
      // Lists, copies, an upload and a finish each, parts, and no rows: the manifest speaks of R2.
      queue: 3 * (10 + 2 + 2 * 10 + (10 + 16)),
    });
  });

  test("costs no egress, which R2 does not charge, and no storage in R2, where the objects are", () => {
    const { dollars, requests, rounding } = estimate(found, DEFAULT_PRICES, { direction: "back" });
    expect([dollars.sourceEgress, dollars.storageMonth]).toEqual([0, 0]);
    const { sourceGet, sourceList, sourcePut } = requests;
    expect(dollars.sourceRequests).toBeCloseTo((sourceGet * 0.0004 + (sourceList + sourcePut) * 0.005) / 1000, 12);
    expect(rounding).toContain("the source charges for storage");
    expect(rounding).not.toContain("overwritten");
  });

  test("is the same of a dry run, and writes are at the price of the configuration", () => {
    const back = estimate(found, DEFAULT_PRICES, { direction: "back" });
    expect(estimate(found, DEFAULT_PRICES, { direction: "back", task: "estimate" })).toEqual(back);
    const dear = pricesSchema.parse({ sourcePutPerThousand: 1000 });
    const more = estimate(found, dear, { direction: "back" }).dollars.total - back.dollars.total;
    expect(more).toBeCloseTo(back.requests.sourcePut * (1 - 0.000005), 6);
  });
});

describe("a verification", () => {
  test("by listings reads nothing and copies nothing: it lists, and writes its report", () => {
    const found = totals({ pages: 7, listed: { objects: 7000, bytes: 1e12 } });
    const { requests, dollars, objects, bytes } = estimate(found, DEFAULT_PRICES, { task: "verify" });
    expect({ objects, bytes }).toEqual(nothing);
    expect(requests).toEqual({ sourceList: 7, sourceGet: 0, sourcePut: 0, classA: 14, classB: 0, queue: 21 });
    expect([dollars.sourceEgress, dollars.r2ClassB, dollars.storageMonth]).toEqual([0, 0, 0]);
  });

  test("that is deep reads R2 back, and neither the source nor a month of storage is paid for", () => {
    const found = totals({
      pages: 2,
      small: { objects: 1500, bytes: 1e9 },
      large: { objects: 4, bytes: 4 * GiB, parts: 64 },
    });
    const { requests, dollars, objects, rounding } = estimate(found, DEFAULT_PRICES, { task: "verify-deep" });
    expect(objects).toBe(1504);
    expect(requests).toEqual({
      ...{ sourceList: 2, sourceGet: 4, sourcePut: 0, classA: 2 + 2 + 4, classB: 1500 + 64 },
      queue: 3 * (2 + 3 + 4 * 2 + (8 + 4)),
    });
    expect([dollars.sourceEgress, dollars.storageMonth]).toEqual([0, 0]);
    expect(rounding).toContain("whose two ETags differ");
  });
});

describe("a list of keys", () => {
  const found = totals({ pages: 50, listed: { objects: 10_000, bytes: 1e6 }, small: { objects: 2, bytes: 20 } });

  test("is a list request for each key, and a look and a read for each 200", () => {
    const { requests, rounding } = estimate(found, DEFAULT_PRICES, { isByKey: true });
    expect(requests).toMatchObject({ sourceList: 10_000, sourceGet: 2, classA: 50 + 2 + 50 + 1, classB: 100 });
    expect(rounding).toContain("200 keys");
    expect(estimate(found, DEFAULT_PRICES).rounding).not.toContain("200 keys");
  });

  test("of the way back asks R2 for each key", () => {
    const { requests } = estimate(found, DEFAULT_PRICES, { isByKey: true, direction: "back" });
    expect(requests).toMatchObject({ sourceList: 50, classA: 10_000 + 50 + 1, classB: 100 + 2 });
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
      ...{ egressPerGB: 0.09, sourceGetPerThousand: 0.0004, sourceListPerThousand: 0.005, sourcePutPerThousand: 0.005 },
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
