import { describe, expect, test } from "vitest";
import { KEY_MAX_BYTES, OBJECT_MAX_BYTES } from "../../workers/core/limits.ts";
import {
  joinPage,
  type Listed,
  type Overwrite,
  OVERWRITES,
  type Remembered,
  storeKey,
} from "../../workers/core/migration/join.ts";

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
  destination?: Record<string, { etag: string; size: number; lastModified?: number }>;
  remembered?: Record<string, Partial<Remembered>>;
  prefixBytes?: number;
  overwrite?: Overwrite;
  buriedAt?: Record<string, number>;
  onlyNew?: boolean;
}
const join = (source: readonly Listed[], there: There = {}) => {
  const { destination = {}, remembered = {}, prefixBytes = 0, overwrite = "if-different", buriedAt = {} } = there;
  const stored = Object.entries(destination).map(([key, object]) => [key, { lastModified: 0, ...object }] as const);
  const rows = Object.entries(remembered).map(
    ([key, row]) => [key, { etag: HEX, sourceEtag: null, sourceModifiedAt: null, writer: "mig_1", ...row }] as const,
  );
  return joinPage(source, new Map(stored), new Map(rows), {
    ...{ multipartThresholdBytes: 1000, prefixBytes, overwrite },
    buriedAt: new Map(Object.entries(buriedAt)),
    ...(there.onlyNew === undefined ? {} : { onlyNew: there.onlyNew }),
  });
};
const codes = (plan: ReturnType<typeof joinPage>) => plan.failures.map(({ key, failure }) => [key, failure.code]);

describe("a key that R2 does not have", () => {
  test("is copied, and the put is conditional on nothing being there", () => {
    const { key, size, etag, lastModified } = listed("a");
    expect(join([listed("a")])).toEqual({
      small: [{ key, size, etag, lastModified, was: null }],
      large: [],
      same: [],
      kept: [],
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

/** What became of the only object, in a word. */
const fate = (plan: ReturnType<typeof joinPage>): string => {
  const [copied, same, kept, failed] = [
    [...plan.small, ...plan.large][0],
    plan.same[0],
    plan.kept[0],
    plan.failures[0],
  ];
  if (copied !== undefined) return copied.was === null ? "copied" : `copied over ${copied.was}`;
  if (kept !== undefined) return `kept: ${kept.why}`;
  return same === undefined ? (failed?.failure.code ?? "nothing") : "same";
};

describe("what becomes of an object by the overwrite policy", () => {
  const at = 1_700_000_000_000;
  const equal = { destination: { a: { etag: HEX, size: 100, lastModified: at - 1 } } };
  const different = { destination: { a: { etag: "old", size: 100, lastModified: at - 1 } } };
  const later = { destination: { a: { etag: "old", size: 100, lastModified: at } } };
  const copiedFromOlder = { ...later, remembered: { a: { etag: "old", sourceEtag: OTHER, sourceModifiedAt: at - 1 } } };
  const copiedFromThis = { ...different, remembered: { a: { etag: "old", sourceEtag: OTHER, sourceModifiedAt: at } } };
  const rowOfAnother = {
    ...different,
    remembered: { a: { etag: "older", sourceEtag: OTHER, sourceModifiedAt: at + 9 } },
  };
  const rowWithoutTime = { ...different, remembered: { a: { etag: "old", sourceEtag: null, sourceModifiedAt: null } } };

  test.each<[string, There, Record<Overwrite, string>]>([
    ["missing", {}, { "if-different": "copied", never: "copied", "if-newer": "copied", always: "copied" }],
    ["equal", equal, { "if-different": "same", never: "same", "if-newer": "same", always: `copied over ${HEX}` }],
    [
      "different, and modified at the source since it was put",
      different,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "copied over old", always: "copied over old" },
      },
    ],
    [
      "different, and put in the moment of the source's change, or later",
      later,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "kept: not-newer", always: "copied over old" },
      },
    ],
    [
      "different, and copied from an older state, however late",
      copiedFromOlder,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "copied over old", always: "copied over old" },
      },
    ],
    [
      "different, and copied from another state of the same time",
      copiedFromThis,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "kept: not-newer", always: "copied over old" },
      },
    ],
    [
      "different, with a row of what is there no more: its own time counts",
      rowOfAnother,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "copied over old", always: "copied over old" },
      },
    ],
    [
      "different, with a row that knows no time: its own counts",
      rowWithoutTime,
      {
        ...{ "if-different": "copied over old", never: "kept: never" },
        ...{ "if-newer": "copied over old", always: "copied over old" },
      },
    ],
  ])("%s", (_which, there, expected) => {
    for (const overwrite of OVERWRITES) {
      expect(fate(join([listed("a")], { ...there, overwrite })), overwrite).toBe(expected[overwrite]);
    }
  });

  test("what is kept is named with its reason, and is no failure though it could not be copied", () => {
    const item = listed("a", { storageClass: "GLACIER", size: 200 });
    expect(join([item], { ...different, overwrite: "never" })).toEqual({
      ...{ small: [], large: [], same: [], failures: [] },
      kept: [{ item, why: "never" }],
    });
  });

  test("what cannot be copied is a failure under `always`, though it is there", () => {
    const plan = join([listed("a", { storageClass: "GLACIER" })], { ...equal, overwrite: "always" });
    expect(codes(plan)).toEqual([["a", "source-archived"]]);
  });
});

