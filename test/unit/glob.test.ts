import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileGlobs, GLOB_MAX_CHARS, GLOBS_MAX } from "../../workers/core/migration/glob.ts";
import { referenceGlob } from "../reference/glob.ts";

const matcher = (...globs: string[]) => {
  const compiled = compileGlobs(globs);
  if (!compiled.ok) throw new Error(compiled.failure.detail);
  return compiled.value;
};
const detailOf = (...globs: string[]) => {
  const compiled = compileGlobs(globs);
  return compiled.ok ? null : compiled.failure.detail;
};

/** A glob, keys that it matches, and keys that it does not. */
const CASES: [string, string[], string[]][] = [
  ["a", ["a"], ["", "A", "aa", "a/", "b"]],
  ["*", ["", "a", ".a", "a.b", "..", "a\nb", "日本"], ["/", "a/b", "a/"]],
  ["**", ["", "a", "/", "a/b", "./x", "a/../b", "//", "a\nb", "."], []],
  ["*.txt", [".txt", "a.txt", "..txt"], ["a/b.txt", "a.txt/", "atxt"]],
  ["**.txt", ["a.txt", "a/b.txt", ".txt"], ["a.txt/"]],
  ["a/*", ["a/", "a/b"], ["a", "a/b/c", "a//"]],
  ["a/**", ["a/", "a/b", "a/b/c", "a//", "a/../b"], ["a", "ab"]],
  ["a/**/z", ["a/z", "a/b/z", "a/b/c/z", "a//z", "a/./z"], ["az", "a/bz", "a/zz", "b/a/z"]],
  ["**/z", ["z", "a/z", "/z", "a/b/z", "../z"], ["az", "z/", "a/zz"]],
  ["**/", ["", "a/", "a/b/", "/"], ["a", "a/b"]],
  ["**/**/z", ["z", "a/z", "a/b/z"], ["az"]],
  ["a**/z", ["a/z", "ab/z", "a/b/z"], ["az", "b/z"]],
  ["***", ["", "a/b"], []],
  ["?", ["a", "é", "\u{1F600}", "\n", "*"], ["", "/", "ab", "e\u0301"]],
  ["a?c", ["abc", "a\u{1F600}c"], ["ac", "a/c", "abbc"]],
  ["[a-c]x", ["ax", "cx"], ["dx", "x", "Ax", "a"]],
  ["[!a-c]x", ["dx", "!x", "\u{1F600}x"], ["ax", "/x", "x"]],
  ["[a-]", ["a", "-"], ["b"]],
  ["[-a]", ["a", "-"], ["b"]],
  ["[!-]", ["a"], ["-", "/"]],
  ["[\\]\\\\]", ["]", "\\"], ["[", "a"]],
  ["[*?{},]", ["*", "?", "{", "}", ","], ["a"]],
  ["[+-9]", ["+", ".", "0"], ["/"]],
  ["[à-ü]", ["é", "à"], ["e", "a"]],
  ["[\u{1F600}-\u{1F610}]", ["\u{1F605}"], ["\u{1F620}", "a"]],
  ["{a,b}", ["a", "b"], ["", "ab", "a,b", "{a,b}"]],
  ["{a,}b", ["ab", "b"], ["a", "aab"]],
  ["x{a,b{c,d}}y", ["xay", "xbcy", "xbdy"], ["xby", "xacy"]],
  ["{a,b}/{c,d}", ["a/c", "a/d", "b/c", "b/d"], ["a/b", "c/a"]],
  ["{a/,}**/z", ["a/z", "z", "a/b/z", "b/z"], ["az"]],
  ["{a,b/**/c}", ["a", "b/c", "b/x/c"], ["b", "c"]],
  ["{*,**}", ["a", "a/b"], []],
  ["{[,],x}", [",", "x"], ["["]],
  ["\\*", ["*"], ["a", "\\*", ""]],
  ["\\{a,b\\}", ["{a,b}"], ["a", "b"]],
  ["a,b", ["a,b"], ["a", "b"]],
  ["a]", ["a]"], ["a"]],
  ["caf\u00e9", ["caf\u00e9"], ["cafe\u0301"]],
];

