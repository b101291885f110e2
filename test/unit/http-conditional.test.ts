import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  evaluateConditions,
  parseEtagList,
  rangeApplies,
  type Preconditions,
} from "../../workers/core/http/conditional.ts";
import { formatHttpDate, parseHttpDate } from "../../workers/core/http/date.ts";

const MODIFIED = Date.UTC(2026, 4, 17, 10, 30, 15);
/** R2 keeps milliseconds; the wire does not. */
const CURRENT = { etag: "abc123", lastModified: MODIFIED + 789 };
const [BEFORE, SAME, AFTER] = [-1000, 0, 1000].map((ms) => formatHttpDate(MODIFIED + ms)) as [string, string, string];

const ABSENT: Preconditions = {
  method: "GET",
  ifMatch: null,
  ifNoneMatch: null,
  ifModifiedSince: null,
  ifUnmodifiedSince: null,
  ifRange: null,
};
const decide = (conditions: Partial<Preconditions>) => evaluateConditions({ ...ABSENT, ...conditions }, CURRENT);

describe("If-Match", () => {
  test.each(['"abc123"', '"x", "abc123"', "*", " * ", "abc123", '"a,b" ,"abc123"'])(
    "%s lets the read through",
    (ifMatch) => {
      expect(decide({ ifMatch })).toBe("proceed");
    },
  );
  test.each(['"other"', '"ABC123"', '"abc"', "", '"*"', '"x", *', '"abc123'])("%s is a 412", (ifMatch) => {
    expect(decide({ ifMatch })).toBe("precondition-failed");
  });
  test("compares strongly: a weak tag is a 412, even of the same text", () => {
    expect(decide({ ifMatch: 'W/"abc123"' })).toBe("precondition-failed");
    expect(decide({ ifMatch: "W/abc123" })).toBe("precondition-failed");
  });
  test("that holds makes If-Unmodified-Since irrelevant", () => {
    expect(decide({ ifMatch: '"abc123"', ifUnmodifiedSince: BEFORE })).toBe("proceed");
  });
});

describe("If-Unmodified-Since", () => {
  test("before the last change is a 412", () => {
    expect(decide({ ifUnmodifiedSince: BEFORE })).toBe("precondition-failed");
  });
  test("of the second of the last change, or later, lets the read through", () => {
    expect(decide({ ifUnmodifiedSince: SAME })).toBe("proceed");
    expect(decide({ ifUnmodifiedSince: AFTER })).toBe("proceed");
  });
  test("that is no date is ignored", () => {
    expect(decide({ ifUnmodifiedSince: "2020-01-01T00:00:00Z" })).toBe("proceed");
  });
});

describe("If-None-Match", () => {
  test.each(['"abc123"', 'W/"abc123"', '"x",W/"abc123"', "*", "abc123", "W/abc123"])("%s is a 304", (ifNoneMatch) => {
    expect(decide({ ifNoneMatch })).toBe("not-modified");
    expect(decide({ ifNoneMatch, method: "HEAD" })).toBe("not-modified");
  });
  test.each(['"other"', "", '"abc123, "', '"x,abc123"', 'w/"abc123"'])("%s sends the object", (ifNoneMatch) => {
    expect(decide({ ifNoneMatch })).toBe("proceed");
  });
  test("that matches is a 412 for a method other than GET and HEAD", () => {
    expect(decide({ ifNoneMatch: "*", method: "PUT" })).toBe("precondition-failed");
  });
  test("that does not match makes If-Modified-Since irrelevant", () => {
    expect(decide({ ifNoneMatch: '"other"', ifModifiedSince: AFTER })).toBe("proceed");
  });
  test("is looked at after If-Match and If-Unmodified-Since", () => {
    expect(decide({ ifMatch: '"other"', ifNoneMatch: '"abc123"' })).toBe("precondition-failed");
    expect(decide({ ifUnmodifiedSince: BEFORE, ifNoneMatch: '"abc123"' })).toBe("precondition-failed");
    expect(decide({ ifMatch: '"abc123"', ifNoneMatch: '"abc123"' })).toBe("not-modified");
  });
});

