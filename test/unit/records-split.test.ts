import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RECORD_MAX_BYTES } from "../../workers/core/limits.ts";
import { splitterOf } from "../../workers/core/records/index-builder.ts";
import { type Found, type Kind, type Resume, START } from "../../workers/core/records/record.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const textOf = ({ bytes, start, end }: Found) => new TextDecoder().decode(bytes.subarray(start, end));

/** The text in pieces that end at these places, each in memory that is used again for the next one. */
function* pieces(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let at = 0;
  for (const end of ends) {
    const piece = bytes.slice(at, end);
    yield piece;
    piece.fill(0x21);
    at = end;
  }
}

function split(kind: Kind, text: string | Uint8Array, cuts: readonly number[] = [], from: Resume = START) {
  const splitter = splitterOf(kind, from);
  const found: { text: string; line: number; record: number; offset: number; problem: string | null }[] = [];
  const keep = (some: Found[]) => {
    for (const one of some) {
      const { line, record, offset, problem } = one;
      found.push({ text: textOf(one), line, record, offset, problem });
    }
  };
  for (const piece of pieces(typeof text === "string" ? encode(text) : text, cuts)) keep(splitter.push(piece));
  keep(splitter.end());
  return { found, splitter };
}
const texts = (kind: Kind, text: string, cuts: readonly number[] = []) =>
  split(kind, text, cuts).found.map((one) => one.text);

const nasty = fc.constantFrom(
  "é",
  "\u{1f600}",
  "\u2028",
  "[",
  "]",
  "{",
  "}",
  ",",
  '"',
  "\\",
  '\\"',
  "\ud800",
  "\0",
  "\t",
  "a",
);
const string = fc.array(nasty, { maxLength: 8 }).map((parts) => parts.join(""));
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 3 },
    fc.oneof(fc.integer(), fc.boolean(), fc.constant(null), string),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(string, tie("any"), { maxKeys: 4 }),
  ),
})).any;
const cuts = fc.array(fc.nat(), { maxLength: 6 });

