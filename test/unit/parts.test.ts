import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  OBJECT_MAX_BYTES,
  PART_DEFAULT_BYTES,
  PART_MIN_BYTES,
  PARTS_MAX,
  PUT_MAX_BYTES,
} from "../../workers/core/limits.ts";
import { expectedParts, partCount, partRange, planParts, usualPartBytes } from "../../workers/core/migration/parts.ts";

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const HEX = "d41d8cd98f00b204e9800998ecf8427e";
const etagOf = (parts: number) => `${HEX}-${parts}`;
const unknown = { etag: HEX, firstPart: null };
const plan = (size: number, source = unknown as Parameters<typeof planParts>[1]) =>
  planParts(size, source, PART_DEFAULT_BYTES);

describe("a multipart ETag tells how many parts there were", () => {
  test.each([
    [etagOf(1), 1],
    [etagOf(2), 2],
    [etagOf(10_000), 10_000],
  ])("%s: %d", (etag, parts) => {
    expect(partCount(etag)).toBe(parts);
  });

  test.each([
    ["an MD5", HEX],
    ["no parts", `${HEX}-0`],
    ["a leading zero", `${HEX}-02`],
    ["too many digits", `${HEX}-100000`],
    ["no number", `${HEX}-`],
    ["capitals", `${HEX.toUpperCase()}-2`],
    ["too short", `${HEX.slice(1)}-2`],
    ["quotes", `"${HEX}-2"`],
    ["something after it", `${HEX}-2-gz`],
    ["opaque", "some-etag-2"],
    ["nothing", ""],
  ])("%s is none", (_what, etag) => {
    expect(partCount(etag)).toBeNull();
  });
});

describe("the source's own part size is used where it is told", () => {
  test("an odd one too, since it alone reproduces the ETag", () => {
    const bytes = 7 * MiB + 13;
    const size = 3 * bytes + 1;
    expect(plan(size, { etag: etagOf(4), firstPart: { bytes, parts: 4 } })).toEqual({ partBytes: bytes, parts: 4 });
  });

  test("one part, of any size that a part may have", () => {
    expect(plan(1, { etag: etagOf(1), firstPart: { bytes: 1, parts: 1 } })).toEqual({ partBytes: 1, parts: 1 });
    const whole = { etag: etagOf(1), firstPart: { bytes: PUT_MAX_BYTES, parts: 1 } };
    expect(plan(PUT_MAX_BYTES, whole)).toEqual({ partBytes: PUT_MAX_BYTES, parts: 1 });
  });

  test("not where the parts were of different sizes, which R2 does not take", () => {
    // 5 MiB first, but three parts in all: the others were larger.
    const source = { etag: etagOf(3), firstPart: { bytes: 5 * MiB, parts: 3 } };
    const { partBytes, parts } = plan(100 * MiB, source);
    expect(partBytes).not.toBe(5 * MiB);
    expect(parts).toBe(Math.ceil((100 * MiB) / partBytes));
  });

  test.each([
    ["smaller than R2 takes", 4 * MiB, 40 * MiB],
    ["larger than R2 takes", PUT_MAX_BYTES + 1, 2 * PUT_MAX_BYTES],
    ["more parts than there may be", 5 * MiB, 5 * MiB * (PARTS_MAX + 1)],
    ["nothing at all", 0, 40 * MiB],
  ])("not where it is %s", (_what, bytes, size) => {
    const parts = Math.ceil(size / bytes);
    const planned = plan(size, { etag: HEX, firstPart: { bytes, parts } });
    expect(planned.partBytes).not.toBe(bytes);
    expect(planned.partBytes).toBeGreaterThanOrEqual(PART_MIN_BYTES);
    expect(planned.parts).toBeLessThanOrEqual(PARTS_MAX);
  });
});

