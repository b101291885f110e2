import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import { test } from "vitest";
import { evaluateConditions, parseEtagList, rangeApplies } from "../../workers/core/http/conditional.ts";
import { formatHttpDate, parseHttpDate } from "../../workers/core/http/date.ts";
import { referenceRangeApplies, referenceTags, referenceVerdict } from "../reference/conditional.ts";
import { referenceDate, writeDate } from "../reference/http-date.ts";
import { mutated } from "../reference/mutated.ts";
import { count, PATIENCE, RUNS } from "./fuzz-runs.ts";

const ETAG = "5d41402abc4b2a76b9719d911017c592";
const CURRENT = { etag: ETAG, lastModified: Date.UTC(2026, 4, 17, 10, 30, 15, 789) };

const tag = fc.constantFrom(
  `"${ETAG}"`,
  `W/"${ETAG}"`,
  ETAG,
  `W/${ETAG}`,
  '"other"',
  '""',
  '"a,b"',
  "*",
  "W/",
  '"open',
  "",
);
const list = fc
  .array(tag, { maxLength: 4 })
  .chain((tags) => fc.constantFrom(",", ", ", " ,\t", ",,").map((comma) => tags.join(comma)));

test(`${count(RUNS.tagLists)} lists hold the tags that the reference finds in them`, { timeout: PATIENCE }, () => {
  fc.assert(
    fc.property(mutated(list), (field) => deepStrictEqual(parseEtagList(field), referenceTags(field))),
    { numRuns: RUNS.tagLists },
  );
});

const form = fc.constantFrom("imf-fixdate" as const, "rfc850" as const, "asctime" as const);
const dateNear = (instant: fc.Arbitrary<number>) =>
  fc.tuple(form, instant).map(([of, epochMs]) => writeDate(of, epochMs));
const aroundTheChange = dateNear(
  fc.constantFrom(-86_400_000, -1000, 0, 1000, 86_400_000).map((ms) => CURRENT.lastModified + ms),
);

test(`${count(RUNS.conditions)} requests are decided as the reference decides them`, { timeout: PATIENCE }, () => {
  const absent = { arbitrary: fc.constant(null), weight: 3 };
  const tags = fc.oneof(absent, { arbitrary: list, weight: 2 }, { arbitrary: mutated(list), weight: 1 });
  const date = fc.oneof(
    absent,
    { arbitrary: aroundTheChange, weight: 2 },
    { arbitrary: mutated(aroundTheChange), weight: 1 },
  );
  const request = fc.record({
    method: fc.constantFrom("GET", "HEAD", "PUT"),
    ifMatch: tags,
    ifNoneMatch: tags,
    ifModifiedSince: date,
    ifUnmodifiedSince: date,
    ifRange: fc.oneof(tags, date),
  });
  fc.assert(
    fc.property(request, (asked) => {
      deepStrictEqual(evaluateConditions(asked, CURRENT), referenceVerdict(asked, CURRENT));
      deepStrictEqual(rangeApplies(asked.ifRange, CURRENT), referenceRangeApplies(asked.ifRange, CURRENT));
    }),
    { numRuns: RUNS.conditions },
  );
});

test(`${count(RUNS.dates)} dates are the instants of the platform's calendar`, { timeout: PATIENCE }, () => {
  const second = (from: number, to: number) =>
    fc.integer({ min: from / 1000, max: to / 1000 }).map((seconds) => seconds * 1000);
  const FIRST = Date.parse("0000-01-01T00:00:00Z");
  const anyTime = second(FIRST, Date.UTC(9999, 11, 31, 23, 59, 59));
  // Where leap days and centuries turn.
  const turns = [1900, 1999, 2000, 2023, 2024, 2100, 2400].flatMap((year) => [
    Date.UTC(year, 1, 28, 23, 59, 59),
    Date.UTC(year, 2, 1),
    Date.UTC(year, 11, 31, 23, 59, 59),
  ]);
  const instant = fc.oneof(anyTime, fc.constantFrom(...turns));
  const leap = dateNear(instant).map((text) => text.replace(/:\d\d(?= )/, ":60"));
  const otherDay = dateNear(instant).map((text) => text.replace(/(?<=[ ,])[ \d]\d(?=[ -])/, "29"));
  const near = fc.constantFrom(CURRENT.lastModified, Date.UTC(1999, 11, 31), Date.UTC(2049, 0), Date.UTC(2100, 0));
  fc.assert(
    fc.property(fc.oneof(mutated(dateNear(instant)), leap, otherDay), instant, near, (text, epochMs, present) => {
      deepStrictEqual(parseHttpDate(text, present), referenceDate(text, present));
      deepStrictEqual(formatHttpDate(epochMs), writeDate("imf-fixdate", epochMs));
    }),
    { numRuns: RUNS.dates },
  );
});