describe("lines", () => {
  it.each<[string, string[]]>([
    ["", []],
    ["\n\r\n \t\n", []],
    ["1\n2", ["1", "2"]],
    ["1\r\n2\r\n", ["1", "2"]],
    ["\u{feff}1\n2\n", ["1", "2"]],
    ["\u{feff}", []],
    ["  1\n\n2 \n", ["  1", "2 "]],
    ["1\u20282\n3", ["1\u20282", "3"]],
  ])("of %j are %j, however it is cut", (text, expected) => {
    for (let cut = 0; cut <= encode(text).length; cut++) expect(texts("lines", text, [cut])).toEqual(expected);
  });

  it("have the number of their line, blank ones counted, and where they begin", () => {
    const { found } = split("lines", "\n1\r\n\n é\n3");
    expect(found.map(({ line, record, offset }) => [line, record, offset])).toEqual([
      [2, 0, 1],
      [4, 1, 5],
      [5, 2, 9],
    ]);
  });

  it("begin after a byte order mark", () => {
    const bytes = new Uint8Array([0xef, 0xbb, 0xbf, 0x31, 0x0a, 0x32]);
    for (const where of [[], [1], [3], [4]]) {
      const { found } = split("lines", bytes, where);
      expect(found.map(({ text, offset }) => [text, offset])).toEqual([
        ["1", 3],
        ["2", 5],
      ]);
    }
  });

  it("are what String.split finds in 3,000 texts, cut anywhere", () => {
    const line = fc.oneof(
      value.map((some) => JSON.stringify(some)),
      fc.constantFrom("", " ", "{", '"'),
    );
    const text = fc.tuple(fc.array(line), fc.constantFrom("\n", "\r\n"), fc.boolean());
    fc.assert(
      fc.property(text, cuts, ([lines, newline, isEnded], where) => {
        const whole = lines.join(newline) + (isEnded ? newline : "");
        expect(texts("lines", whole, where)).toEqual(whole.split(/\r?\n/).filter((some) => some.trim() !== ""));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("an array", () => {
  it.each<[string, string[]]>([
    ["[]", []],
    [" \n[ \r\n] \n", []],
    ["\u{feff}[1]", ["1"]],
    ['[1,"],[",{"a":[2,"}"]} ]', ["1", '"],["', '{"a":[2,"}"]}']],
    ['["\\"",["\\\\"],"\\\\\\"]"]', ['"\\""', '["\\\\"]', '"\\\\\\"]"']],
    ['[\n  {\n    "a": 1\n  },\n  2\n]\n', ['{\n    "a": 1\n  }', "2"]],
    ["[[],[[]],{}]", ["[]", "[[]]", "{}"]],
  ])("%j has the elements %j, however it is cut", (text, expected) => {
    const bytes = encode(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      for (const other of [cut, cut + 1]) expect(texts("array", text, [cut, other])).toEqual(expected);
      expect(split("array", text, [cut]).splitter.trailing).toBeNull();
    }
  });

  it.each<[string, (string | null)[]]>([
    ["[1,,2]", [null, "empty", null]],
    ["[1,]", [null, "empty"]],
    ["[,1]", ["empty", null]],
    ["[1,2", [null, "unclosed"]],
    ["[1,", [null, "unclosed"]],
    ["[", ["unclosed"]],
    ['[1,"a', [null, "unclosed"]],
  ])("%j has a gap, or no end: %j", (text, problems) => {
    for (let cut = 0; cut <= text.length; cut++) {
      expect(split("array", text, [cut]).found.map(({ problem }) => problem)).toEqual(problems);
    }
  });

  it.each<[string, number]>([
    ["[1] [2]", 4],
    ["[1]\n,", 4],
    ["1", 0],
    ['{"a":[1]}', 0],
  ])("%j is none: something is outside of it, at byte %i", (text, at) => {
    for (let cut = 0; cut <= text.length; cut++) expect(split("array", text, [cut]).splitter.trailing).toBe(at);
  });

  it("has the elements that JSON.parse finds in 3,000 texts, cut anywhere, on the lines where they begin", () => {
    fc.assert(
      fc.property(fc.array(value), fc.constantFrom(0, 1, "\r\n"), cuts, (values, indent, where) => {
        const text = JSON.stringify(values, null, indent === 0 ? undefined : indent);
        const { found } = split("array", text, where);
        expect(found.map((one) => JSON.parse(one.text) as unknown)).toEqual(JSON.parse(text));
        const bytes = encode(text);
        for (const { line, offset, record } of found) {
          expect(line).toBe(new TextDecoder().decode(bytes.subarray(0, offset)).split("\n").length);
          expect(found[record]?.offset).toBe(offset);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe("a splitter", () => {
  it.each<Kind>(["lines", "array"])("of %s goes on from wherever another one has stopped", (kind) => {
    const text = kind === "lines" ? '1\n\n{"é":2}\r\n[3]\n4' : ' [1,\n {"é":"],"} ,[3] , "4" ] ';
    const bytes = encode(text);
    const whole = split(kind, text).found;
    for (let stop = 0; stop <= bytes.length; stop++) {
      const first = splitterOf(kind, START);
      const before = first.push(bytes.slice(0, stop)).length;
      const { resume } = first;
      expect(resume.offset).toBeLessThanOrEqual(stop);
      const rest = split(kind, bytes.slice(resume.offset), [], resume).found;
      expect(rest).toEqual(whole.slice(before));
    }
  });

  it.each<[Kind, string, string]>([
    ["lines", "1\n", "\n2\n"],
    ["array", "[1,", ",2]"],
  ])("of %s holds no record beyond 16 MiB, and goes on behind it", (kind, before, after) => {
    const splitter = splitterOf(kind, START);
    const found = [...splitter.push(encode(before))];
    const chunk = new Uint8Array(1 << 20).fill(0x39);
    for (let i = 0; i < 16; i++) found.push(...splitter.push(chunk));
    found.push(...splitter.push(encode("9")), ...splitter.push(encode(after)), ...splitter.end());
    expect(found.map(({ problem, start, end }) => [problem, end - start])).toEqual([
      [null, 1],
      ["too-long", 0],
      [null, 1],
    ]);
    expect(found[2]?.offset).toBe(before.length + RECORD_MAX_BYTES + 1 + 1);
  });
});