describe("a key is matched as it is spelt", () => {
  test.each(CASES)("%j matches all of %j and none of %j", (glob, matched, others) => {
    const isMatch = matcher(glob);
    expect(matched.filter((key) => !isMatch(key))).toEqual([]);
    expect(others.filter(isMatch)).toEqual([]);
  });

  test("the reference agrees with these cases, too", () => {
    for (const [glob, matched, others] of CASES) {
      expect(matched.filter((key) => !referenceGlob(glob, key))).toEqual([]);
      expect(others.filter((key) => referenceGlob(glob, key))).toEqual([]);
    }
  });

  test("a list matches what any of its globs matches, and asks the same way twice", () => {
    const isMatch = matcher("a/*", "*.txt");
    for (let i = 0; i < 2; i++)
      expect(["a/b", "x.txt", "x/y.txt", "a"].map(isMatch)).toEqual([true, true, false, false]);
  });

  test("an empty list matches nothing", () => {
    expect(matcher()("")).toBe(false);
    expect(matcher()("a")).toBe(false);
  });
});

describe("a glob that means nothing is refused, with the way out", () => {
  test.each([
    ["", "empty"],
    ["[a", "not closed"],
    ["[", "not closed"],
    ["[a\\]", "not closed"],
    ["[]", "empty"],
    ["[!]", "empty"],
    ["[^a]", "[!"],
    ["[z-a]", "backwards"],
    ["[/]", "slash"],
    ["{a,b", "not closed"],
    ["a}", "closes nothing"],
    ["{a}", "no comma"],
    ["{}", "no comma"],
    ["{1..9}", "no comma"],
    ["a\\", "follows"],
    ["\ud800", "surrogate"],
  ])("%j", (glob, words) => {
    expect(detailOf(glob)).toContain(words);
    expect(detailOf("fine", glob)).toContain(words);
  });
});

describe("a list of globs has bounds", () => {
  test("of characters in one", () => {
    expect(detailOf("a".repeat(GLOB_MAX_CHARS))).toBeNull();
    expect(detailOf("a".repeat(GLOB_MAX_CHARS + 1))).toContain("1025 characters");
  });

  test("of globs", () => {
    const globs = Array.from({ length: GLOBS_MAX }, (_, i) => `a${i}/**`);
    expect(detailOf(...globs)).toBeNull();
    expect(detailOf(...globs, "b")).toContain("101 globs");
  });

  test("of what braces stand for: a billion is refused as fast as 257", () => {
    expect(detailOf("{a,b}".repeat(8))).toBeNull();
    expect(detailOf("{a,b}".repeat(9))).toContain("more than 256");
    expect(detailOf("{a,b}".repeat(200))).toContain("more than 256");
    expect(detailOf(`{${"a,".repeat(300)}}`)).toContain("more than 256");
    expect(detailOf(`${"{a,".repeat(255)}b${"}".repeat(255)}`)).toBeNull();
  });

  test("of all of them together, braces written out", () => {
    const long = "x".repeat(1000);
    expect(detailOf(...Array.from({ length: 4 }, () => long))).toBeNull();
    expect(detailOf(...Array.from({ length: 5 }, () => long))).toContain("more than 4096 characters");
    expect(detailOf(`{${"a".repeat(200)},b}`.repeat(3) + "c".repeat(100))).toBeNull();
    expect(detailOf("{a,b}".repeat(8) + "c".repeat(100))).toContain("more than 4096 characters");
  });

  test("of texts that are empty, each of which is one, too", () => {
    const empty = `{${",".repeat(255)}}`;
    expect(detailOf(...Array.from({ length: 16 }, () => empty))).toBeNull();
    expect(detailOf(...Array.from({ length: 17 }, () => empty))).toContain("more than 4096 characters");
  });

  test("and beyond them the way out is said", () => {
    expect(detailOf(...Array.from({ length: 5 }, () => "x".repeat(1000)))).toMatch(/fewer or wider ones, or .*"keys"/);
  });
});

