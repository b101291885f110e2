import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkJson } from "../../workers/core/records/check-json.ts";
import { mutated } from "../reference/mutated.ts";

const check = (bytes: Uint8Array) => checkJson(bytes, 0, bytes.length);
const checkText = (text: string) => check(new TextEncoder().encode(text));

/** What `JSON.parse` says of the same bytes, decoded strictly. */
function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}

describe("checkJson", () => {
  it.each([
    ["null", null],
    [' {"a":[1,-0.5e+10,true,{}],"":""} ', null],
    ["[]", null],
    ['"\\ud800"', null], // half a surrogate pair, escaped, is JSON
    ['"\\u00e9\\/\\b"', null],
    ["", "not-json"],
    ["{", "not-json"],
    ["[1,]", "not-json"],
    ['{"a":1,}', "not-json"],
    ["[1}", "not-json"],
    ["01", "not-json"],
    ["1.", "not-json"],
    ["-", "not-json"],
    ["1e", "not-json"],
    ["nul", "not-json"],
    ["NaN", "not-json"],
    ["1 2", "not-json"],
    ["'a'", "not-json"],
    ['"a\nb"', "not-json"],
    ['"\\u12g4"', "not-json"],
    ['"\\x"', "not-json"],
    ["\u{feff}1", "not-json"],
    ["\u00a01", "not-json"],
  ])("%j is %s", (text, expected) => expect(checkText(text)).toBe(expected));

  it.each([
    [[0xc3], "cut short"],
    [[0xc0, 0x80], "overlong"],
    [[0xe0, 0x80, 0x80], "overlong"],
    [[0xed, 0xa0, 0x80], "a surrogate"],
    [[0xf4, 0x90, 0x80, 0x80], "beyond U+10FFFF"],
    [[0xf8, 0x88, 0x80, 0x80, 0x80], "of five bytes"],
    [[0x80], "a continuation alone"],
  ])("%j in a string, %s, is not UTF-8", (bytes) => {
    expect(check(Uint8Array.from([0x22, ...bytes, 0x22]))).toBe("not-utf8");
  });

  it("takes 100,000 brackets within each other, each closed by its own kind", () => {
    const open = '[{"a":'.repeat(1e5);
    expect(checkText(`${open}1${"}]".repeat(1e5)}`)).toBeNull();
    expect(checkText(`${open}1${"]]".repeat(1e5)}`)).toBe("not-json");
    expect(checkText(`${open}1${"}]".repeat(1e5 - 1)}`)).toBe("not-json");
  });

  it("takes what JSON.parse takes of 20,000 texts, and refuses what it refuses", () => {
    const text = mutated(
      fc.oneof(
        fc.json(),
        fc.json().map((json) => JSON.stringify(JSON.parse(json), null, 2)),
      ),
    );
    fc.assert(
      fc.property(text, (some) => {
        const bytes = new TextEncoder().encode(some);
        expect(check(bytes) === null).toBe(isJson(bytes));
      }),
      { numRuns: 20_000 },
    );
  });

  it("takes what is UTF-8 of 20,000 strings of any bytes, and nothing else", () => {
    const edge = fc.constantFrom(
      0x7f,
      0x80,
      0x8f,
      0x90,
      0x9f,
      0xa0,
      0xbf,
      0xc1,
      0xc2,
      0xe0,
      0xed,
      0xef,
      0xf0,
      0xf4,
      0xf5,
    );
    fc.assert(
      fc.property(fc.array(edge, { maxLength: 5 }), (some) => {
        const bytes = Uint8Array.from([0x22, ...some, 0x22]);
        expect(check(bytes) === null).toBe(isJson(bytes));
      }),
      { numRuns: 20_000 },
    );
  });
});
