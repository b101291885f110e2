import { describe, expect, test } from "vitest";
import { rowOfCopy, rowOfFound, type Stored } from "../../workers/core/manifest/stored-row.ts";
import { metadataOfCopy } from "../../workers/core/migration/metadata.ts";

const MD5 = "9e107d9d372bb6826bd81d3542a419d6";
const CRC = "rosUhgp5mIg=";
const stored = (more: Partial<Stored>): Stored => ({
  ...{ size: 1, etag: MD5, lastModified: 5, md5: MD5, http: {}, custom: {} },
  ...more,
});
const FROM = {
  ...{ etag: "abc-2", lastModified: 1_700_000_000_000, custom: {}, http: { contentEncoding: "gzip" } },
  ...{ storageClass: "STANDARD_IA", tags: { team: "earth obs", "a=b": "é" } },
};
/** As R2 has it after a copy of "e\u0301". */
const COPY = stored(metadataOfCopy(FROM, "e\u0301", "mig_1", CRC));

describe("the row of a copy", () => {
  test("says what the copy left in the metadata", () => {
    expect(rowOfCopy("\u00e9", COPY, "mig_2")).toMatchObject({
      ...{ key: "\u00e9", size: 1, etag: MD5, uploadedAt: 5, md5: MD5, sha256: null, crc64nvme: CRC },
      ...{ contentType: "application/octet-stream", contentEncoding: "gzip" },
      ...{ sourceKey: "e\u0301", sourceEtag: "abc-2", sourceModifiedAt: 1_700_000_000_000 },
      ...{ storageClass: "STANDARD_IA", tags: FROM.tags, writer: "mig_1" },
    });
  });

  test("says nothing of metadata that are not as a copy leaves them", () => {
    const custom = {
      ...{ "penstock-crc64nvme": "not a checksum", "penstock-source-tags": "no tags", "penstock-source-key": "%zz" },
      ...{ "penstock-source-storage-class": "x y", "penstock-source-modified": "yesterday" },
    };
    const row = rowOfCopy("a", stored({ custom }), "mig_2");
    expect(row).toMatchObject({ crc64nvme: null, tags: null, sourceKey: null, storageClass: null });
    expect(row).toMatchObject({ sourceModifiedAt: null, writer: "mig_2" });
  });
});

describe("the row of an object that was found", () => {
  test("says what R2 vouches for, and nothing of what anybody may have written beside it", () => {
    expect(rowOfFound("\u00e9", COPY, "reconcile")).toEqual({
      ...{ key: "\u00e9", size: 1, etag: MD5, uploadedAt: 5, md5: MD5, sha256: null, crc64nvme: null },
      ...{ contentType: "application/octet-stream", contentEncoding: "gzip", proof: null, origin: null },
      ...{ sourceKey: null, sourceEtag: null, sourceModifiedAt: null, storageClass: null, tags: null },
      writer: "found:reconcile",
    });
    const output = stored({ custom: { "penstock-job": "job_1" } });
    expect(rowOfFound("a", output, "reconcile").writer).toBe("found:reconcile");
  });

  test("has the SHA-256 that R2 keeps", () => {
    const checksums = { sha256: "ab".repeat(32) };
    expect(rowOfFound("a", stored({ checksums }), "x")).toMatchObject({ ...checksums, crc64nvme: null });
  });
});