/** What a glob may be made of; braces whole, so that every glob is right. */
const piece = fc.constantFrom(
  ...[
    "a",
    "b",
    "/",
    "*",
    "**",
    "?",
    ".",
    "é",
    "\u{1F600}",
    "\\*",
    "\\/",
    "/**/",
    "**/",
    "[ab]",
    "[!a]",
    "[!-b]",
    "[.-a]",
  ],
  ...["{a,b}", "{a,/b}", "{*,a/}", "{,**/}a", "{a,{b,*}}", "{[,],b}", "{\\,,a}", "{**,b}/"],
);
const glob = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(""));
const key = fc
  .array(fc.constantFrom("a", "a", "b", "/", "/", ".", "*", ",", "é", "\u{1F600}", "\n"), { maxLength: 8 })
  .map((chars) => chars.join(""));

describe("of any glob and key", () => {
  test("the automaton says what backtracking says", () => {
    let matches = 0;
    fc.assert(
      fc.property(glob, fc.array(key, { minLength: 5, maxLength: 5 }), (pattern, keys) => {
        // Braces beside braces may stand for more than are taken.
        const compiled = compileGlobs([pattern]);
        fc.pre(compiled.ok);
        const isMatch = compiled.value;
        for (const text of keys) {
          const expected = referenceGlob(pattern, text);
          if (expected) matches++;
          expect(isMatch(text), `${JSON.stringify(pattern)} on ${JSON.stringify(text)}`).toBe(expected);
        }
      }),
      { numRuns: 20_000 },
    );
    // Else little was compared.
    expect(matches).toBeGreaterThan(1000);
  }, 300_000);

  test("also where it is one of a list that is longer than a word of states, and whose characters lie anywhere", () => {
    const others = fc.array(glob, { minLength: 8, maxLength: 20 });
    let matches = 0;
    fc.assert(
      fc.property(others, fc.array(key, { minLength: 5, maxLength: 5 }), (patterns, keys) => {
        const list = compileGlobs(patterns.map((pattern) => `bb${pattern}`));
        fc.pre(list.ok);
        const isMatch = list.value;
        for (const text of keys.map((one) => `bb${one}`)) {
          const expected = patterns.some((pattern) => referenceGlob(`bb${pattern}`, text));
          if (expected) matches++;
          expect(isMatch(text), `${JSON.stringify(patterns)} on ${JSON.stringify(text)}`).toBe(expected);
        }
      }),
      { numRuns: 2000 },
    );
    expect(matches).toBeGreaterThan(1000);
  }, 300_000);

  test("its characters escaped, a key is a glob that matches that key alone", () => {
    const text = fc.string({ unit: "binary", minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(text, text, (one, other) => {
        const isMatch = matcher(Array.from(one, (char) => `\\${char}`).join(""));
        expect(isMatch(one)).toBe(true);
        expect(isMatch(other)).toBe(one === other);
      }),
      { numRuns: 2000 },
    );
  });

  test("whatever text is given, it is compiled or refused, and nothing is thrown", () => {
    const text = fc
      .array(fc.constantFrom(..."ab/*?[]{},!\\-^\u{1F600}"), { maxLength: 40 })
      .map((chars) => chars.join(""));
    fc.assert(
      fc.property(text, key, (pattern, name) => {
        const compiled = compileGlobs([pattern]);
        if (compiled.ok) expect(compiled.value(name)).toBeTypeOf("boolean");
        else expect(compiled.failure).toMatchObject({ code: "invalid-body" });
      }),
      { numRuns: 5000 },
    );
  });
});

describe("a hostile glob does not hang", () => {
  const worst = "a".repeat(1024);
  test.each([
    ["many stars", "*a".repeat(512)],
    ["many globstars", "**a".repeat(341)],
    ["many folders", `${"**/".repeat(341)}b`],
    ["many stars in braces", "{*a,*b}".repeat(5) + "*a".repeat(50)],
  ])("%s: a key of 1,024 characters is decided", (_which, pattern) => {
    const isMatch = matcher(pattern);
    // Some 10 ms each; a backtracking matcher would not come back.
    for (let i = 0; i < 10; i++) expect(isMatch(`${worst.slice(1)}b`)).toBe(false);
  });

  test("the largest list of the worst globs decides a hundred keys", () => {
    const isMatch = matcher(...Array.from({ length: 4 }, (_, i) => `${"*a".repeat(500)}${i}`));
    // Some 0.3 s; state by state they took 9.
    for (let i = 0; i < 100; i++) expect(isMatch(worst)).toBe(false);
  });
});
