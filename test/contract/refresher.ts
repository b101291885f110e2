import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import type { ByteRange } from "../../workers/core/http/range.ts";
import type { ObjectStore, Refresher } from "../../workers/ports/object-store.ts";
import { bytesOf, expectOk, refused, utf8 } from "./given.ts";

const OLD = utf8("0123456789");
const NEW = utf8("abcdefghijkl");
const METADATA = { http: { contentType: "text/x-new", contentEncoding: "x" }, custom: { note: "kept" } };
const bounded = (start: number, end: number): ByteRange => ({ kind: "bounded", start, end });

/** A store that tells in one operation whether an object is still what it was, and what is there if it is not. */
export function describeRefresher(name: string, setup: () => ObjectStore & Refresher): void {
  describe(`${name} refreshes`, () => {
    let store: ObjectStore & Refresher;
    let [old, now] = ["", ""];
    const put = async (key: string, bytes: Uint8Array<ArrayBuffer>) =>
      expectOk(await store.put(key, bytes, { ...METADATA, size: bytes.length }));

    beforeAll(async () => {
      store = setup();
      [old, now] = [await md5Of(OLD), await md5Of(NEW)];
      await put("refresh/one", OLD);
      await put("refresh/one", NEW);
    });

    test.each<[string, ByteRange | undefined]>([
      ["all", undefined],
      ["a range", bounded(2, 4)],
      ["a suffix", { kind: "suffix", length: 3 }],
      ["what is from a byte on", { kind: "from", start: 5 }],
    ])(
      "an object that did not change without a byte, with all that is known of it, asked for %s",
      async (_what, range) => {
        const { body, ...info } = expectOk(await store.refresh("refresh/one", now, range));
        expect(body).toBeNull();
        expect(info).toEqual(expectOk(await store.head("refresh/one")));
        expect(info).toMatchObject({ size: NEW.length, etag: now, ...METADATA });
      },
    );

    test.each<[string, ByteRange | undefined, string, number]>([
      ["all", undefined, "abcdefghijkl", 0],
      ["a range", bounded(2, 4), "cde", 2],
      ["a range that ends past it", bounded(10, 99), "kl", 10],
      ["a suffix", { kind: "suffix", length: 3 }, "jkl", 9],
      ["what is from a byte on", { kind: "from", start: 5 }, "fghijkl", 5],
    ])("an object that changed as it is now, and the bytes: %s", async (_what, range, text, offset) => {
      const got = expectOk(await store.refresh("refresh/one", old, range));
      expect(got).toMatchObject({ etag: now, size: NEW.length, offset, length: text.length, ...METADATA });
      if (got.body === null) throw new Error("There is no body.");
      expect(new TextDecoder().decode(await bytesOf(got.body))).toBe(text);
    });

    test("an object that changed and has no byte of the range to an unsatisfiable one", async () => {
      for (const range of [bounded(12, 20), bounded(100, 200), { kind: "from", start: 12 }] satisfies ByteRange[]) {
        expect(await store.refresh("refresh/one", old, range)).toMatchObject(refused("range-not-satisfiable"));
      }
    });

    test("an object that changed to nothing, and one that was nothing", async () => {
      await put("refresh/empty", utf8(""));
      const empty = await md5Of(utf8(""));
      expect(expectOk(await store.refresh("refresh/empty", empty)).body).toBeNull();
      const got = expectOk(await store.refresh("refresh/empty", old));
      expect(got).toMatchObject({ size: 0, etag: empty, length: 0 });
      expect(await store.refresh("refresh/empty", old, bounded(0, 3))).toMatchObject(refused("range-not-satisfiable"));
      await put("refresh/empty", OLD);
      expect(expectOk(await store.refresh("refresh/empty", empty))).toMatchObject({ etag: old, length: OLD.length });
    });

    test("what is not there, or not there any more, to a missing object", async () => {
      await put("refresh/gone", OLD);
      expectOk(await store.delete("refresh/gone"));
      for (const key of ["refresh/gone", "refresh/never"]) {
        for (const range of [undefined, bounded(0, 3)]) {
          expect(await store.refresh(key, old, range)).toMatchObject(refused("object-not-found"));
        }
      }
    });
  });
}
