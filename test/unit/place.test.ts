import { describe, expect, it } from "vitest";
import { placeOf, placeRuleSchema } from "../../workers/core/manifest/place.ts";

describe("the place of a key", () => {
  it.each([
    ["raw/cats/a.json", { stage: "raw", category: "cats" }],
    ["raw/a.json", { stage: "raw", category: null }],
    ["raw//a.json", { stage: "raw", category: null }],
    ["cats/a.json", { stage: null, category: "cats" }],
    ["/a.json", { stage: null, category: null }],
    ["a.json", { stage: null, category: null }],
  ])("%s is %j: a folder without a name is no category", (key, place) => {
    expect(placeOf(key)).toEqual(place);
  });
});

describe("a rule of places", () => {
  it("is in Unicode NFC, as keys are", () => {
    const rule = placeRuleSchema.parse({ pattern: "cafe\u0301/...", category: "cafe\u0301" });
    expect(rule).toEqual({ pattern: "caf\u00e9/...", category: "caf\u00e9" });
    expect(placeOf("caf\u00e9/x", [rule]).category).toBe("caf\u00e9");
  });
});
