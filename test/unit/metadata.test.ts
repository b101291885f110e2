import { describe, expect, test } from "vitest";
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

test("metadata is counted in bytes of UTF-8: names and values of the user's, values of HTTP's", () => {
  expect(metadataBytes({ http: {}, custom: {} })).toBe(0);
  expect(metadataBytes({ http: {}, custom: { ab: "é", c: "" } })).toBe(5);
  expect(metadataBytes({ http: { contentType: "a/b", expires: 1000 }, custom: {} })).toBe(7);
});
