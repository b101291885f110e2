import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PART_DEFAULT_BYTES } from "../../workers/core/limits.ts";
import { mergeRows, type Proof } from "../../workers/core/manifest/row.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { partRange } from "../../workers/core/migration/parts.ts";
import {
  cutsOf,
  isReadInParts,
  judgeByManifest,
  judgeByTold,
  learnedRow,
  planReading,
  type ReadBytes,
  type ToldObject,
} from "../../workers/core/migration/read-back.ts";
import { givenRow } from "../harness/rows.ts";

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;
const HEX = "d41d8cd98f00b204e9800998ecf8427e";
const OTHER = "5d41402abc4b2a76b9719d911017c592";
const THIRD = "9e107d9d372bb6826bd81d3542a419d6";
const item = (more: Partial<CopyItem> = {}): CopyItem => ({
  key: "a",
  size: 20 * MiB,
  etag: HEX,
  lastModified: 0,
  was: HEX,
  ...more,
});
const TOLD: ToldObject = { md5: null, sha256: null, crc64: null, firstPart: null };
const READ: ReadBytes = { md5: null, sha256: null, crc64: null, cuts: new Map() };
const codeOf = (verdict: ReturnType<typeof judgeByTold>) =>
  typeof verdict === "string" || verdict === null ? verdict : verdict.code;

describe("an object is read back", () => {
  const threshold = 64 * MiB;

  test.each([
    ["in one go where it is small", { size: threshold, etag: `${HEX}-8` }, false],
    ["in one go where its ETag is the MD5 of the whole", { size: 5 * GiB, etag: HEX }, false],
    ["in one go where it was put as one part", { size: GiB, etag: `${HEX}-1` }, false],
    ["in one go where several usual part sizes may have cut it", { size: 100 * MiB, etag: `${HEX}-2` }, false],
    ["in parts where one usual part size cuts it", { size: 100 * MiB, etag: `${HEX}-13` }, true],
    ["in parts where none does", { size: 100 * MiB, etag: `${HEX}-11` }, true],
    ["in parts where no consumer would live that long", { size: 13e9, etag: HEX }, true],
  ])("%s", (_what, object, inParts) => {
    expect(isReadInParts(object, threshold)).toBe(inParts);
  });

  test("in parts that are all of its bytes, each once, however it is cut", () => {
    const etags = fc.oneof(
      fc.constant(HEX),
      fc.integer({ min: 1, max: 10_000 }).map((parts) => `${HEX}-${parts}`),
    );
    const firstParts = fc.option(fc.record({ bytes: fc.integer({ min: 0, max: 5 * GiB }), parts: fc.nat(10_000) }));
    fc.assert(
      fc.property(fc.nat(50 * 1024 ** 4 * 0.09), etags, etags, firstParts, (size, etag, was, firstPart) => {
        const plan = planReading(item({ size, etag, was }), firstPart, PART_DEFAULT_BYTES);
        expect(partRange(plan, size, 1).start).toBe(0);
        expect(partRange(plan, size, plan.parts).end).toBe(size - 1);
        expect(plan.parts === 1 || partRange(plan, size, plan.parts).start < size).toBe(true);
      }),
    );
  });
});

describe("the cuts that are tried", () => {
  test("are the source's own, where it tells its first part", () => {
    const object = item({ etag: `${HEX}-2`, was: `${HEX}-2` });
    expect(cutsOf(object, { bytes: 17 * MiB, parts: 2 }, PART_DEFAULT_BYTES)).toEqual([17 * MiB]);
  });

  test("are all usual ones where it does not, or where its parts are not equal", () => {
    const object = item({ etag: `${HEX}-2`, was: `${HEX}-2` });
    const usual = [10 * MiB, 15 * MiB, 16 * MiB];
    expect(cutsOf(object, null, PART_DEFAULT_BYTES)).toEqual(usual);
    expect(cutsOf(object, { bytes: 5 * MiB, parts: 2 }, PART_DEFAULT_BYTES)).toEqual(usual);
    expect(cutsOf(object, { bytes: 17 * MiB, parts: 3 }, PART_DEFAULT_BYTES)).toEqual(usual);
  });

  test("and those of R2, where its ETag is another: as we cut, then as tools do", () => {
    const object = item({ size: 192 * MiB, etag: HEX, was: `${OTHER}-2` });
    expect(cutsOf(object, null, 100 * MiB)).toEqual([100 * MiB, 128 * MiB]);
    expect(cutsOf(object, null, 99 * MiB)).toEqual([99 * MiB, 100 * MiB, 128 * MiB]);
    expect(cutsOf(object, null, 48 * MiB)).toEqual([100 * MiB, 128 * MiB]);
  });

  test("are none of an object that was put whole on both sides", () => {
    expect(cutsOf(item({ was: OTHER }), null, PART_DEFAULT_BYTES)).toEqual([]);
  });
});

