import { describe, expect, test } from "vitest";
import { METADATA_MAX_BYTES } from "../../workers/core/limits.ts";
import { metadataBytes, metadataOfCopy } from "../../workers/core/migration/metadata.ts";

const from = { etag: "abc", lastModified: 1_700_000_000_000, http: {}, custom: {} };

describe("the metadata of a copy", () => {
  test("is the source's, and where the copy came from", () => {
    const http = { contentType: "text/plain", contentEncoding: "gzip", expires: 5 };
    expect(metadataOfCopy({ ...from, http, custom: { owner: "x" } }, "a", "mig_1")).toEqual({
      http,
      custom: {
        owner: "x",
        "penstock-migration": "mig_1",
        "penstock-source-etag": "abc",
        "penstock-source-modified": "1700000000000",
      },
    });
  });

  test("names a type where the source does not, for R2 would guess one", () => {
    expect(metadataOfCopy(from, "a.html", "mig_1").http).toEqual({ contentType: "application/octet-stream" });
  });

  test("names the source's key where R2 spells it otherwise", () => {
    expect(metadataOfCopy(from, "e\u0301/ü", "mig_1").custom).toMatchObject({
      "penstock-source-key": "e%CC%81%2F%C3%BC",
    });
    expect(metadataOfCopy(from, "\u00e9", "mig_1").custom).not.toHaveProperty("penstock-source-key");
  });

  test("drops what an earlier copy said of its own origin", () => {
    const custom = { "penstock-migration": "mig_0", "penstock-source-key": "old", "penstock-other": "x" };
    expect(metadataOfCopy({ ...from, custom }, "a", "mig_1").custom).toEqual({
      "penstock-migration": "mig_1",
      "penstock-source-etag": "abc",
      "penstock-source-modified": "1700000000000",
    });
  });
});

describe("what few objects have", () => {
  const tags = { team: "earth obs" };
  const rare = { ...from, storageClass: "GLACIER_IR", tags };
  /** User metadata that leaves so many bytes beside what every copy has. */
  const leaving = (bytes: number) => {
    const own = metadataBytes(metadataOfCopy(from, "a", "mig_1"));
    return { ...rare, custom: { k: "x".repeat(METADATA_MAX_BYTES - own - 1 - bytes) } };
  };
  const entries = (object: Parameters<typeof metadataOfCopy>[0], crc64nvme?: string) =>
    Object.entries(metadataOfCopy(object, "a", "mig_1", crc64nvme).custom).slice(-3);
  const STORAGE_CLASS = ["penstock-source-storage-class", "GLACIER_IR"];
  const CRC = ["penstock-crc64nvme", "rosUhgp5mIg="];
  const TAGS = ["penstock-source-tags", "team=earth%20obs"];

  test("goes along: the storage class, the checksum that is compared, the tags", () => {
    expect(entries(rare, CRC[1])).toEqual([STORAGE_CLASS, CRC, TAGS]);
  });

  test("goes along as far as there is room, to the last byte, and a copy is never too large for it", () => {
    const bytesOf = (pair: string[]) => pair.join("").length;
    const all = bytesOf(STORAGE_CLASS) + bytesOf(CRC) + bytesOf(TAGS);
    const MODIFIED = ["penstock-source-modified", "1700000000000"];
    expect(entries(leaving(all), CRC[1])).toEqual([STORAGE_CLASS, CRC, TAGS]);
    expect(entries(leaving(all - 1), CRC[1])).toEqual([MODIFIED, STORAGE_CLASS, CRC]);
    expect(entries(leaving(0), CRC[1]).at(-1)).toEqual(MODIFIED);
    for (const room of [0, 1, all - 1, all, all + 1]) {
      const bytes = metadataBytes(metadataOfCopy(leaving(room), "a", "mig_1", CRC[1]));
      expect(bytes).toBeLessThanOrEqual(METADATA_MAX_BYTES);
    }
  });
});

test("metadata is counted in bytes of UTF-8: names and values of the user's, values of HTTP's", () => {
  expect(metadataBytes({ http: {}, custom: {} })).toBe(0);
  expect(metadataBytes({ http: {}, custom: { ab: "é", c: "" } })).toBe(5);
  expect(metadataBytes({ http: { contentType: "a/b", expires: 1000 }, custom: {} })).toBe(7);
});