describe("If-Modified-Since", () => {
  test("of the second of the last change is a 304, though the object is milliseconds younger", () => {
    expect(decide({ ifModifiedSince: SAME })).toBe("not-modified");
    expect(decide({ ifModifiedSince: AFTER, method: "HEAD" })).toBe("not-modified");
  });
  test("before the last change sends the object", () => {
    expect(decide({ ifModifiedSince: BEFORE })).toBe("proceed");
  });
  test("is ignored when it is no date, and for methods that do not read", () => {
    expect(decide({ ifModifiedSince: "tomorrow" })).toBe("proceed");
    expect(decide({ ifModifiedSince: SAME, method: "POST" })).toBe("proceed");
  });
});

test("a request without conditions proceeds, and If-Range is not one of them", () => {
  expect(decide({})).toBe("proceed");
  expect(decide({ ifRange: '"other"' })).toBe("proceed");
});

describe("If-Range", () => {
  test.each([null, '"abc123"', "abc123", SAME])("%s lets the range through", (ifRange) => {
    expect(rangeApplies(ifRange, CURRENT)).toBe(true);
  });
  test.each([
    ['"other"', "another tag"],
    ['W/"abc123"', "weak, of the same text"],
    ["W/abc123", "weak, of the same text"],
    ["*", "no validator"],
    ['"abc123", "abc123"', "a list"],
    ["", "nothing"],
    [BEFORE, "an earlier date"],
    [AFTER, "a later date: only the exact one will do"],
    [SAME.replace(" GMT", ""), "no date"],
  ])("%s sends the whole object: %s", (ifRange) => {
    expect(rangeApplies(ifRange, CURRENT)).toBe(false);
  });
});

describe("a list of entity tags", () => {
  test.each([
    ['"a"', [["a"]]],
    ['"a","b"', [["a"], ["b"]]],
    [' "a" ,\t"b" ', [["a"], ["b"]]],
    ['"a,b", "c"', [["a,b"], ["c"]]],
    ['W/"a, b"', [["a, b", "weak"]]],
    ['"W/x"', [["W/x"]]],
    ["a, W/b", [["a"], ["b", "weak"]]],
    ['""', [[""]]],
    [',, "a",', [["a"]]],
    ['"a" "b"', []],
    ['"never closed, "x"', []],
    ["W/", [["W/"]]],
    ["", []],
  ])("%s is read member by member", (header, expected) => {
    const tags = expected.map(([tag, weak]) => ({ weak: weak === "weak", tag }));
    expect(parseEtagList(header)).toEqual(tags);
  });

  test("any tags, written as the grammar wants them, come back", () => {
    const text = fc.string({ unit: fc.constantFrom(..."ab,W/*\\'!~\xe9") });
    fc.assert(
      fc.property(fc.array(fc.record({ weak: fc.boolean(), tag: text })), (tags) => {
        const header = tags.map(({ weak, tag }) => `${weak ? "W/" : ""}"${tag}"`).join(" , ");
        expect(parseEtagList(header)).toEqual(tags);
      }),
    );
  });

  test("no header makes a decision throw", () => {
    const text = fc.option(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'",W/* a') })));
    const request = fc.record({
      method: fc.constantFrom("GET", "HEAD", "PUT"),
      ifMatch: text,
      ifNoneMatch: text,
      ifModifiedSince: text,
      ifUnmodifiedSince: text,
      ifRange: text,
    });
    fc.assert(
      fc.property(request, (conditions) => {
        expect(["proceed", "not-modified", "precondition-failed"]).toContain(evaluateConditions(conditions, CURRENT));
        expect(typeof rangeApplies(conditions.ifRange, CURRENT)).toBe("boolean");
      }),
      { numRuns: 1000 },
    );
  });

  test("a hostile list is read to its end: a backtracking pattern would not come back", () => {
    const tags = (header: string) => parseEtagList(header).length;
    expect(tags('"'.repeat(999_999))).toBe(0);
    expect(tags('",'.repeat(500_000))).toBe(250_000);
    expect(tags("W/".repeat(500_000))).toBe(1);
    expect(tags(`${" ".repeat(999_999)}"`)).toBe(0);
  });
});

