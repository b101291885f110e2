import { describe, expect, test } from "vitest";
import type { Proof } from "../../workers/core/manifest/row.ts";
import type { Listed } from "../../workers/core/migration/join.ts";
import { verifyPage } from "../../workers/core/migration/verify.ts";

const HEX = "d41d8cd98f00b204e9800998ecf8427e";
const OTHER = "5d41402abc4b2a76b9719d911017c592";
const listed = (key: string, more: Partial<Listed> = {}): Listed => ({
  key,
  size: 100,
  etag: HEX,
  lastModified: 1_700_000_000_000,
  ...more,
});

interface Given {
  there?: Record<string, { etag: string; size: number }>;
  rows?: Record<string, { etag: string; sourceEtag: string; proof: Proof | null }>;
  deep?: boolean;
}
const verify = (source: readonly Listed[], { there = {}, rows = {}, deep = false }: Given = {}) => {
  const remembered = Object.entries(rows).map(
    ([key, row]) => [key, { ...row, sourceModifiedAt: null, writer: "mig_1" }] as const,
  );
  return verifyPage(source, new Map(Object.entries(there)), new Map(remembered), deep);
};
/** What becomes of one object that the source has at `etag`, and R2 at `r2`. */
const verdict = (etag: string, r2: string, row?: { etag: string; sourceEtag: string; proof: Proof | null }) => {
  const plan = verify([listed("a", { etag })], {
    there: { a: { etag: r2, size: 100 } },
    ...(row === undefined ? {} : { rows: { a: row } }),
  });
  expect(plan.proved.length + plan.failures.length).toBe(1);
  return plan.proved[0]?.proof ?? plan.failures[0]?.failure.code;
};

describe("whichever way it is verified", () => {
  test.each([false, true])("what R2 has not is missing (deep: %s)", (deep) => {
    const plan = verify([listed("a")], { deep });
    expect(plan).toMatchObject({ proved: [], toRead: [], failures: [{ key: "a", failure: { code: "copy-missing" } }] });
  });

  test.each([false, true])(
    "another size is another object, whatever the ETags and the manifest say (deep: %s)",
    (deep) => {
      const plan = verify([listed("a")], {
        there: { a: { etag: HEX, size: 99 } },
        rows: { a: { etag: HEX, sourceEtag: HEX, proof: "md5" } },
        deep,
      });
      expect(plan).toMatchObject({
        proved: [],
        toRead: [],
        failures: [{ key: "a", failure: { code: "copy-different" } }],
      });
      expect(plan.failures[0]?.failure.detail).toContain("99");
    },
  );

  test.each([false, true])("two source keys that are one in R2 are both a conflict (deep: %s)", (deep) => {
    const plan = verify([listed("e\u0301"), listed("\u00e9")], { there: { "\u00e9": { etag: HEX, size: 100 } }, deep });
    expect(plan.failures.map(({ key, failure }) => [key, failure.code])).toEqual([
      ["e\u0301", "key-conflict"],
      ["\u00e9", "key-conflict"],
    ]);
    expect([...plan.proved, ...plan.toRead]).toEqual([]);
  });

  test("a key is looked for in R2 by its NFC form, and reported as the source spells it", () => {
    const plan = verify([listed("e\u0301")], { there: { "\u00e9": { etag: HEX, size: 100 } } });
    expect(plan.proved).toMatchObject([{ item: { key: "e\u0301" }, proof: "md5" }]);
  });

  test("no object of a page goes without a verdict, and none has two", () => {
    const source = ["a", "b", "c", "d"].map((key) => listed(key));
    const there = { a: { etag: HEX, size: 100 }, b: { etag: OTHER, size: 100 }, c: { etag: HEX, size: 1 } };
    const plan = verify(source, { there });
    expect(plan.proved.map(({ item }) => item.key)).toEqual(["a"]);
    expect(plan.failures.map(({ key }) => key)).toEqual(["b", "c", "d"]);
  });
});

describe("by the listings", () => {
  test.each<[string, string, string]>([
    ["equal MD5s", HEX, "md5"],
    ["equal multipart ETags", `${HEX}-3`, "etag"],
  ])("%s prove equal bytes, whoever copied them", (_what, etag, proof) => {
    expect(verdict(etag, etag)).toBe(proof);
  });

  test("two MD5s that differ are two objects", () => {
    expect(verdict(HEX, OTHER)).toBe("copy-different");
  });

  test.each([
    ["an MD5 beside a multipart ETag", HEX, `${OTHER}-2`],
    ["a multipart ETag beside an MD5", `${HEX}-2`, OTHER],
    ["multipart ETags of other parts", `${HEX}-2`, `${OTHER}-3`],
    ["multipart ETags of as many parts, which may be cut elsewhere", `${HEX}-2`, `${OTHER}-2`],
    ["an ETag that means nothing", "opaque", OTHER],
  ])("%s: nothing tells", (_what, etag, r2) => {
    expect(verdict(etag, r2)).toBe("copy-unproved");
  });

  test.each<Proof>(["etag", "sha256", "crc64nvme", "md5", "parts"])(
    "of both ETags as the manifest has them, its proof holds: %s",
    (proof) => {
      expect(verdict(HEX, `${OTHER}-2`, { etag: `${OTHER}-2`, sourceEtag: HEX, proof })).toBe(proof);
    },
  );

  test("a size is no proof", () => {
    expect(verdict(HEX, OTHER, { etag: OTHER, sourceEtag: HEX, proof: "size" })).toBe("copy-unproved");
  });

  test("the manifest proves nothing of what R2 has at another ETag by now", () => {
    expect(verdict(`${HEX}-2`, OTHER, { etag: `${HEX}-2`, sourceEtag: `${HEX}-2`, proof: "etag" })).toBe(
      "copy-unproved",
    );
    expect(verdict(HEX, OTHER, { etag: HEX, sourceEtag: HEX, proof: "md5" })).toBe("copy-different");
  });

  test("nor of what the source has at another ETag by now", () => {
    expect(verdict(HEX, `${OTHER}-2`, { etag: `${OTHER}-2`, sourceEtag: OTHER, proof: "parts" })).toBe("copy-unproved");
  });
});

describe("deep", () => {
  test("what both have is read, however equal it looks, at the ETag that R2 lists", () => {
    const source = [listed("a"), listed("b", { etag: `${HEX}-2` })];
    const there = { a: { etag: HEX, size: 100 }, b: { etag: OTHER, size: 100 } };
    const plan = verify(source, { there, deep: true });
    const { size, lastModified } = listed("");
    expect(plan).toEqual({
      proved: [],
      toRead: [
        { key: "a", size, etag: HEX, lastModified, was: HEX },
        { key: "b", size, etag: `${HEX}-2`, lastModified, was: OTHER },
      ],
      failures: [],
    });
  });
});