describe("the source's word", () => {
  const multipart = item({ etag: `${HEX}-3`, was: OTHER });
  const encrypted = item({ was: OTHER });

  test.each<[string, CopyItem, Partial<ReadBytes>, Partial<ToldObject>, string]>([
    ["its MD5 is that of the bytes", item({ was: OTHER }), { md5: HEX }, {}, "md5"],
    ["its MD5 is not", item(), { md5: OTHER }, { md5: HEX }, "copy-different"],
    ["its multipart ETag comes out", multipart, { cuts: new Map([[8 * MiB, `${HEX}-3`]]) }, {}, "etag"],
    ["its SHA-256 is that of the bytes", encrypted, { md5: OTHER, sha256: "s" }, { sha256: "s" }, "sha256"],
    ["its SHA-256 is not", encrypted, { md5: OTHER, sha256: "s" }, { sha256: "t" }, "copy-different"],
    ["its CRC is that of the bytes", multipart, { crc64: "c" }, { crc64: "c" }, "crc64nvme"],
    ["its CRC is not", multipart, { crc64: "c" }, { crc64: "d" }, "copy-different"],
    [
      "the CRC of bytes whose ETag does not come out by a guess",
      multipart,
      { crc64: "c", cuts: new Map([[8 * MiB, `${OTHER}-3`]]) },
      { crc64: "c" },
      "crc64nvme",
    ],
  ])("decides: %s", (_what, object, read, told, verdict) => {
    expect(codeOf(judgeByTold(object, { ...READ, ...read }, { ...TOLD, ...told }))).toBe(verdict);
  });

  test("says nothing by an ETag that is encrypted", () => {
    expect(judgeByTold(encrypted, { ...READ, md5: OTHER }, TOLD)).toBeNull();
  });

  test("says nothing by a multipart ETag that does not come out of a guessed cut", () => {
    expect(judgeByTold(multipart, { ...READ, cuts: new Map([[8 * MiB, `${OTHER}-3`]]) }, TOLD)).toBeNull();
  });

  test("decides by one of two parts, the first of which it tells; of three, the middle one may have any size", () => {
    const read = (parts: number) => ({ ...READ, cuts: new Map([[10 * MiB, `${OTHER}-${parts}`]]) });
    const told = (parts: number) => ({ ...TOLD, firstPart: { bytes: 10 * MiB, parts } });
    const two = item({ etag: `${HEX}-2`, was: OTHER });
    expect(codeOf(judgeByTold(two, read(2), told(2)))).toBe("copy-different");
    expect(judgeByTold({ ...two, etag: `${HEX}-3`, size: 26 * MiB }, read(3), told(3))).toBeNull();
  });

  test("of the same ETag comes first: no checksum can say otherwise", () => {
    expect(judgeByTold(item(), { ...READ, md5: HEX, sha256: "s" }, { ...TOLD, sha256: "t" })).toBe("md5");
  });
});

describe("where the source's word says nothing", () => {
  const object = item({ etag: `${HEX}-3`, was: `${OTHER}-2` });
  const row = (proof: Proof | null) => ({ etag: `${OTHER}-2`, sourceEtag: `${HEX}-3`, proof });
  const intact = { ...READ, md5: THIRD, cuts: new Map([[16 * MiB, `${OTHER}-2`]]) };
  const codes = (...[read, known]: [ReadBytes, Parameters<typeof judgeByManifest>[2]]) =>
    codeOf(judgeByManifest(object, read, known));

  test.each<Proof>(["etag", "sha256", "crc64nvme", "md5", "parts"])(
    "the proof of the copy holds, if R2 still has those bytes: %s",
    (proof) => {
      expect(codes(intact, row(proof))).toBe(proof);
    },
  );

  test("a size, or no row, or the row of another object on either side, proves nothing", () => {
    expect(codes(intact, row("size"))).toBe("copy-unproved");
    expect(codes(intact, row(null))).toBe("copy-unproved");
    expect(codes(intact, undefined)).toBe("copy-unproved");
    expect(codes(intact, { ...row("parts"), etag: HEX })).toBe("copy-unproved");
    expect(codes(intact, { ...row("parts"), sourceEtag: HEX })).toBe("copy-unproved");
  });

  test("bytes of which R2's own multipart ETag does not come out are not proved by any row", () => {
    expect(codes({ ...intact, cuts: new Map([[16 * MiB, `${THIRD}-2`]]) }, row("parts"))).toBe("copy-unproved");
  });

  test("bytes that are not those of R2's own MD5 are not what was put there, and so different", () => {
    const whole = item({ etag: `${HEX}-3`, was: OTHER });
    const known = { etag: OTHER, sourceEtag: `${HEX}-3`, proof: "md5" as const };
    expect(codeOf(judgeByManifest(whole, { ...READ, md5: THIRD }, known))).toBe("copy-different");
    expect(codeOf(judgeByManifest(whole, { ...READ, md5: OTHER }, known))).toBe("md5");
  });
});

describe("the manifest learns of an object that was read back", () => {
  const learn = (was: string | null, read: Partial<ReadBytes>) =>
    learnedRow("a", { size: 9, was }, { ...READ, ...read }, "mig_2");

  test("hashes that are not its ETag, and keeps its own proof and origin", () => {
    const copied = { proof: "parts", origin: "s3://b/", sourceEtag: "e", storageClass: "STANDARD_IA" } as const;
    const known = givenRow("a", { etag: `${HEX}-2`, size: 9, ...copied, tags: { a: "b" }, contentType: "x/y" });
    const row = learn(`${HEX}-2`, { md5: OTHER, sha256: "s", crc64: "c" });
    if (row === null) throw new Error("nothing was learned");
    expect(mergeRows(known, row)).toEqual({ ...known, md5: OTHER, sha256: "s", crc64nvme: "c" });
  });

  test.each<[string, string | null, Partial<ReadBytes>]>([
    ["an MD5 that is its ETag", HEX, { md5: HEX }],
    ["no hash of the whole", `${HEX}-2`, { cuts: new Map([[5, HEX]]) }],
    ["an object that was not there", null, { sha256: "s" }],
  ])("and nothing of %s", (_what, was, read) => {
    expect(learn(was, read)).toBeNull();
  });
});
