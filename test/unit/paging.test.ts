import { describe, expect, it } from "vitest";
import { cursorSchema, formatCursor, wholeNumber } from "../../workers/gateway/paging.ts";

describe("a cursor", () => {
  it.each(["", "a", "\u{feff}key", "\u{feff}", "\u{1f600}", "\0"])("of %j comes back as it was", (after) => {
    expect(cursorSchema.parse(formatCursor(after))).toBe(after);
  });
});

describe("a number of a query", () => {
  it("is decimal digits within its bounds", () => {
    const schema = wholeNumber(1, 1000);
    expect(["1", "007", "1000"].map((text) => schema.parse(text))).toEqual([1, 7, 1000]);
    expect(wholeNumber(0).parse(String(Number.MAX_SAFE_INTEGER))).toBe(Number.MAX_SAFE_INTEGER);
  });

  it.each(["", " ", "5 ", " 5", "+5", "-5", "5.0", "1e2", "0x10", "٣", "Infinity", "0", "1001", "9".repeat(400)])(
    "is not %j",
    (text) => {
      expect(wholeNumber(1, 1000).safeParse(text).success).toBe(false);
    },
  );

  it("is none that cannot be told from the next", () => {
    expect(wholeNumber(0).safeParse("9007199254740993").success).toBe(false);
  });
});
