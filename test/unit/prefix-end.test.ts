import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareUtf8, prefixEnd } from "../../workers/core/migration/utf8-order.ts";

const text = fc.string({ unit: "binary", maxLength: 8 });

describe("the end of a prefix", () => {
  it("lies after every key that begins with it", () => {
    fc.assert(
      fc.property(text, text, (prefix, rest) => {
        const end = prefixEnd(prefix);
        expect(end === null || compareUtf8(prefix + rest, end) < 0).toBe(true);
      }),
    );
  });

  it("lies before or at every later key that does not", () => {
    fc.assert(
      fc.property(text, text, (prefix, key) => {
        const end = prefixEnd(prefix);
        const isLater = compareUtf8(key, prefix) > 0 && !key.startsWith(prefix);
        expect(!isLater || (end !== null && compareUtf8(key, end) >= 0)).toBe(true);
      }),
    );
  });

  it("is one code point up, past the surrogates, and there is none of the empty prefix", () => {
    expect(prefixEnd("era5/")).toBe("era50");
    expect(prefixEnd("\ud7ff")).toBe("\ue000");
    expect(prefixEnd("a\u{10ffff}")).toBe("b");
    expect(prefixEnd("")).toBeNull();
    expect(prefixEnd("\u{10ffff}")).toBeNull();
  });
});
