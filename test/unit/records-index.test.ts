import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RecordAnswer } from "../../workers/core/records/answer-records.ts";
import { type Indexed, IndexBuilder, splitterOf } from "../../workers/core/records/index-builder.ts";
import { formatIndex, parseIndex } from "../../workers/core/records/index-file.ts";
import { isGzip, kindByFirstByte, kindByName } from "../../workers/core/records/kind.ts";
import type { Kind } from "../../workers/core/records/record.ts";
import { placeAt, type RecordIndex } from "../../workers/core/records/record-index.ts";
import { hasBroken, parseShard, planReading, stretchOf, within } from "../../workers/core/records/selection.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function indexed(bytes: Uint8Array, kind: Kind | null = null, size = bytes.length): Indexed {
  return { key: "p/a.jsonl", etag: "e1", size, gzip: false, said: { kind, encoding: null } };
}

function indexOf(text: string | Uint8Array, kind: Kind | null = null, chunk = 1000): RecordIndex {
  const bytes = typeof text === "string" ? encode(text) : text;
  const builder = new IndexBuilder(indexed(bytes, kind));
  for (let at = 0; at < bytes.length; at += chunk) builder.push(bytes.slice(at, at + chunk));
  return builder.finish();
}

/** What a reader gets of a stretch: it takes the bytes that the plan names, and no others. */
function read(index: RecordIndex, text: string | Uint8Array, first: number, end: number, chunk = 777) {
  const bytes = typeof text === "string" ? encode(text) : text;
  const plan = planReading(index, { first, end });
  const answer = new RecordAnswer(index, { first, end }, false);
  let got = "";
  let taken = 0;
  if (plan === null) return { lines: [], answer, planned: 0 };
  const part = bytes.slice(plan.from.offset, plan.until ?? bytes.length);
  const splitter = splitterOf(index.kind, plan.from);
  const add = (made: Uint8Array | null) => (got += made === null ? "" : new TextDecoder().decode(made));
  for (; taken < part.length && !answer.isOver; taken += chunk)
    add(answer.take(splitter.push(part.slice(taken, taken + chunk))));
  if (!answer.isOver && plan.until === null) add(answer.take(splitter.end()));
  return { lines: got.split("\n").slice(0, -1), answer, planned: part.length };
}

/** Records of some hundred bytes: enough of them for many places. */
const manyRecords = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: i, text: "é".repeat(100 + (i % 50)), more: [i, "],[", '\\"'] }));
const MANY = manyRecords(3000);
const LINES = MANY.map((one) => JSON.stringify(one)).join("\n");
const ARRAY = JSON.stringify(MANY, null, 2);

describe("the kind of an object", () => {
  it.each<[string, string | undefined, Kind | null]>([
    ["a.jsonl", undefined, "lines"],
    ["a.NDJSON.gz", undefined, "lines"],
    ["a", "application/x-ndjson; charset=utf-8", "lines"],
    ["a.json", "application/json", null],
    ["jsonl/a", undefined, null],
  ])("%s of type %s is %s by name", (key, type, kind) => expect(kindByName(key, type)).toBe(kind));

  it.each<[string, Kind | null]>([
    [" \n[", "array"],
    ["\u{feff}[", "array"],
    ["{", "lines"],
    [" \r\n\t", null],
    ["", null],
  ])("that begins with %j is %s", (text, kind) => expect(kindByFirstByte(encode(text))).toBe(kind));

  it("is gzip by its first two bytes", () => {
    expect(isGzip(Uint8Array.of(0x1f, 0x8b))).toBe(true);
    expect(isGzip(Uint8Array.of(0x1f))).toBe(false);
  });

  it.each(["[1]", "  [1]", "\u{feff}[1]"])("is told also where the bytes of %j come one by one", (text) => {
    expect(indexOf(text, null, 1)).toMatchObject({ kind: "array", records: 1, broken: 0, refused: null });
  });
});

