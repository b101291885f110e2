import { describe, expect, test } from "vitest";
import { KEY_MAX_BYTES, OBJECT_MAX_BYTES } from "../../workers/core/limits.ts";
import { joinPage, type Listed, type Remembered, storeKey } from "../../workers/core/migration/join.ts";

const HEX = "d41d8cd98f00b204e9800998ecf8427e";
const OTHER = "5d41402abc4b2a76b9719d911017c592";
const listed = (key: string, more: Partial<Listed> = {}): Listed => ({
  key,
  size: 100,
  etag: HEX,
  lastModified: 1_700_000_000_000,
  ...more,
});

interface There {
  destination?: Record<string, { etag: string; size: number }>;
  remembered?: Record<string, Remembered>;
  prefixBytes?: number;
}
const join = (source: readonly Listed[], { destination = {}, remembered = {}, prefixBytes = 0 }: There = {}) =>
  joinPage(source, new Map(Object.entries(destination)), new Map(Object.entries(remembered)), {
    multipartThresholdBytes: 1000,
    prefixBytes,
  });
const codes = (plan: ReturnType<typeof joinPage>) => plan.failures.map(({ key, failure }) => [key, failure.code]);

describe("a key that R2 does not have", () => {
  test("is copied, and the put is conditional on nothing being there", () => {
    const { key, size, etag, lastModified } = listed("a");
    expect(join([listed("a")])).toEqual({
      small: [{ key, size, etag, lastModified, was: null }],
      large: [],
      same: [],
      failures: [],
    });
  });

  test("is copied though the manifest remembers it: it was deleted in R2", () => {
    const plan = join([listed("a")], { remembered: { a: { etag: HEX, sourceEtag: HEX } } });
    expect(plan.small).toMatchObject([{ key: "a", was: null }]);
  });

  test("is copied in the order of the listing, and nothing else is planned", () => {
    const destination = { z: { etag: HEX, size: 100 } };
    const plan = join([listed("a"), listed("b"), listed("c")], { destination });
    expect(plan.small.map(({ key }) => key)).toEqual(["a", "b", "c"]);
    expect(plan.same).toEqual([]);
  });
});

describe("a key that R2 has is the same", () => {
  test("by an equal ETag, which proves equal bytes; a row that is missing is noticed", () => {
    const destination = { a: { etag: HEX, size: 100 } };
    expect(join([listed("a")], { destination })).toMatchObject({
      small: [],
      same: [{ item: { key: "a" }, known: false }],
    });
  });

  test("by an equal ETag, with its row in the manifest", () => {
    const destination = { a: { etag: HEX, size: 100 } };
    const plan = join([listed("a")], { destination, remembered: { a: { etag: HEX, sourceEtag: null } } });
    expect(plan.same).toMatchObject([{ known: true }]);
  });

  test("by an equal ETag, though the manifest remembers another: the row is out of date", () => {
    const destination = { a: { etag: HEX, size: 100 } };
    const plan = join([listed("a")], { destination, remembered: { a: { etag: OTHER, sourceEtag: OTHER } } });
    expect(plan.same).toMatchObject([{ known: false }]);
  });

  test("by the remembered row: what R2 has now was copied from what the source has now", () => {
    const plan = join([listed("a", { etag: `${HEX}-3` })], {
      destination: { a: { etag: `${OTHER}-2`, size: 100 } },
      remembered: { a: { etag: `${OTHER}-2`, sourceEtag: `${HEX}-3` } },
    });
    expect(plan).toMatchObject({ small: [], large: [], same: [{ known: true }] });
  });
});

describe("a key that R2 has is copied over what is there, and only over that", () => {
  const destination = { a: { etag: OTHER, size: 100 } };
  test.each<[string, Listed, There]>([
    ["with another ETag and no row", listed("a"), { destination }],
    ["with another size, whatever the ETag says", listed("a"), { destination: { a: { etag: HEX, size: 99 } } }],
    [
      "with another size, whatever the row says",
      listed("a"),
      { destination: { a: { etag: OTHER, size: 99 } }, remembered: { a: { etag: OTHER, sourceEtag: HEX } } },
    ],
    [
      "when the source changed since the copy",
      listed("a", { etag: "aaa" }),
      { destination, remembered: { a: { etag: OTHER, sourceEtag: HEX } } },
    ],
    [
      "when R2's object changed since the copy",
      listed("a"),
      { destination, remembered: { a: { etag: "bbb", sourceEtag: HEX } } },
    ],
    [
      "when it came from elsewhere: its row knows no source",
      listed("a"),
      { destination, remembered: { a: { etag: OTHER, sourceEtag: null } } },
    ],
  ])("%s", (_when, object, there) => {
    const plan = join([object], there);
    expect(plan.same).toEqual([]);
    expect(plan.small).toMatchObject([{ key: "a", etag: object.etag, was: there.destination?.["a"]?.etag }]);
  });
});