describe("else the part size is guessed from the number of parts", () => {
  test.each([
    [8 * MiB, 8 * MiB * 3, 3],
    [8 * MiB, 8 * MiB * 2 + 1, 3],
    [16 * MiB, 16 * MiB * 7 - 5, 7],
    [15 * MiB, 15 * MiB * 100, 100],
    [(5 * GiB) / 5, 4 * GiB, 4],
  ])("%d bytes for an object of %d bytes in %d parts", (partBytes, size, parts) => {
    expect(plan(size, { etag: etagOf(parts), firstPart: null })).toEqual({ partBytes, parts });
  });

  test("a guess lies within the bounds that the count sets", () => {
    // 8 MiB gives 3 parts up to 24 MiB exactly; one byte more is a fourth part, which no usual size makes of it but 8.
    expect(plan(24 * MiB, { etag: etagOf(3), firstPart: null }).partBytes).toBe(8 * MiB);
    expect(plan(24 * MiB + 1, { etag: etagOf(4), firstPart: null }).partBytes).toBe(8 * MiB);
    expect(plan(24 * MiB + 1, { etag: etagOf(3), firstPart: null }).partBytes).toBe(10 * MiB);
  });

  test("a single part is the whole object, if a part may be so large", () => {
    expect(plan(1234, { etag: etagOf(1), firstPart: null })).toEqual({ partBytes: PART_MIN_BYTES, parts: 1 });
    expect(plan(300 * MiB, { etag: etagOf(1), firstPart: null })).toEqual({ partBytes: 300 * MiB, parts: 1 });
    const tooLarge = plan(PUT_MAX_BYTES + 1, { etag: etagOf(1), firstPart: null });
    expect(tooLarge.partBytes).toBe(PART_DEFAULT_BYTES);
  });

  test("a count that no usual size explains leaves the default", () => {
    expect(plan(100 * MiB, { etag: etagOf(9999), firstPart: null })).toEqual({
      partBytes: PART_DEFAULT_BYTES,
      parts: 2,
    });
    expect(plan(100 * MiB, { etag: etagOf(99_999), firstPart: null }).partBytes).toBe(PART_DEFAULT_BYTES);
  });

  test("whatever usual size an object was uploaded with, the number of parts is reproduced", () => {
    const usual = fc.constantFrom(
      ...[5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024].map((n) => n * MiB),
    );
    fc.assert(
      fc.property(usual, fc.integer({ min: 1, max: PARTS_MAX }), fc.nat(), (partBytes, parts, cut) => {
        const size = parts * partBytes - (cut % partBytes);
        const planned = plan(size, { etag: etagOf(parts), firstPart: null });
        fc.pre(parts > 1 || size <= PUT_MAX_BYTES);
        expect(planned.parts).toBe(parts);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("else it is the default, grown until the parts are few enough", () => {
  test.each([
    [0, PART_DEFAULT_BYTES, 1],
    [1, PART_DEFAULT_BYTES, 1],
    [PART_DEFAULT_BYTES, PART_DEFAULT_BYTES, 1],
    [PART_DEFAULT_BYTES + 1, PART_DEFAULT_BYTES, 2],
    [PART_DEFAULT_BYTES * PARTS_MAX, PART_DEFAULT_BYTES, PARTS_MAX],
    [PART_DEFAULT_BYTES * PARTS_MAX + 1, PART_DEFAULT_BYTES + MiB, 9847],
  ])("%d bytes in parts of %d", (size, partBytes, parts) => {
    expect(plan(size)).toEqual({ partBytes, parts });
  });

  test("never under 5 MiB, whatever the configuration says", () => {
    expect(planParts(20 * MiB, unknown, 1).partBytes).toBe(PART_MIN_BYTES);
  });

  test("the largest object there is fits", () => {
    const { partBytes, parts } = plan(OBJECT_MAX_BYTES);
    expect(parts).toBeLessThanOrEqual(PARTS_MAX);
    expect(partBytes).toBeLessThanOrEqual(PUT_MAX_BYTES);
  });
});

describe("the parts", () => {
  const size = fc.oneof(
    fc.integer({ min: 1, max: 64 * MiB }),
    fc.integer({ min: 1, max: 200 * GiB }),
    fc.integer({ min: 1, max: OBJECT_MAX_BYTES }),
  );
  const count = fc.integer({ min: 1, max: 10_001 });
  const told = fc.option(fc.record({ bytes: fc.integer({ min: 0, max: 6 * GiB }), parts: count }));
  const source = fc.record({ etag: fc.oneof(fc.constant(HEX), count.map(etagOf)), firstPart: told });
  const configured = fc.integer({ min: 1, max: PUT_MAX_BYTES });

  test("are what R2 takes, whatever the source says", () => {
    fc.assert(
      fc.property(size, source, configured, (bytes, from, byDefault) => {
        const { partBytes, parts } = planParts(bytes, from, byDefault);
        expect(parts).toBeGreaterThanOrEqual(1);
        expect(parts).toBeLessThanOrEqual(PARTS_MAX);
        expect(partBytes).toBeLessThanOrEqual(PUT_MAX_BYTES);
        if (parts > 1) expect(partBytes).toBeGreaterThanOrEqual(PART_MIN_BYTES);
      }),
      { numRuns: 5000 },
    );
  });

  test("cover the object exactly once, in order, all equal but the last", () => {
    fc.assert(
      fc.property(size, source, configured, (bytes, from, byDefault) => {
        const planned = planParts(bytes, from, byDefault);
        let next = 0;
        for (let part = 1; part <= planned.parts; part++) {
          const { start, end } = partRange(planned, bytes, part);
          // Plain comparisons: there may be ten thousand parts in each of many runs.
          if (start !== next || end < start) expect.fail(`part ${part} is ${start}-${end} after ${next}`);
          if (part < planned.parts && end - start + 1 !== planned.partBytes) expect.fail(`part ${part} is not full`);
          next = end + 1;
        }
        expect(next).toBe(bytes);
      }),
      { numRuns: 500 },
    );
  });

  test("of an empty object are one part of no bytes", () => {
    expect(partRange(plan(0), 0, 1)).toEqual({ start: 0, end: -1 });
  });
});

describe("what a listing alone tells of an object's parts", () => {
  const hex = "d41d8cd98f00b204e9800998ecf8427e";

  test.each<[string, number, number, number | null]>([
    ["8 MiB where three of them make 20", 20 * MiB, 3, 8 * MiB],
    ["the smallest part there may be, for one of less", 1, 1, 5 * MiB],
    ["none where no usual size gives nine", 46 * MiB, 9, null],
    ["none of more parts than bytes", 3, 4, null],
  ])("a usual size: %s", (_which, size, count, expected) => {
    expect(usualPartBytes(size, count)).toBe(expected);
  });

  test.each<[string, { etag: string; size: number }, number]>([
    ["as many as its ETag says", { etag: `${hex}-3`, size: 20 * MiB }, 3],
    ["of the default size where its ETag says nothing", { etag: hex, size: 130 * MiB }, 3],
    ["of the default size where what it says is unusual", { etag: `${hex}-9`, size: 46 * MiB }, 1],
    ["one of nothing", { etag: hex, size: 0 }, 1],
  ])("their number: %s", (_which, object, expected) => {
    expect(expectedParts(object, 64 * MiB)).toBe(expected);
  });
});
