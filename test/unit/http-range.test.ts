import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  formatContentRange,
  formatUnsatisfiedRange,
  parseRange,
  resolveRange,
  type ByteRange,
} from "../../workers/core/http/range.ts";

const MAX = Number.MAX_SAFE_INTEGER;

describe("Range is read as RFC 9110, section 14.1.2 says", () => {
  test.each<[string, ByteRange]>([
    ["bytes=0-499", { kind: "bounded", start: 0, end: 499 }],
    ["bytes=500-500", { kind: "bounded", start: 500, end: 500 }],
    ["bytes=9500-", { kind: "from", start: 9500 }],
    ["bytes=-500", { kind: "suffix", length: 500 }],
    ["bytes=-0", { kind: "suffix", length: 0 }],
    ["bytes=007-0010", { kind: "bounded", start: 7, end: 10 }],
    ["Bytes=0-1", { kind: "bounded", start: 0, end: 1 }],
    ["bytes= 0-1", { kind: "bounded", start: 0, end: 1 }],
    ["bytes=,0-1 , ", { kind: "bounded", start: 0, end: 1 }],
    ["  bytes=0-1  ", { kind: "bounded", start: 0, end: 1 }],
  ])("%j is one range", (header, range) => {
    expect(parseRange(header)).toEqual(range);
  });

  test.each<[string | null | undefined, string]>([
    [null, "absent"],
    [undefined, "absent"],
    ["", "empty"],
    ["bytes", "no set"],
    ["bytes=", "an empty set"],
    ["bytes=,", "an empty set"],
    ["bytes=-", "neither end"],
    ["bytes=--1", "not a number"],
    ["bytes=a-b", "not a number"],
    ["bytes=1.5-2", "not an integer"],
    ["bytes=+1-2", "a sign"],
    ["bytes=0x1-0x2", "not decimal"],
    ["bytes=0 - 5", "blanks inside a range"],
    ["bytes =0-5", "a blank inside the unit"],
    ["bytes 0-5", "no equals sign"],
    ["0-5", "no unit"],
    ["items=0-5", "another unit"],
    ["bytes=٠-٥", "digits of another script"],
    ["bytes=0-5,10-15", "several ranges"],
    ["bytes=0-5,-1", "several ranges"],
    ["bytes=5-4", "the last before the first"],
    ["bytes=9007199254740993-9007199254740992", "the last before the first, by less than a double can tell"],
  ])("%j is ignored: %s", (header, _why) => {
    expect(parseRange(header)).toBeNull();
  });

  test("no text makes the parser throw, or give a number that is not a position", () => {
    const nearly = fc.stringMatching(/^ ?(bytes|items)?=?[-0-9, ]{0,60}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), nearly), (header) => {
        const fields = Object.values(parseRange(header) ?? {}).filter((field) => typeof field === "number");
        expect(fields.every((position) => Number.isSafeInteger(position) && position >= 0)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

function parsed(header: string): ByteRange {
  const range = parseRange(header);
  if (range === null) throw new Error(`"${header}" is no range`);
  return range;
}

describe("a range is fitted to the object", () => {
  const resolve = (header: string, size: number) => resolveRange(parsed(header), size);

  test("an end past the object is clipped", () => {
    expect(resolve("bytes=90-1000", 100)).toEqual({ offset: 90, length: 10 });
  });
  test("an end too large for a number is clipped like any other", () => {
    expect(resolve(`bytes=90-${"9".repeat(400)}`, 100)).toEqual({ offset: 90, length: 10 });
  });
  test("a suffix longer than the object is the whole object", () => {
    expect(resolve("bytes=-1000", 100)).toEqual({ offset: 0, length: 100 });
    expect(resolve(`bytes=-${"9".repeat(400)}`, 100)).toEqual({ offset: 0, length: 100 });
  });
  test("the last byte can be asked for, the one after it cannot", () => {
    expect(resolve("bytes=99-", 100)).toEqual({ offset: 99, length: 1 });
    expect(resolve("bytes=100-", 100)).toBe("unsatisfiable");
    expect(resolve("bytes=100-200", 100)).toBe("unsatisfiable");
  });
  test("a suffix of zero bytes is unsatisfiable", () => {
    expect(resolve("bytes=-0", 100)).toBe("unsatisfiable");
  });
  test.each(["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])("%s of an empty object is unsatisfiable", (header) => {
    expect(resolve(header, 0)).toBe("unsatisfiable");
  });
  test("a start beyond 2^53 is unsatisfiable, never rounded onto a byte of the object", () => {
    for (const start of ["9007199254740992", "9007199254740993", "18446744073709551616", "9".repeat(400)]) {
      expect(resolve(`bytes=${start}-`, 5 * 1024 ** 4)).toBe("unsatisfiable");
      expect(resolve(`bytes=${start}-${start}`, MAX)).toBe("unsatisfiable");
    }
  });

  test("the span is exactly the bytes whose positions the range names", () => {
    const small = fc.nat(40);
    const header = fc.oneof(
      fc.tuple(small, small).map(([start, more]) => `bytes=${start}-${start + more}`),
      small.map((start) => `bytes=${start}-`),
      small.map((length) => `bytes=-${length}`),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 32 }), header, (object, text) => {
        const range = parsed(text);
        const named = [...object].filter((_, index) => {
          if (range.kind === "suffix") return index >= object.length - range.length;
          return index >= range.start && (range.kind === "from" || index <= range.end);
        });

        const span = resolveRange(range, object.length);
        const sent = span === "unsatisfiable" ? [] : [...object.subarray(span.offset, span.offset + span.length)];
        expect(sent).toEqual(named);
        expect(span === "unsatisfiable").toBe(named.length === 0);
      }),
      { numRuns: 2000 },
    );
  });

  test("a span lies inside the object, whatever was asked of whatever size", () => {
    const position = fc.oneof(fc.nat(), fc.maxSafeNat(), fc.constantFrom(0, 1, MAX - 1, MAX));
    const range = fc.oneof(
      fc.record({ kind: fc.constant("from" as const), start: position }),
      fc.record({ kind: fc.constant("suffix" as const), length: position }),
      fc
        .tuple(position, position)
        .map(([a, b]) => ({ kind: "bounded" as const, start: Math.min(a, b), end: Math.max(a, b) })),
    );
    fc.assert(
      fc.property(range, position, (asked, size) => {
        const span = resolveRange(asked, size);
        if (span === "unsatisfiable") return;
        expect(span.offset).toBeGreaterThanOrEqual(0);
        expect(span.length).toBeGreaterThanOrEqual(1);
        expect(span.offset).toBeLessThanOrEqual(size - span.length);
      }),
    );
  });
});

describe("Content-Range", () => {
  test("of a 206 names the first byte, the last byte and the whole size", () => {
    expect(formatContentRange(0, 500, 1234)).toBe("bytes 0-499/1234");
    expect(formatContentRange(1233, 1, 1234)).toBe("bytes 1233-1233/1234");
  });
  test("of a 416 names the size alone", () => {
    expect(formatUnsatisfiedRange(0)).toBe("bytes */0");
    expect(formatUnsatisfiedRange(47022)).toBe("bytes */47022");
  });
});
