import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KEY_MAX_BYTES, METADATA_MAX_BYTES, OBJECT_MAX_BYTES } from "../../workers/core/limits.ts";
import {
  addHazards,
  findHazards,
  type HazardKind,
  HAZARDS,
  hazardsFound,
  type Hazards,
  type Inspected,
  inspectHazards,
} from "../../workers/core/migration/hazards.ts";
import type { Listed } from "../../workers/core/migration/join.ts";

const MD5 = "d41d8cd98f00b204e9800998ecf8427e";
const MiB = 1024 * 1024;
const listed = (key: string, more: Partial<Listed> = {}): Listed => ({
  ...{ key, size: 100, etag: MD5, lastModified: 1_700_000_000_000 },
  ...more,
});
const kinds = (page: readonly Listed[], prefixBytes = 0, sourcePrefix = "") =>
  Object.keys(findHazards(page, { prefixBytes, sourcePrefix }));

describe("a listing tells of a key", () => {
  test.each<[string, HazardKind[]]>([
    ["a/b.txt", []],
    ["a b+c=d:e#f?g%h", []],
    ["日本/\u{1F600}", []],
    [".hidden/..b/c..", []],
    ["a/", []],
    ["", []],
    ["cafe\u0301", ["not-nfc"]],
    ["caf\u00e9", []],
    ["a/../b", ["dot-segments"]],
    ["./a", ["dot-segments"]],
    ["a/.", ["dot-segments"]],
    ["../..", ["dot-segments"]],
    [".", ["unaddressable"]],
    ["..", ["unaddressable"]],
    ["...", []],
    ["a//b", ["double-slash"]],
    ["a//", ["double-slash"]],
    ["/a", ["double-slash"]],
    ["/", ["double-slash"]],
    ["a\nb", ["control-characters"]],
    ["a\u007f", ["control-characters"]],
    ["a\u0085", ["control-characters"]],
    ["a//../\t", ["dot-segments", "double-slash", "control-characters"]],
    ["é".repeat(512), []],
    ["é".repeat(513), ["key-too-long"]],
  ])("%j: %j", (key, expected) => {
    expect(kinds([listed(key)]).toSorted()).toEqual(expected.toSorted());
  });

  test("by its whole name at the source: behind a prefix, dots are a segment and a slash is the second", () => {
    expect(kinds([listed(".")], 0, "in/")).toEqual(["dot-segments"]);
    expect(kinds([listed("/a")], 0, "in/")).toEqual(["double-slash"]);
    expect(kinds([listed("a")], 0, "in//")).toEqual(["double-slash"]);
  });

  test("by its length in R2: in NFC, with the dataset's prefix", () => {
    expect(kinds([listed("a".repeat(KEY_MAX_BYTES - 5))], 5)).toEqual([]);
    expect(kinds([listed("a".repeat(KEY_MAX_BYTES - 4))], 5)).toEqual(["key-too-long"]);
    expect(kinds([listed("e\u0301".repeat(512))])).toEqual(["not-nfc"]);
  });

  test("that it is one with another in NFC, and of both", () => {
    const page = [listed("a"), listed("cafe\u0301"), listed("caf\u00e9")];
    expect(findHazards(page, { prefixBytes: 0 })).toEqual({
      "nfc-conflict": { objects: 2, keys: ["cafe\u0301", "caf\u00e9"] },
    });
  });
});

describe("a listing tells of an object", () => {
  test.each<[string, Partial<Listed>, HazardKind[]]>([
    ["that is archived", { storageClass: "GLACIER" }, ["archived"]],
    ["that is archived deeply", { storageClass: "DEEP_ARCHIVE" }, ["archived"]],
    ["that is readable at once", { storageClass: "GLACIER_IR" }, []],
    ["that is as large as may be", { size: OBJECT_MAX_BYTES }, []],
    ["that is larger", { size: OBJECT_MAX_BYTES + 1 }, ["object-too-large"]],
    ["in parts of 8 MiB", { size: 20 * MiB, etag: `${MD5}-3` }, []],
    ["in one part", { size: 1, etag: `${MD5}-1` }, []],
    ["in three parts where no usual size gives three", { size: 46 * MiB, etag: `${MD5}-9` }, ["unequal-parts"]],
    ["in parts, and empty", { size: 0, etag: `${MD5}-1` }, []],
    ["whose ETag only looks like several", { etag: "opaque-9", size: 46 * MiB }, []],
  ])("%s", (_which, more, expected) => {
    expect(kinds([listed("a", more)])).toEqual(expected);
  });
});

test("all are counted, and the first five named", () => {
  const page = Array.from({ length: 7 }, (_, i) => listed(`${i}//x`));
  expect(findHazards(page, { prefixBytes: 0 })).toEqual({
    "double-slash": { objects: 7, keys: ["0//x", "1//x", "2//x", "3//x", "4//x"] },
  });
  expect(findHazards([], { prefixBytes: 0 })).toEqual({});
});