describe("a key that was deleted in R2 on purpose", () => {
  const at = 1_700_000_000_000;
  test.each<[string, number, There, string]>([
    ["is not copied again", at + 1, {}, "kept: deleted"],
    ["is not copied again if the source changed in that moment", at, {}, "kept: deleted"],
    ["is copied if the source changed since", at - 1, {}, "copied"],
    ["is copied again by `always`", at + 1, { overwrite: "always" }, "copied"],
    ["is not copied again by `if-newer`", at + 1, { overwrite: "if-newer" }, "kept: deleted"],
    ["is copied by `never`, too, if the source changed since", at - 1, { overwrite: "never" }, "copied"],
    ["is the same if it is there again", at + 1, { destination: { a: { etag: HEX, size: 100 } } }, "same"],
    [
      "is kept if something else is there again",
      at + 1,
      { destination: { a: { etag: OTHER, size: 100 } } },
      "kept: deleted",
    ],
  ])("%s", (_what, time, there, expected) => {
    expect(fate(join([listed("a")], { ...there, buriedAt: { a: time } }))).toBe(expected);
  });

  test("is known by its NFC key", () => {
    expect(fate(join([listed("cafe\u0301")], { buriedAt: { "caf\u00e9": at } }))).toBe("kept: deleted");
  });
});

describe("on the way back, where the listing is R2's and the destination the source's,", () => {
  const back = (there: There = {}) => fate(join([listed("a")], { ...there, onlyNew: true }));
  const row = (more: Partial<Remembered>) => ({ remembered: { a: { etag: HEX, ...more } } });

  test.each<[string, There, string]>([
    ["what nobody wrote down is copied", {}, "copied"],
    ["a job's output is copied", row({ writer: "job_1" }), "copied"],
    ["what a migration copied, and the source has no more, stays away", row({ writer: "mig_1" }), "kept: is-source's"],
    ["and so does what was copied because it was read", row({ writer: "through:ds_1" }), "kept: is-source's"],
    [
      "and what a migration found equal to the source's",
      row({ writer: "found:mig_1", sourceEtag: HEX }),
      "kept: is-source's",
    ],
    ["what was only found in R2 is copied", row({ writer: "found:notification" }), "copied"],
    ["whoever found it, be it a migration", row({ writer: "found:mig_1" }), "copied"],
    ["but not if it was written over since", row({ writer: "mig_1", etag: OTHER }), "copied"],
    ["what both have is the same", { destination: { a: { etag: HEX, size: 100 } } }, "same"],
    [
      "also by its row, where the copy was cut into other parts",
      { destination: { a: { etag: `${OTHER}-3`, size: 100 } }, ...row({ sourceEtag: `${OTHER}-3` }) },
      "same",
    ],
    [
      "but not by a row of what R2 has no more",
      { destination: { a: { etag: `${OTHER}-3`, size: 100 } }, ...row({ etag: OTHER, sourceEtag: `${OTHER}-3` }) },
      "kept: never",
    ],
    [
      "what the source has otherwise is never written over",
      { destination: { a: { etag: OTHER, size: 100 } } },
      "kept: never",
    ],
  ])("%s", (_what, there, expected) => {
    for (const overwrite of OVERWRITES) expect(back({ ...there, overwrite }), overwrite).toBe(expected);
  });

  test("what the source could not name is a failure, as on the way in", () => {
    expect(codes(join([listed("a".repeat(1020))], { onlyNew: true, prefixBytes: 5 }))).toEqual([
      ["a".repeat(1020), "key-too-long"],
    ]);
  });
});

test("every object of a page is planned exactly once", () => {
  const page = [
    listed("copied"),
    listed("e\u0301"),
    listed("huge", { size: OBJECT_MAX_BYTES + 1 }),
    listed("large", { size: 5000 }),
    listed("kept"),
    listed("same"),
    listed("é"),
  ];
  const destination = { same: { etag: HEX, size: 100 }, kept: { etag: OTHER, size: 100 } };
  const { small, large, same, kept, failures } = join(page, { destination, overwrite: "never" });
  expect([small, large, same, kept, failures].map(({ length }) => length)).toEqual([1, 1, 1, 1, 3]);
  const planned = [...small, ...large, ...[...same, ...kept].map(({ item }) => item), ...failures];
  expect(planned.map(({ key }) => key).toSorted()).toEqual(page.map(({ key }) => key).toSorted());
});