describe("an object is copied in parts", () => {
  test.each<[string, Partial<Listed>, "small" | "large"]>([
    ["at the threshold, in one", { size: 1000 }, "small"],
    ["above the threshold", { size: 1001 }, "large"],
    ["with a multipart ETag, however small: only parts reproduce it", { size: 1, etag: `${HEX}-1` }, "large"],
    ["with a multipart ETag and no bytes, in one", { size: 0, etag: `${HEX}-1` }, "small"],
    ["empty, in one", { size: 0 }, "small"],
    ["with an ETag that only looks like several, in one", { etag: "opaque-2" }, "small"],
  ])("%s", (_which, more, list) => {
    expect(join([listed("a", more)])[list]).toMatchObject([{ key: "a" }]);
  });
});

describe("R2 normalises keys to NFC", () => {
  const nfd = "cafe\u0301";
  const nfc = "caf\u00e9";

  test("so a key is looked for under its NFC, and copied from its own", () => {
    expect(storeKey(nfd)).toBe(nfc);
    expect(join([listed(nfd)], { destination: { [nfc]: { etag: HEX, size: 100 } } }).same).toMatchObject([
      { item: { key: nfd } },
    ]);
    expect(join([listed(nfd)], { destination: { [nfc]: { etag: OTHER, size: 100 } } }).small).toMatchObject([
      { key: nfd, was: OTHER },
    ]);
  });

  test("a row is looked for under its NFC, too", () => {
    const plan = join([listed(nfd)], {
      destination: { [nfc]: { etag: OTHER, size: 100 } },
      remembered: { [nfc]: { etag: OTHER, sourceEtag: HEX } },
    });
    expect(plan.same).toMatchObject([{ known: true }]);
  });

  test("two source keys that are one in R2 are both refused, and nobody else is", () => {
    const plan = join([listed("a"), listed(nfd), listed(nfc), listed("z")]);
    expect(codes(plan)).toEqual([
      [nfd, "key-conflict"],
      [nfc, "key-conflict"],
    ]);
    expect(plan.small.map(({ key }) => key)).toEqual(["a", "z"]);
  });

  test("and neither counts as the same, though one of them is there", () => {
    const plan = join([listed(nfd), listed(nfc)], { destination: { [nfc]: { etag: HEX, size: 100 } } });
    expect(plan).toMatchObject({ same: [], small: [] });
    expect(plan.failures).toHaveLength(2);
  });

  test("keys that only look alike are two: NFC is not NFKC", () => {
    expect(join([listed("ﬁle"), listed("file")]).small).toHaveLength(2);
  });
});

describe("what cannot be copied is a failure of that key alone", () => {
  test.each([
    ["a".repeat(KEY_MAX_BYTES), 0, []],
    ["a".repeat(KEY_MAX_BYTES + 1), 0, ["key-too-long"]],
    ["a".repeat(KEY_MAX_BYTES - 5), 5, []],
    ["a".repeat(KEY_MAX_BYTES - 4), 5, ["key-too-long"]],
    ["é".repeat(512), 0, []],
    ["é".repeat(512), 1, ["key-too-long"]],
    // Counted as R2 stores it: three bytes in NFD, two in NFC.
    ["e\u0301".repeat(512), 0, []],
  ])("%.8s... with %d bytes of prefix", (key, prefixBytes, expected) => {
    const plan = join([listed(key)], { prefixBytes });
    expect(plan.failures.map(({ failure }) => failure.code)).toEqual(expected);
    expect(plan.small).toHaveLength(expected.length === 0 ? 1 : 0);
  });

  test("a key too long says how long it would be", () => {
    const plan = join([listed("a".repeat(1020))], { prefixBytes: 5 });
    expect(plan.failures[0]?.failure.detail).toContain("1025 bytes");
  });

  test("an object larger than R2 takes", () => {
    expect(join([listed("a", { size: OBJECT_MAX_BYTES })]).large).toHaveLength(1);
    expect(codes(join([listed("a", { size: OBJECT_MAX_BYTES + 1 })]))).toEqual([["a", "object-too-large"]]);
  });

  test.each(["GLACIER", "DEEP_ARCHIVE"])("an object in %s must be restored first", (storageClass) => {
    const plan = join([listed("a", { storageClass }), listed("b")]);
    expect(codes(plan)).toEqual([["a", "source-archived"]]);
    expect(plan.small).toMatchObject([{ key: "b" }]);
  });

  test.each(["STANDARD", "STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY"])(
    "an object in %s is readable at once",
    (storageClass) => {
      expect(join([listed("a", { storageClass })]).small).toHaveLength(1);
    },
  );

  test.each(["GLACIER", "DEEP_ARCHIVE"])(
    "an object in %s that is unchanged needs no copy, and no restoring",
    (storageClass) => {
      const plan = join([listed("a", { storageClass })], { destination: { a: { etag: HEX, size: 100 } } });
      expect(codes(plan)).toEqual([]);
      expect(plan.same).toHaveLength(1);
    },
  );
});

test("every object of a page is planned exactly once", () => {
  const page = [
    listed("copied"),
    listed("e\u0301"),
    listed("huge", { size: OBJECT_MAX_BYTES + 1 }),
    listed("large", { size: 5000 }),
    listed("same"),
    listed("é"),
  ];
  const plan = join(page, { destination: { same: { etag: HEX, size: 100 } } });
  const planned = [...plan.small, ...plan.large, ...plan.same.map(({ item }) => item), ...plan.failures];
  expect(planned.map(({ key }) => key).toSorted()).toEqual(page.map(({ key }) => key).toSorted());
});