describe("a look at an object tells", () => {
  const head = (more: Partial<Inspected>): Inspected => ({
    ...{ key: "a", size: 100, etag: MD5, lastModified: 1_700_000_000_000, md5: MD5, http: {}, custom: {} },
    ...more,
  });
  // What each copy has besides: three names, an id, the ETag, the time, and the default type.
  const OWN =
    "penstock-migration".length +
    30 +
    "penstock-source-etag".length +
    32 +
    "penstock-source-modified".length +
    13 +
    "application/octet-stream".length;
  const filled = (bytes: number) => ({ custom: { k: "x".repeat(bytes - 1) } });

  test.each<[string, Partial<Inspected>, HazardKind[]]>([
    ["nothing of a plain one", {}, []],
    ["that it is encoded", { http: { contentEncoding: "gzip" } }, ["encoded-body"]],
    ["that its metadata just fits", filled(METADATA_MAX_BYTES - OWN), []],
    ["that its metadata does not, by a byte", filled(METADATA_MAX_BYTES - OWN + 1), ["oversized-metadata"]],
    ["that its type counts", { ...filled(METADATA_MAX_BYTES - OWN), http: { contentType: "a/b" } }, []],
    [
      "that a key that R2 respells is noted, too",
      { ...filled(METADATA_MAX_BYTES - OWN), key: "e\u0301" },
      ["oversized-metadata"],
    ],
    ["that entries of ours from before are replaced", { custom: { "penstock-x": "y".repeat(9000) } }, []],
    ["that its ETag is no MD5", { md5: null, etag: "0123456789abcdef0123456789abcdef" }, ["encrypted-etag"]],
    ["that it has tags, which R2 has not", { tagCount: 1 }, ["tagged"]],
    ["nothing of one in parts, whose ETag is never an MD5", { md5: null, etag: `${MD5}-3` }, []],
  ])("%s", (_what, more, expected) => {
    expect(Object.keys(hazardsFound(inspectHazards([head(more)])))).toEqual(expected);
  });

  test("in bytes of UTF-8, not characters", () => {
    const found = hazardsFound(inspectHazards([head({ custom: { k: "é".repeat(4100) } })]));
    expect(Object.keys(found)).toEqual(["oversized-metadata"]);
  });
});

describe("of what only a look tells", () => {
  const encoded: Inspected = {
    ...{ key: "a", size: 1, etag: MD5, lastModified: 0, md5: MD5, http: { contentEncoding: "gzip" }, custom: {} },
  };
  const plain = { ...encoded, http: {} };

  test("the count stands beside the number that was looked at", () => {
    expect(hazardsFound(inspectHazards([encoded, plain, plain]))).toEqual({
      "encoded-body": { objects: 1, sampledOf: 3, keys: ["a"] },
    });
  });

  test("also the pages count on which nothing was found", () => {
    const looks = [[plain, plain], [encoded], [plain, plain, plain], []].map(inspectHazards);
    expect(hazardsFound(looks.reduce(addHazards, {}))).toEqual({
      "encoded-body": { objects: 1, sampledOf: 6, keys: ["a"] },
    });
  });

  test("a kind that the listing tells has no such number: it is of all", () => {
    const listing = findHazards([listed("a//b")], { prefixBytes: 0 });
    expect(hazardsFound(addHazards(listing, inspectHazards([plain])))).toEqual({
      "double-slash": { objects: 1, keys: ["a//b"] },
    });
  });
});

describe("the hazards of two pages", () => {
  test("add up, and the first keys stay", () => {
    const a: Hazards = { archived: { objects: 7, keys: ["1", "2", "3", "4"] }, "not-nfc": { objects: 1, keys: ["x"] } };
    const b: Hazards = { archived: { objects: 2, keys: ["5", "6"] }, "double-slash": { objects: 1, keys: ["y"] } };
    expect(addHazards(a, b)).toEqual({
      archived: { objects: 9, keys: ["1", "2", "3", "4", "5"] },
      "not-nfc": { objects: 1, keys: ["x"] },
      "double-slash": { objects: 1, keys: ["y"] },
    });
    expect(addHazards({}, b)).toEqual(b);
    expect(addHazards(a, {})).toEqual(a);
  });

  test("are those of both pages in one, where no key is on both", () => {
    const key = fc.constantFrom("a//b", "./a", "\n", ".", "ok", "e\u0301", "x".repeat(1025));
    const page = fc.array(key, { maxLength: 9 });
    const of = (keys: string[], first: number) => keys.map((text, i) => listed(`${text}/${first + i}`));
    fc.assert(
      fc.property(page, page, (a, b) => {
        const [one, two] = [of(a, 100), of(b, 200)];
        const find = (objects: Listed[]) => findHazards(objects, { prefixBytes: 0 });
        expect(addHazards(find(one), find(two))).toEqual(find([...one, ...two]));
      }),
    );
  });
});

test("each kind has a sentence that says whether it is copied", () => {
  for (const sentence of Object.values(HAZARDS)) expect(sentence).toMatch(/^(Copied|Not copied)/);
});