describe("an index", () => {
  it("has a place every 64 KiB, the same however the bytes come", () => {
    for (const [text, kind] of [
      [LINES, "lines"],
      [ARRAY, "array"],
    ] as const) {
      const index = indexOf(text);
      expect(index).toMatchObject({ kind, records: 3000, broken: 0, named: [], refused: null, resume: null });
      const places = Array.from({ length: index.places.length / 4 }, (_, i) => placeAt(index.places, i)?.offset ?? 0);
      expect(places.length).toBe(Math.floor(encode(text).length / 65_536) + 1);
      places.slice(1).forEach((offset, i) => {
        const length = offset - (places[i] ?? 0);
        expect(length >= 65_536 && length < 66_500).toBe(true);
      });
      expect(indexOf(text, null, 313)).toEqual(index);
    }
  });

  it("is of at most 32,768 places, whatever the size", () => {
    const builder = new IndexBuilder(indexed(new Uint8Array(0), "lines", 64 * 1024 ** 4));
    const line = encode(`${"1".repeat(99_999)}\n`);
    for (let i = 0; i < 200; i++) builder.push(line);
    expect(builder.finish().places.length).toBe(4); // 64 TiB / 32,768 is 2 GiB
  });

  it("that is made in several passes is the one that is made in one", () => {
    for (const [text, kind] of [
      [`${LINES}\n{\n\n4`, "lines"],
      [`${ARRAY.slice(0, -2)},,{"a":}]`, "array"],
    ] as const) {
      const bytes = encode(text);
      const whole = indexOf(bytes, kind);
      expect(whole.broken).toBeGreaterThan(0);
      let begun: RecordIndex | null = null;
      let at = 0;
      for (let step = 0; step < 100; step++) {
        const builder: IndexBuilder = new IndexBuilder(indexed(bytes, kind), begun);
        builder.push(bytes.slice(at, at + 100_000));
        if (at + 100_000 >= bytes.length) {
          expect(builder.finish()).toEqual(whole);
          break;
        }
        // As it is kept between two passes.
        begun = parseIndex(formatIndex(builder.pause()));
        at = begun?.resume?.offset ?? Number.NaN;
      }
      expect.assertions(3 * (kind === "lines" ? 1 : 2) - (kind === "lines" ? 1 : 2));
    }
  });

  it("names the broken records, with their lines and what is wrong", () => {
    const bytes = encode('1\n{"a"\n\n"\0\0"\n2\n');
    bytes.set([0xc3, 0x28], bytes.indexOf(0));
    expect(indexOf(bytes, "lines")).toMatchObject({
      records: 4,
      broken: 2,
      named: [
        { record: 1, line: 2, reason: "not-json" },
        { record: 2, line: 4, reason: "not-utf8" },
      ],
    });
  });

  it("names a thousand of them, and counts all", () => {
    const index = indexOf(`1\n${"x\n".repeat(2500)}`, "lines");
    expect([index.broken, index.named.length, index.refused]).toEqual([2500, 1000, null]);
  });

  it.each<[string, string | Uint8Array, Kind | null, RegExp]>([
    ["of which no line is JSON", "a,b\n1,2\n", "lines", /none of its first 2 records is JSON/],
    ["of which some line is JSON by chance", '{\n"a": [\n1,\n2\n]\n}', null, /first line.*as=lines/],
    ["in binary", Uint8Array.of(1, 2, 0, 10, 0x5b), null, /NUL bytes/],
    ["of lines that are arrays, without a name that says so", "[1]\n[2]\n", null, /at byte 4.*as=lines/],
    ["that is no array, though it was said to be", '{"a":1}', "array", /no array/],
  ])("refuses an object %s", (_, text, kind, detail) => {
    const { refused } = indexOf(text, kind);
    expect(refused?.code).toBe("not-records");
    expect(refused?.detail).toMatch(detail);
  });

  it("gives up an object after its first thousand records, if none is JSON", () => {
    const builder = new IndexBuilder(indexed(new Uint8Array(0), "lines"));
    builder.push(encode("x\n".repeat(999)));
    expect(builder.isOver).toBe(false);
    builder.push(encode("x\n"));
    expect(builder.isOver).toBe(true);
  });

  it.each(["", "\n \n", "[]"])("of %j has no record, and is none the worse for it", (text) => {
    expect(indexOf(text)).toMatchObject({ records: 0, refused: null });
  });
});

describe("the file of an index", () => {
  const index = indexOf(`${LINES}\n{`);

  it("is read as it was written", () => {
    const file = formatIndex(index);
    expect(parseIndex(file)).toEqual(index);
    expect(formatIndex(index)).toEqual(file);
    expect(new TextDecoder().decode(file.subarray(0, 8))).toBe("PSTKRECS");
    // As the layout says: the last place ends the file.
    const last = new DataView(file.buffer, file.length - 32);
    expect([0, 8, 16, 24].map((at) => last.getFloat64(at, true))).toEqual([...index.places.slice(-4)]);
  });

  it("that was cut, or is of another version, is none", () => {
    const file = formatIndex(index);
    for (const length of [0, 8, 15, 16, 100, file.length - 1]) expect(parseIndex(file.slice(0, length))).toBeNull();
    for (const at of [0, 8, 12, 16]) {
      const changed = file.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x40;
      expect([at, parseIndex(changed)]).toEqual([at, null]);
    }
  });
});

