import { describe, expect, test } from "vitest";
import * as z from "zod";
import {
  checkFilter,
  compileFilter,
  type Filter,
  filterFields,
  isKeyOnly,
  keyFilter,
  NO_FILTER,
} from "../../workers/core/migration/filter.ts";

const schema = z.strictObject(filterFields);
const parse = (body: unknown): Filter => schema.parse(body);
const refusal = (body: unknown) => {
  const parsed = schema.safeParse(body);
  const issue = parsed.success ? undefined : parsed.error.issues[0];
  return issue === undefined ? null : { field: issue.path.join("."), message: issue.message };
};
const object = { key: "a/b.txt", size: 100, lastModified: 1_700_000_000_000 };

describe("the fields of a request", () => {
  test("say nothing: everything is taken", () => {
    expect(parse({})).toEqual(NO_FILTER);
    expect(compileFilter(NO_FILTER)({ ...object, key: "" })).toBe(true);
  });

  test("may say null where there is no limit", () => {
    const nothing = { minBytes: null, maxBytes: null, modifiedSince: null, storageClasses: null };
    expect(parse(nothing)).toEqual(NO_FILTER);
  });

  test.each([
    ["2023-11-14T22:13:20Z", 1_700_000_000_000],
    ["2023-11-14T22:13:20.123Z", 1_700_000_000_123],
    ["2023-11-15T00:13:20+02:00", 1_700_000_000_000],
    ["1970-01-01T00:00:00Z", 0],
  ])("give a time as %s", (text, time) => {
    expect(parse({ modifiedSince: text }).modifiedSince).toBe(time);
  });

  test.each<[string, unknown]>([
    ["prefix", 1],
    ["prefix", "\ud800"],
    ["prefix", "a\0"],
    ["include", []],
    ["include", "**"],
    ["include.1", ["a", "[b"]],
    ["include", Array.from({ length: 101 }, () => "a")],
    ["exclude", Array.from({ length: 17 }, () => "x".repeat(1000))],
    ["exclude.0", [""]],
    ["minBytes", -1],
    ["minBytes", 1.5],
    ["maxBytes", "10"],
    ["modifiedSince", "yesterday"],
    ["modifiedSince", "2023-11-14"],
    ["modifiedSince", "2023-02-30T00:00:00Z"],
    ["modifiedSince", 1_700_000_000_000],
    ["storageClasses", []],
    ["storageClasses.0", ["a b"]],
  ])("are refused by name: %s as %j", (field, value) => {
    expect(refusal({ [field.split(".")[0] ?? ""]: value })).toMatchObject({ field });
  });

  test("name what is wrong with a glob", () => {
    expect(refusal({ exclude: ["ok", "{a"] })?.message).toContain("not closed");
  });

  test("are refused together where no object can pass", () => {
    expect(checkFilter(parse({ minBytes: 2, maxBytes: 1 }))).toMatchObject({ code: "invalid-body", field: "maxBytes" });
    expect(checkFilter(parse({ minBytes: 1, maxBytes: 1 }))).toBeNull();
    expect(checkFilter(parse({ minBytes: 1 }))).toBeNull();
  });
});

describe("an object passes", () => {
  test.each<[string, object, boolean]>([
    ["its prefix, which need not end in a slash", { prefix: "a/b" }, true],
    ["not another prefix", { prefix: "b" }, false],
    ["not a prefix longer than its key", { prefix: "a/b.txt/" }, false],
    ["one of several globs", { include: ["*.csv", "**/*.txt"] }, true],
    ["none of them", { include: ["*.txt"] }, false],
    ["globs of the whole key, prefix and all", { prefix: "a/", include: ["a/*"] }, true],
    ["not the glob of what follows the prefix", { prefix: "a/", include: ["*.txt"] }, false],
    ["but for an exclusion, which has the last word", { include: ["**"], exclude: ["a/**"] }, false],
    ["an exclusion of others", { exclude: ["b/**"] }, true],
    ["the smallest size, included", { minBytes: 100 }, true],
    ["not when smaller", { minBytes: 101 }, false],
    ["the largest size, included", { maxBytes: 100 }, true],
    ["not when larger", { maxBytes: 99 }, false],
    ["at the time, included", { modifiedSince: "2023-11-14T22:13:20Z" }, true],
    ["not when older", { modifiedSince: "2023-11-14T22:13:20.001Z" }, false],
    ["STANDARD, which S3 does not name", { storageClasses: ["STANDARD"] }, true],
    ["not another class", { storageClasses: ["GLACIER", "STANDARD_IA"] }, false],
  ])("%s", (_what, body, expected) => {
    expect(compileFilter(parse(body))(object)).toBe(expected);
  });

  test.each<[string | undefined, boolean]>([
    ["STANDARD", true],
    ["Standard", true],
    [undefined, true],
    ["STANDARD_IA", false],
  ])("in class %j where STANDARD is asked for: %j", (storageClass, expected) => {
    const isWanted = compileFilter(parse({ storageClasses: ["STANDARD"] }));
    expect(isWanted({ ...object, ...(storageClass === undefined ? {} : { storageClass }) })).toBe(expected);
  });

  test("only if all that is asked for holds", () => {
    const filter = parse({ prefix: "a/", include: ["**/*.txt"], exclude: ["**/c*"], minBytes: 10, maxBytes: 200 });
    const isWanted = compileFilter(filter);
    expect(isWanted(object)).toBe(true);
    expect(isWanted({ ...object, key: "b/b.txt" })).toBe(false);
    expect(isWanted({ ...object, key: "a/b.csv" })).toBe(false);
    expect(isWanted({ ...object, key: "a/c.txt" })).toBe(false);
    expect(isWanted({ ...object, size: 9 })).toBe(false);
    expect(isWanted({ ...object, size: 201 })).toBe(false);
  });
});

describe("a key alone", () => {
  test("is judged by prefix and globs, whatever else is asked for", () => {
    const isKey = keyFilter(parse({ prefix: "a/", include: ["**/*.txt"], exclude: ["a/x/**"], minBytes: 1e9 }));
    expect(["a/b.txt", "a/x/b.txt", "b/b.txt", "a/b"].map(isKey)).toEqual([true, false, false, false]);
  });

  test.each<[object, boolean]>([
    [{}, true],
    [{ prefix: "a", include: ["b"], exclude: ["c"] }, true],
    [{ minBytes: 0 }, false],
    [{ maxBytes: 1 }, false],
    [{ modifiedSince: "2023-11-14T22:13:20Z" }, false],
    [{ storageClasses: ["STANDARD"] }, false],
  ])("decides for %j: %j", (body, expected) => {
    expect(isKeyOnly(parse(body))).toBe(expected);
  });
});
