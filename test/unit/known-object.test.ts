import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseHttpDate, formatHttpDate } from "../../workers/core/http/date.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { formatKnownObject, knowObject, parseKnownObject } from "../../workers/core/read/known-object.ts";

const INFO = { size: 10, etag: "r2etag", lastModified: 1_700_000_000_000, http: {}, custom: {} };
const copied = (etag: string, modifiedAt?: string) => ({
  ...INFO,
  custom: { [ORIGIN.etag]: etag, ...(modifiedAt === undefined ? {} : { [ORIGIN.modifiedAt]: modifiedAt }) },
});

describe("what a client sees of an object", () => {
  it("is R2's ETag and time, where nothing says otherwise", () => {
    const own = { logicalEtag: "r2etag", isCopy: false, sourceKey: null };
    expect(knowObject(INFO)).toEqual({ ...INFO, custom: undefined, ...own });
  });

  it("is the source's ETag and time of a copy, while its bytes are pinned by R2's", () => {
    expect(knowObject(copied("abc-3", "1600000000000"))).toMatchObject({
      ...{ etag: "r2etag", logicalEtag: "abc-3", lastModified: 1_600_000_000_000, isCopy: true },
    });
  });

  it.each(["", 'a"b', "a b", "a\r\nx: y", "é", "\u0000", "x".repeat(257)])(
    "is R2's where what was recorded is no entity tag: %j",
    (etag) => {
      expect(knowObject(copied(etag, "1600000000000"))).toMatchObject({
        ...{ logicalEtag: "r2etag", lastModified: INFO.lastModified, isCopy: false },
      });
    },
  );

  it.each(["", "-1", "1.5", "1e3", " 1", "soon", "9".repeat(16), "253402300799001"])(
    "keeps R2's time where what was recorded is no time that an HTTP date can say: %j",
    (modifiedAt) => {
      expect(knowObject(copied("abc", modifiedAt))).toMatchObject({
        logicalEtag: "abc",
        lastModified: INFO.lastModified,
      });
    },
  );

  it("can be said in headers, whatever is stored", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (etag, modifiedAt) => {
        const { logicalEtag, lastModified } = knowObject(copied(etag, modifiedAt));
        const headers = new Headers([["etag", `"${logicalEtag}"`]]);
        expect(headers.get("etag")).toMatch(/^"[\x21\x23-\x7e]+"$/);
        const date = formatHttpDate(lastModified);
        expect(parseHttpDate(date, lastModified)).toBe(Math.floor(lastModified / 1000) * 1000);
      }),
      { numRuns: 1000 },
    );
  });
});

const text = fc.string({ unit: "binary" });
const anyObject = fc.record({
  size: fc.maxSafeNat(),
  etag: text,
  lastModified: fc.nat(),
  http: fc.record(
    { contentType: text, contentEncoding: text, contentLanguage: text, contentDisposition: text },
    { requiredKeys: [] },
  ),
  custom: fc.record({ [ORIGIN.etag]: text, [ORIGIN.modifiedAt]: text, other: text }, { requiredKeys: [] }),
});

describe("the note beside a cached block", () => {
  it("comes back as it went, in ASCII that a header may carry", () => {
    fc.assert(
      fc.property(anyObject, (info) => {
        const known = knowObject(info);
        const note = formatKnownObject(known);
        expect(new Headers([["x", note]]).get("x")).toBe(note);
        expect(note).toMatch(/^[\x21-\x7e]+$/);
        expect(parseKnownObject(note)).toEqual(known);
      }),
      { numRuns: 2000 },
    );
  });

  it.each(["", "%", "%7B", "null", "[]", "1", "{}", '{"size":1}', encodeURIComponent('{"size":"1"}')])(
    "is nothing where it is not one of ours: %j",
    (note) => {
      expect(parseKnownObject(note)).toBeNull();
    },
  );

  it("is nothing where it says more, or less, than we do", () => {
    const known = knowObject(INFO);
    expect(parseKnownObject(JSON.stringify({ ...known, more: 1 }))).toBeNull();
    for (const field of Object.keys(known)) {
      expect(parseKnownObject(JSON.stringify({ ...known, [field]: undefined })), field).toBeNull();
    }
  });

  it("never makes the reader throw", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (note) => void parseKnownObject(note)),
      { numRuns: 2000 },
    );
  });
});