describe("a stretch of records", () => {
  it.each(["lines", "array"] as const)("of %s is what it would be in the whole, whatever its ends", (kind) => {
    const text = kind === "lines" ? LINES : ARRAY;
    const index = indexOf(text);
    const expected = MANY.map((one) => JSON.stringify(one));
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(400), (first, length) => {
        const end = Math.min(3000, first + length);
        const { lines, answer, planned } = read(index, text, first, end);
        expect(lines.map((line) => JSON.stringify(JSON.parse(line)))).toEqual(expected.slice(first, end));
        expect([answer.sent, answer.next]).toEqual([end - first, end]);
        // From the place before the first one, and not far beyond the last one.
        expect(planned).toBeLessThan(2 * 66_500 + (end - first) * 600);
      }),
      { numRuns: 100 },
    );
  });

  it("is sent verbatim, on one line each", () => {
    const text = '[ {"a" :\r\n 1,\n"b":"\\n"} ,\n[ 2.50 ,\n\n1e400] ]';
    const { lines } = read(indexOf(text), text, 0, 2);
    expect(lines).toEqual(['{"a" :   1, "b":"\\n"}', "[ 2.50 ,  1e400]"]);
    const inLine = '{"a":\r1}\r\n';
    expect(read(indexOf(inLine), inLine, 0, 1).lines).toEqual(['{"a": 1}']);
  });

  it("leaves the broken ones out and names them, also those beyond the ones that the index names", () => {
    const text = Array.from({ length: 60_000 }, (_, i) => (i % 7 === 3 ? `{"broken` : `{"id":${i}}`)).join("\n");
    const index = indexOf(text);
    expect(index.named.at(-1)?.record).toBeLessThan(8000);
    const { lines, answer } = read(index, text, 50_000, 50_100);
    const wanted = Array.from({ length: 100 }, (_, i) => 50_000 + i);
    expect(lines).toEqual(wanted.filter((i) => i % 7 !== 3).map((i) => `{"id":${i}}`));
    expect(answer.named).toEqual(
      wanted.filter((i) => i % 7 === 3).map((i) => ({ record: i, line: i + 1, reason: "not-json" })),
    );
    expect([answer.sent, answer.skipped, answer.next]).toEqual([lines.length, answer.named.length, 50_100]);
  });

  it("is known to have a broken one, to have none, or not known, where the index says no more", () => {
    const text = Array.from({ length: 30_000 }, (_, i) => (i > 100 && i % 2 === 1 ? "{" : `{"id":${i}}`)).join("\n");
    const index = indexOf(text);
    expect(hasBroken(index, { first: 0, end: 100 })).toBe(false);
    expect(hasBroken(index, { first: 100, end: 102 })).toBe(true);
    expect(hasBroken(index, { first: 102, end: 103 })).toBe(false);
    expect(hasBroken(index, { first: 20_000, end: 20_001 })).toBeNull();
    const second = placeAt(index.places, 2)?.record ?? 0;
    expect(hasBroken(index, { first: second, end: placeAt(index.places, 3)?.record ?? 0 })).toBe(true);
    expect(hasBroken(index, { first: second, end: second })).toBe(false);
    const early = Array.from({ length: 30_000 }, (_, i) => (i > 0 && i < 3000 ? "{" : `{"id":${i}}`)).join("\n");
    expect(hasBroken(indexOf(early, "lines"), { first: 20_000, end: 20_001 })).toBe(false);
  });

  it("ends after so many bytes, and says where to go on", () => {
    const index = indexOf(LINES);
    const answer = new RecordAnswer(index, { first: 0, end: 3000 }, false, 1000);
    const found = splitterOf("lines", planReading(index, { first: 0, end: 3000 })?.from ?? expect.fail()).push(
      encode(LINES),
    );
    const sent = answer.take(found);
    expect(answer.isOver).toBe(true);
    expect([answer.sent, answer.next]).toEqual([answer.next, answer.sent]);
    expect(sent?.length).toBeGreaterThanOrEqual(1000);
    expect(sent?.length).toBeLessThan(1600);
  });
});

describe("shards", () => {
  it("are all records together, none twice, and of lengths that differ by one at most", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.integer({ min: 1, max: 300 }), (records, of) => {
        const all = Array.from({ length: of }, (_, index) => stretchOf(records, { index, of }));
        expect([all[0]?.first, all.at(-1)?.end]).toEqual([0, records]);
        for (const [i, { first, end }] of all.entries()) {
          if (i > 0) expect(first).toBe(all[i - 1]?.end);
          expect(Math.abs(end - first - records / of)).toBeLessThan(1);
        }
      }),
    );
  });

  it.each([
    ["0/1", { index: 0, of: 1 }],
    ["3/128", { index: 3, of: 128 }],
    ["65535/65536", { index: 65_535, of: 65_536 }],
    ...["128/128", "1/0", "-1/2", "1", "1/65537", "01/2", "1/2/3", "", "1.0/2"].map((text) => [text, null] as const),
  ] as const)("%j is %j", (text, shard) => expect(parseShard(text)).toEqual(shard));

  it("are read in full unless a limit is named, and offsets count from their start", () => {
    const shard = { index: 1, of: 2 };
    const whole = stretchOf(3_000_000, shard);
    expect(within(whole, 10, null, shard)).toEqual({ first: 1_500_010, end: 2_500_010 });
    expect(within(whole, 10, 5, shard)).toEqual({ first: 1_500_010, end: 1_500_015 });
    expect(within(whole, 2_000_000, 5, shard)).toEqual({ first: 3_000_000, end: 3_000_000 });
    expect(within(stretchOf(5000, null), 0, null, null)).toEqual({ first: 0, end: 1000 });
  });
});
