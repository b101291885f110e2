import { describe, expect, it } from "vitest";
import { parseRouteKey } from "../../workers/core/http/key-path.ts";

const ROUTE = "https://h.example/v1/datasets/era5/records";
const keyOf = (rest: string) => {
  const key = parseRouteKey(ROUTE + rest, 4);
  return key.ok ? key.value : `${key.failure.code} ${key.failure.field}`;
};

describe("the key that a route ends with", () => {
  it.each([
    ["/a", "a"],
    ["/a/b/c.jsonl", "a/b/c.jsonl"],
    ["/a%20b+c?limit=1", "a b+c"],
    ["/a/", "a/"],
    ["/a%2F..%2Fb", "a/../b"],
    ["/%C3%A9#fragment", "é"],
    ["?key=a//../b", "a//../b"],
    ["?limit=1&key=a+%26b", "a+&b"],
    ["/?key=a", "a"],
  ])("%s is %j", (rest, key) => expect(keyOf(rest)).toBe(key));

  it.each([
    "",
    "/",
    "?key=",
    "/a/../b",
    "/a/%2e/b",
    "//a",
    "/a?key=b",
    "?key=a&key=b",
    "/%",
    "/%ff",
    "/%00",
    "?key=%ed%a0%80",
  ])("%s is refused", (rest) => expect(keyOf(rest)).toBe("invalid-key key"));
});
