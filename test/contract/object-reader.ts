import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import type { ByteRange } from "../../workers/core/http/range.ts";
import { bytesOf, type EndpointLimits, expectOk, pattern, type ReaderSetup, refused, utf8 } from "./given.ts";
import { describeKeys } from "./object-keys.ts";
import { describeListing } from "./object-listing.ts";

/** What every object reader does. Storage is shared by the tests of a file, so each has a prefix of its own. */
export function describeObjectReader(name: string, setup: () => ReaderSetup, limits: EndpointLimits = {}): void {
  describe(`${name} reads objects`, () => {
    let it: ReaderSetup;
    beforeAll(() => {
      it = setup();
    });

    describeKeys(() => it, limits);
    describeListing(() => it);

    describe("a range", () => {
      beforeAll(() =>
        it.give([
          { key: "range/ten", bytes: utf8("0123456789") },
          { key: "range/empty", bytes: utf8("") },
          { key: "range/one", bytes: utf8("x") },
        ]),
      );

      test.each<[string, ByteRange, string, number]>([
        ["the first byte", { kind: "bounded", start: 0, end: 0 }, "0", 0],
        ["some in the middle", { kind: "bounded", start: 2, end: 5 }, "2345", 2],
        ["the last byte", { kind: "bounded", start: 9, end: 9 }, "9", 9],
        ["all, bounded", { kind: "bounded", start: 0, end: 9 }, "0123456789", 0],
        ["an end past the object, clipped", { kind: "bounded", start: 7, end: 10 }, "789", 7],
        ["an end far past it, clipped", { kind: "bounded", start: 9, end: 1_000_000_000_000 }, "9", 9],
        ["all from the first byte", { kind: "from", start: 0 }, "0123456789", 0],
        ["all from the last byte", { kind: "from", start: 9 }, "9", 9],
        ["the last byte, as a suffix", { kind: "suffix", length: 1 }, "9", 9],
        ["a suffix as long as the object", { kind: "suffix", length: 10 }, "0123456789", 0],
        ["a suffix longer than the object", { kind: "suffix", length: 11 }, "0123456789", 0],
      ])("of %s", async (_what, range, text, offset) => {
        const got = expectOk(await it.reader.get("range/ten", { range }));
        expect(got).toMatchObject({ key: "range/ten", size: 10, offset, length: text.length });
        expect(got.etag).toBe(await md5Of(utf8("0123456789")));
        expect(new TextDecoder().decode(await bytesOf(got.body))).toBe(text);
      });

      test.each<[string, ByteRange]>([
        ["range/ten", { kind: "bounded", start: 10, end: 10 }],
        ["range/ten", { kind: "bounded", start: 10, end: 20 }],
        ["range/ten", { kind: "bounded", start: 1000, end: 2000 }],
        ["range/ten", { kind: "from", start: 10 }],
        ["range/ten", { kind: "from", start: 1000 }],
        ["range/ten", { kind: "suffix", length: 0 }],
        ["range/one", { kind: "bounded", start: 1, end: 1 }],
        ["range/empty", { kind: "bounded", start: 0, end: 0 }],
        ["range/empty", { kind: "from", start: 0 }],
        ["range/empty", { kind: "suffix", length: 1 }],
        ["range/empty", { kind: "suffix", length: 0 }],
      ])("of %s that has no byte is unsatisfiable: %j", async (key, range) => {
        expect(await it.reader.get(key, { range })).toMatchObject(refused("range-not-satisfiable"));
      });

      test("of a missing object is a missing object", async () => {
        expect(await it.reader.get("range/none", { range: { kind: "from", start: 0 } })).toMatchObject(
          refused("object-not-found"),
        );
      });
    });

    describe("a body", () => {
      test.each([0, 1, 3 * 1024 * 1024 + 1])("of %d bytes comes whole", async (size) => {
        const key = `body/${size}`;
        await it.give([{ key, bytes: pattern(size) }]);
        const got = expectOk(await it.reader.get(key));
        expect(got).toMatchObject({ size, offset: 0, length: size, md5: await md5Of(pattern(size)) });
        const bytes = await bytesOf(got.body);
        expect(bytes.length).toBe(size);
        expect(await md5Of(bytes)).toBe(got.etag);
      });

      test("can be left unread", async () => {
        await it.give([{ key: "body/unread", bytes: pattern(1_000_000) }]);
        await expectOk(await it.reader.get("body/unread")).body.cancel();
        expect((await bytesOf(expectOk(await it.reader.get("body/unread")).body)).length).toBe(1_000_000);
      });
    });

    describe("ifMatch", () => {
      const key = "pinned/one";
      beforeAll(() => it.give([{ key, bytes: utf8("0123456789") }]));

      test("with the object's ETag gets it, whole or a range", async () => {
        const { etag } = expectOk(await it.reader.head(key));
        expect(expectOk(await it.reader.get(key, { ifMatch: etag }))).toMatchObject({ etag, length: 10 });
        const range = { kind: "suffix", length: 3 } as const;
        const { body } = expectOk(await it.reader.get(key, { ifMatch: etag, range }));
        expect(new TextDecoder().decode(await bytesOf(body))).toBe("789");
      });

      test("with another is a failed precondition, whole or a range", async () => {
        const ifMatch = await md5Of(utf8("another"));
        const range = { kind: "bounded", start: 0, end: 3 } as const;
        expect(await it.reader.get(key, { ifMatch })).toMatchObject(refused("precondition-failed"));
        expect(await it.reader.get(key, { ifMatch, range })).toMatchObject(refused("precondition-failed"));
      });
    });

    test("what is not there is not found", async () => {
      await it.give([{ key: "folder/file", bytes: utf8("x") }]);
      for (const key of ["folder", "folder/", "folder/file/", "folder/fil", "Folder/file", "none"]) {
        expect(await it.reader.head(key), key).toMatchObject(refused("object-not-found"));
        expect(await it.reader.get(key), key).toMatchObject(refused("object-not-found"));
      }
    });

    describe("metadata", () => {
      test("of HTTP and of the user comes with head and get", async () => {
        const metadata = {
          http: {
            contentType: "application/x-ndjson; charset=utf-8",
            contentEncoding: "zstd",
            contentLanguage: "de-CH",
            contentDisposition: 'attachment; filename="a b.jsonl"',
            cacheControl: "public, max-age=60",
            expires: Date.UTC(2030, 0, 2, 3, 4, 5),
          },
          custom: { "project-name": "era5", note: "a value, with = and ; and %20" },
        };
        await it.give([{ key: "metadata/all", bytes: utf8("x"), metadata }]);
        expect(expectOk(await it.reader.head("metadata/all"))).toMatchObject(metadata);
        const got = expectOk(await it.reader.get("metadata/all"));
        expect(got).toMatchObject(metadata);
        expect(got.custom).toEqual(metadata.custom);
        await got.body.cancel();
      });

      test("never makes anybody decode the bytes: they come as they are stored", async () => {
        const zip = new Blob(["text ".repeat(100)]).stream().pipeThrough(new CompressionStream("gzip"));
        const bytes = new Uint8Array(await new Response(zip).arrayBuffer());
        await it.give([{ key: "metadata/gz", bytes, metadata: { http: { contentEncoding: "gzip" } } }]);
        const info = { size: bytes.length, etag: await md5Of(bytes), http: { contentEncoding: "gzip" } };
        expect(expectOk(await it.reader.head("metadata/gz"))).toMatchObject(info);
        const got = await it.reader.get("metadata/gz");
        if (limits.encodesTwice === true) {
          expect(got).toMatchObject(refused("source-bad-answer"));
          return;
        }
        expect(expectOk(got)).toMatchObject({ ...info, length: bytes.length });
        expect(await bytesOf(expectOk(got).body)).toEqual(bytes);
      });
    });
  });
}
