import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import { expectOk, pattern, type ReaderSetup, utf8, walk } from "./given.ts";

/** Pages in ascending byte order, resumable anywhere. */
export function describeListing(it: () => ReaderSetup): void {
  describe("a listing", () => {
    test("of nothing is one empty page", async () => {
      expect(await it().reader.list({ prefix: "nothing/here/", after: null })).toEqual({
        ok: true,
        value: { objects: [], next: null },
      });
    });

    test("tells size, ETag and time as head does", async () => {
      await it().give([{ key: "listed/one", bytes: pattern(1234) }]);
      const head = expectOk(await it().reader.head("listed/one"));
      const [object] = expectOk(await it().reader.list({ prefix: "listed/", after: null })).objects;
      expect(object).toMatchObject({ key: "listed/one", size: 1234, etag: await md5Of(pattern(1234)) });
      expect(head).toMatchObject({ size: 1234, etag: object?.etag });
      // HTTP dates have whole seconds.
      expect(Math.abs((object?.lastModified ?? 0) - head.lastModified)).toBeLessThan(1000);
    });

    test("tells when an object was written, in milliseconds since 1970", async () => {
      const before = Date.now();
      await it().give([{ key: "dated/one", bytes: utf8("1") }]);
      const { lastModified } = expectOk(await it().reader.head("dated/one"));
      expect(lastModified).toBeGreaterThanOrEqual(before - 2000);
      expect(lastModified).toBeLessThanOrEqual(Date.now() + 2000);
    });

    describe("of more than a page", () => {
      const prefix = "many/";
      const keys = Array.from({ length: 1005 }, (_, index) => `${prefix}${String(index * 2).padStart(5, "0")}`);
      // Before and after the prefix in the bucket, and sharing its letters.
      const strangers = ["man", "many", "many-", "many0", "manyx/1", "manz"];
      beforeAll(async () => {
        await it().give([...keys, ...strangers].map((key) => ({ key, bytes: utf8("x") })));
      }, 300_000);

      test("has at most 1,000 keys a page, and is resumed after the last until the end", async () => {
        const walked = await walk(it().reader, prefix);
        expect(walked.keys).toEqual(keys);
        expect(Math.max(...walked.pages)).toBeLessThanOrEqual(1000);
        expect(walked.pages.length).toBeGreaterThan(1);
      });

      test.each([1, 7, 999, 1000])("has at most as many as are asked for: %d", async (limit) => {
        const first = expectOk(await it().reader.list({ prefix, after: null, limit }));
        expect(first.objects.map(({ key }) => key)).toEqual(keys.slice(0, limit));
        expect(first.next).toBe(keys[limit - 1]);
        const last = expectOk(await it().reader.list({ prefix, after: keys[1003] ?? "", limit }));
        expect(last.objects.map(({ key }) => key)).toEqual([keys[1004]]);
        expect(last.next).toBeNull();
      });

      test("can be resumed after any key", async () => {
        expect((await walk(it().reader, prefix, keys[499])).keys).toEqual(keys.slice(500));
        expect((await walk(it().reader, prefix, keys[1003])).keys).toEqual(keys.slice(1004));
        expect((await walk(it().reader, prefix, keys[1004])).keys).toEqual([]);
      });

      test("can be resumed after what is no key", async () => {
        expect((await walk(it().reader, prefix, `${prefix}00999`)).keys).toEqual(keys.slice(500));
        expect((await walk(it().reader, prefix, `${prefix}00998x`)).keys).toEqual(keys.slice(500));
      });

      test("stays within the prefix wherever it is resumed", async () => {
        expect((await walk(it().reader, prefix, "a")).keys).toEqual(keys);
        expect((await walk(it().reader, prefix, "many")).keys).toEqual(keys);
        expect((await walk(it().reader, prefix, prefix)).keys).toEqual(keys);
        expect((await walk(it().reader, prefix, "many0")).keys).toEqual([]);
        expect((await walk(it().reader, prefix, "z")).keys).toEqual([]);
      });
    });
  });
}