describe("HTTP-date", () => {
  const RFC_EXAMPLE = Date.UTC(1994, 10, 6, 8, 49, 37);
  const NOW = Date.UTC(2026, 4, 17);

  test.each(["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])(
    "%s, of RFC 9110, section 5.6.7, is one and the same instant",
    (text) => {
      expect(parseHttpDate(text, NOW)).toBe(RFC_EXAMPLE);
    },
  );
  test("is written as IMF-fixdate, in the whole second that has begun", () => {
    expect(formatHttpDate(RFC_EXAMPLE + 999)).toBe("Sun, 06 Nov 1994 08:49:37 GMT");
  });
  test("with two digits of a year never lies more than 50 years ahead", () => {
    expect(parseHttpDate("Sunday, 17-May-76 00:00:00 GMT", NOW)).toBe(Date.UTC(2076, 4, 17));
    expect(parseHttpDate("Tuesday, 17-May-77 00:00:00 GMT", NOW)).toBe(Date.UTC(1977, 4, 17));
    expect(parseHttpDate("Sunday, 17-May-05 00:00:00 GMT", Date.UTC(2099, 0))).toBe(Date.UTC(2105, 4, 17));
  });
  test("may have a leap second, which is the next second", () => {
    expect(parseHttpDate("Sat, 31 Dec 2016 23:59:60 GMT", NOW)).toBe(Date.UTC(2017, 0, 1));
  });

  test.each([
    ["", "nothing"],
    ["Mon, 06 Nov 1994 08:49:37 GMT", "that was a Sunday"],
    ["Sun, 6 Nov 1994 08:49:37 GMT", "one digit of a day"],
    ["Sun, 06 nov 1994 08:49:37 GMT", "the case is fixed"],
    ["sun, 06 Nov 1994 08:49:37 GMT", "the case is fixed"],
    ["Sun, 06 Nov 1994 08:49:37 UTC", "the zone is GMT"],
    ["Sun, 06 Nov 1994 08:49:37 +0000", "the zone is GMT"],
    ["Sun, 06 Nov 1994 08:49:37", "no zone"],
    ["Sun, 06 Nov 1994 24:00:00 GMT", "no such hour"],
    ["Sun, 06 Nov 1994 08:60:00 GMT", "no such minute"],
    ["Sun, 06 Nov 1994 08:49:61 GMT", "no such second"],
    ["Sun, 06 Nov 1994 8:49:37 GMT", "one digit of an hour"],
    ["Thu, 30 Feb 2023 00:00:00 GMT", "no such day"],
    ["Wed, 00 Mar 2023 00:00:00 GMT", "no such day"],
    ["Wed, 29 Feb 2023 00:00:00 GMT", "no leap year"],
    ["Mon, 29 Feb 1900 00:00:00 GMT", "no leap year"],
    ["Sun, 06 Foo 1994 08:49:37 GMT", "no such month"],
    ["Sun, 06 Nov 94 08:49:37 GMT", "two digits of a year in this form"],
    ["Sun, 06-Nov-94 08:49:37 GMT", "the obsolete form has the day's full name"],
    ["Sun Nov 6 08:49:37 1994", "asctime pads the day"],
    [" Sun, 06 Nov 1994 08:49:37 GMT", "a blank before it"],
    ["Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "two dates"],
    ["1994-11-06T08:49:37Z", "another format"],
    ["784111777", "another format"],
  ])("%j is none: %s", (text) => {
    expect(parseHttpDate(text, NOW)).toBeNull();
  });

  test("agrees with the platform's calendar on every second of the years 0 to 9999", () => {
    const second = fc.integer({ min: Date.parse("0000-01-01T00:00:00Z") / 1000, max: Date.UTC(9999, 11, 31) / 1000 });
    fc.assert(
      fc.property(second, (seconds) => {
        const text = new Date(seconds * 1000).toUTCString();
        expect(formatHttpDate(seconds * 1000)).toBe(text);
        expect(parseHttpDate(text, NOW)).toBe(seconds * 1000);
      }),
      { numRuns: 3000 },
    );
  });

  test("no text makes the parser throw", () => {
    const digit = fc.constantFrom(..."0123456789");
    const nearly = fc
      .tuple(digit, digit, digit, digit)
      .map(([a, b, c, d]) => `Sun, ${a}${b} Feb ${c}${d}00 ${d}${a}:${c}${b}:${b}${d} GMT`);
    fc.assert(
      fc.property(fc.oneof(fc.string(), nearly), (text) => {
        const date = parseHttpDate(text, NOW);
        return date === null || Number.isSafeInteger(date);
      }),
      { numRuns: 2000 },
    );
  });
});
