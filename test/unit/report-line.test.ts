import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FAILURES } from "../../workers/core/failure.ts";
import {
  type CsvLayout,
  csvLayoutOf,
  formatLines,
  outcomeOf,
  parseKeyList,
  REPORT_OUTCOMES,
  type ReportLine,
} from "../../workers/core/migration/report-line.ts";

const WHOLE = { max: 1000, isStart: true, isEnd: true };
const ndjson = (text: string, more: object = {}) => parseKeyList(text, "ndjson", { ...WHOLE, ...more });
const csv = (text: string, more: object = {}) => parseKeyList(text, "csv", { ...WHOLE, ...more });
const key = fc
  .array(
    fc.oneof(
      fc.constantFrom('"', ",", "\n", "\r", "\r\n", "+", "%", "%2B", " ", "key", "é", "\u{1F600}", "\uFEFF", "\u2028"),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    ),
    { minLength: 1, maxLength: 8 },
  )
  .map((parts) => parts.join(""))
  .filter((text) => !text.includes("\0"));

describe("the report", () => {
  const lines: ReportLine[] = [
    { key: "a", outcome: "copied", size: 1, etag: "e", proof: "md5" },
    { key: 'b"\n', outcome: "failed", size: null, code: "source-changed", detail: "It changed." },
    { key: "c", outcome: "kept", size: 3, why: "not-newer" },
  ];

  test("is a JSON object and a newline for each line", () => {
    const text = formatLines(lines);
    expect(
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(lines);
    expect(text.endsWith("}\n")).toBe(true);
    expect(formatLines([])).toBe("");
  });

  test("is a list of its keys as it is", () => {
    const text = formatLines(lines);
    expect(ndjson(text)).toEqual({
      keys: ["a", 'b"\n', "c"],
      bad: [],
      consumed: Buffer.byteLength(text),
      layout: null,
    });
  });

  test("is a list of those keys that had one of the outcomes", () => {
    const text = formatLines(lines);
    expect(ndjson(text, { outcomes: ["failed", "kept"] }).keys).toEqual(['b"\n', "c"]);
    expect(ndjson(text, { outcomes: [] })).toMatchObject({ keys: [], bad: [], consumed: Buffer.byteLength(text) });
  });

  test("has an outcome of its own for each finding of a verification, and `failed` for every other failure", () => {
    const outcomes = Object.keys(FAILURES).map((code) => [code, outcomeOf(code)]);
    expect(outcomes.filter(([, outcome]) => outcome !== "failed")).toEqual([
      ["copy-missing", "missing"],
      ["copy-different", "different"],
      ["copy-unproved", "unproved"],
    ]);
    for (const [, outcome] of outcomes) expect(REPORT_OUTCOMES).toContain(outcome);
  });

  test("gives back any keys", () => {
    fc.assert(
      fc.property(fc.uniqueArray(key, { maxLength: 10 }), (keys) => {
        const text = formatLines(keys.map((name) => ({ key: name, outcome: "same", size: 0 })));
        expect(ndjson(text)).toEqual({ keys, bad: [], consumed: Buffer.byteLength(text), layout: null });
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a list of JSON lines", () => {
  test("has a string or an object with a key in each line; empty ones are none", () => {
    expect(ndjson('"a"\r\n\n{"key":"b","x":1}\n  \n"c"').keys).toEqual(["a", "b", "c"]);
  });

  test("names a key once, that stands in it twice", () => {
    expect(ndjson('"a"\n"b"\n"a"\n').keys).toEqual(["a", "b"]);
  });

  test("names each bad line by its number, and goes on", () => {
    const text = '"a"\nx\n\n1\nnull\n[]\n{"Key":"b"}\n{"key":1}\n""\n"\\ud800"\n"a\\u0000"\n"b"\n';
    const { keys, bad } = ndjson(text);
    expect(keys).toEqual(["a", "b"]);
    expect(bad.map(({ line }) => line)).toEqual([2, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(bad[0]?.detail).toContain("not JSON");
    expect(bad[1]?.detail).toContain('"key"');
  });

  test("with outcomes asked for, a line without one is a bad line", () => {
    expect(ndjson('"a"\n{"key":"b"}\n', { outcomes: ["failed"] }).bad).toHaveLength(2);
  });

  test("a key longer than any is a bad line", () => {
    expect(ndjson(`"${"a".repeat(1024)}"\n"${"a".repeat(1025)}"\n`)).toMatchObject({ bad: [{ line: 2 }] });
  });
});

describe("a CSV list", () => {
  test.each<[string, string, string[]]>([
    ["one column, as it is", "a\nb c\n%2B+\n", ["a", "b c", "%2B+"]],
    ["CRLF, and no end of the last line", "a\r\nb\r\nc", ["a", "b", "c"]],
    ["quotes, commas and line ends in quotes", '"a,b"\n"c""d"\n"e\r\nf"\n', ["a,b", 'c"d', "e\r\nf"]],
    ["empty lines, which are none", "\na\n\r\n\nb\n\n", ["a", "b"]],
    ["a byte order mark", "\uFEFFa\nb\n", ["a", "b"]],
    ["a named column, as it is", "size,Key,etag\n1,a%20b+c,x\n2,d,y\n", ["a%20b+c", "d"]],
    ["a named column in quotes", '"KEY","size"\n"a",1\n', ["a"]],
    ["a byte order mark before the names", "\uFEFFkey,size\na,1\n", ["a"]],
    ["S3 Batch Operations: bucket and key, encoded", "bkt,a%20b\nbkt,c+d%2Be\n", ["a b", "c d+e"]],
    ["S3 Inventory: bucket, key, and more", '"bkt","a%2Fb","12","2024-01-01T00:00:00.000Z"\n', ["a/b"]],
    ["names alone", "key\n", []],
    ["nothing", "", []],
  ])("of %s", (_what, text, keys) => {
    expect(csv(text)).toMatchObject({ keys, bad: [], consumed: Buffer.byteLength(text) });
  });

  test.each<[string, string, string[], number[]]>([
    ["too few columns", "bkt,a\nbkt\nbkt,b\n", ["a", "b"], [2]],
    ["an empty key", "key,size\n,1\na,2\n", ["a"], [2]],
    ["what is not percent-encoded", "bkt,a\nbkt,100%\nbkt,%ff\n", ["a"], [2, 3]],
    ["a quote in the middle of a field", 'a\nb"c\nd\n', ["a", "d"], [2]],
    ["something behind a quote", 'a\n"b"c,d\ne\n', ["a", "e"], [2]],
    ["a quote that nobody closes, and all behind it", 'a\n"b\nc\nd\n', ["a"], [2]],
    ["lines behind one with a line end in it, by the text's own count", '"a\nb"\n"c"d\ne\n', ["a\nb", "e"], [3]],
  ])("names a line with %s", (_what, text, keys, lines) => {
    const read = csv(text);
    expect(read).toMatchObject({ keys, consumed: Buffer.byteLength(text) });
    expect(read.bad.map(({ line }) => line)).toEqual(lines);
  });

  test("gives back any keys that are written as RFC 4180 says", () => {
    const quoted = (text: string, isQuoted: boolean) =>
      isQuoted || /["\n\r,]/.test(text) || text.trim() === "" || /^\s*key\s*$/i.test(text)
        ? `"${text.replaceAll('"', '""')}"`
        : text;
    fc.assert(
      fc.property(
        fc.uniqueArray(key, { maxLength: 10 }),
        fc.infiniteStream(fc.boolean()),
        fc.constantFrom("\n", "\r\n"),
        (keys, quotes, newline) => {
          const records = keys.map((name, i) => `${i},${quoted(name, quotes.next().value === true)},"x"`);
          const text = ["n,key,last", ...records].map((record) => record + newline).join("");
          expect(csv(text)).toMatchObject({ keys, bad: [], consumed: Buffer.byteLength(text) });
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("whatever text it is, it is read to its end, and nothing is thrown", () => {
    const text = fc.array(fc.constantFrom(...'a,"\n\r%+ ', "key"), { maxLength: 40 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(text, (list) => {
        expect(csv(list).consumed).toBe(list.length);
        expect(ndjson(list).consumed).toBe(list.length);
      }),
      { numRuns: 5000 },
    );
  });
});

describe("a list in pieces", () => {
  test("is read up to the last whole line, in bytes", () => {
    expect(ndjson('"é"\n"b', { isEnd: false })).toMatchObject({ keys: ["é"], consumed: 5 });
    expect(csv("é\nb", { isEnd: false })).toMatchObject({ keys: ["é"], consumed: 3 });
    expect(csv('a\n"b\nc', { isEnd: false })).toMatchObject({ keys: ["a"], consumed: 2 });
    expect(csv("a\r", { isEnd: false })).toMatchObject({ keys: [], consumed: 0 });
    expect(csv('"a"', { isEnd: false })).toMatchObject({ keys: [], consumed: 0 });
  });

  test("has consumed nothing where no line is whole", () => {
    expect(ndjson('\uFEFF"aaaa', { isEnd: false })).toMatchObject({ keys: [], bad: [], consumed: 0 });
  });

  test("is read up to a number of keys and bad lines", () => {
    expect(ndjson('"a"\n\nx\n"c"\n"d"\n', { max: 2 })).toMatchObject({ keys: ["a"], bad: [{ line: 3 }], consumed: 7 });
    expect(csv("key\na\nb\nc\n", { max: 2 })).toMatchObject({ keys: ["a", "b"], consumed: 8 });
  });

  test("of a CSV is read on by what its first line told, and not without", () => {
    const { layout, consumed } = csv("size,key\n1,a\n2,b\n", { max: 1 });
    expect({ layout, consumed }).toEqual({ layout: { column: 1, encoded: false }, consumed: 13 });
    expect(csv("2,b%20\n", { isStart: false, layout })).toMatchObject({ keys: ["b%20"] });
    expect(() => csv("2,b\n", { isStart: false })).toThrow("first line");
  });

  test.each<[string, CsvLayout | null]>([
    ["Key\na\n", { column: 0, encoded: false }],
    ["bucket,key\nx,y\n", { column: 1, encoded: false }],
    ["a\nb\n", { column: 0, encoded: false }],
    ["b,k\n", { column: 1, encoded: true }],
    ["b,k,v", null],
    ["\n\n", null],
  ])("%j is read as %j", (text, layout) => {
    expect(csvLayoutOf(text, false)).toEqual(layout);
  });

  test("says what the whole list says, wherever it is cut", () => {
    const lines = fc.array(fc.oneof(key, fc.constant("")), { maxLength: 12 });
    fc.assert(
      fc.property(
        lines,
        fc.constantFrom("ndjson" as const, "csv" as const),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 3 }),
        (names, format, size, max) => {
          const text = names
            .map((name) => (format === "csv" ? `b,"${encodeURIComponent(name)}\n"` : JSON.stringify(name)))
            .join("\n");
          const whole = parseKeyList(text, format, WHOLE);
          const bytes = Buffer.from(text);
          const found: string[] = [];
          let bad = 0;
          let layout: CsvLayout | null = null;
          let chunk = size;
          for (let offset = 0; offset < bytes.length;) {
            const isEnd = offset + chunk >= bytes.length;
            const part = new TextDecoder().decode(bytes.subarray(offset, offset + chunk), { stream: !isEnd });
            const read = parseKeyList(part, format, { max, isEnd, isStart: offset === 0 || layout === null, layout });
            found.push(...read.keys);
            bad += read.bad.length;
            layout = read.layout;
            offset += read.consumed;
            // A longer piece is asked for where no line was whole.
            chunk = read.consumed === 0 ? chunk * 2 : size;
          }
          expect([...new Set(found)]).toEqual(whole.keys);
          expect(bad).toBe(whole.bad.length);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
