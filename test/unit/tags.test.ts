import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatTags, parseTags, tagsOf } from "../../workers/core/migration/tags.ts";

const character = fc.constantFrom("a", "=", "&", "%", "+", " ", "é", "日", "😀", "/", "\n");
const textOf = (minLength: number, maxLength: number) => fc.string({ unit: character, minLength, maxLength });

describe("tags as text", () => {
  test("are what S3 takes in x-amz-tagging", () => {
    expect(formatTags({ team: "earth obs", "a=b": "c&d", none: "", ü: "+" })).toBe(
      "team=earth%20obs&a%3Db=c%26d&none=&%C3%BC=%2B",
    );
  });

  test("are read as what was written, whatever is in them", () => {
    const tags = fc.dictionary(textOf(1, 128), textOf(0, 256), { minKeys: 1, maxKeys: 10, noNullPrototype: true });
    fc.assert(
      fc.property(tags, (some) => {
        expect(parseTags(formatTags(some))).toEqual(some);
      }),
    );
  });

  test.each(["", "a", "ab", "a=1&b", "=1", "a=%zz", "a=%ff", "&", "a=1&"])("are not read from %j", (text) => {
    expect(parseTags(text)).toBeNull();
  });
});

describe("tags are those that S3 allows", () => {
  const many = (count: number) => Array.from({ length: count }, (_, n): [string, string] => [`k${n}`, ""]);

  test("ten, of 128 and 256 characters, wherever these are in Unicode", () => {
    expect(tagsOf(many(10))).toMatchObject({ k0: "", k9: "" });
    expect(tagsOf([["😀".repeat(128), "😀".repeat(256)]])).not.toBeNull();
  });

  test.each<[string, [string, string][]]>([
    ["none", []],
    ["eleven", many(11)],
    ["one without a key", [["", "v"]]],
    ["a key of 129 characters", [["k".repeat(129), ""]]],
    ["a value of 257", [["k", "v".repeat(257)]]],
    ["half a character", [["k", "\ud800"]]],
  ])("and no others: %s", (_what, pairs) => {
    expect(tagsOf(pairs)).toBeNull();
  });
});
