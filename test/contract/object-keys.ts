import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import {
  bytesOf,
  DOT_KEYS,
  type EndpointLimits,
  expectOk,
  inByteOrder,
  NASTY_KEYS,
  type ReaderSetup,
  textAt,
  utf8,
  walk,
} from "./given.ts";

/** Every key that can be stored is read and listed as itself. */
export function describeKeys(it: () => ReaderSetup, limits: EndpointLimits): void {
  describe("a key is bytes, and no other key", () => {
    const prefix = "keys/";
    const held = NASTY_KEYS.filter((key) => limits.cannotHold?.includes(key) !== true);
    beforeAll(() => it().give(held.map((key) => ({ key: prefix + key, bytes: utf8(key) }))));

    test.each(held)("%j is found under exactly that key", async (key) => {
      const info = { key: prefix + key, size: utf8(key).length, etag: await md5Of(utf8(key)) };
      expect(await it().reader.head(prefix + key)).toMatchObject({ ok: true, value: info });
      expect(expectOk(await it().reader.get(prefix + key))).toMatchObject(info);
      expect(await textAt(it().reader, prefix + key)).toBe(key);
    });

    test("they are listed in the order of their UTF-8 bytes, each as it was put", async () => {
      const { keys } = await walk(it().reader, prefix);
      expect(keys).toEqual(inByteOrder(held.map((key) => prefix + key)));
    });

    test.each(held)("a listing can be resumed after %j", async (key) => {
      const all = inByteOrder(held.map((each) => prefix + each));
      const { keys } = await walk(it().reader, prefix, prefix + key);
      expect(keys).toEqual(all.slice(all.indexOf(prefix + key) + 1));
    });

    test.each(["a", "a%2", "a/", "a//", "\u{1F600}", "q?", " "])("the prefix %j is bytes too", async (start) => {
      const { keys } = await walk(it().reader, prefix + start);
      const wanted = held.filter((key) => key.startsWith(start)).map((key) => prefix + key);
      expect(keys).toEqual(inByteOrder(wanted));
    });

    test("a key of 1,024 bytes is found", async () => {
      const key = "long/".padEnd(1022, "k") + "é";
      await it().give([{ key, bytes: utf8("at the limit") }]);
      expect(await textAt(it().reader, key)).toBe("at the limit");
      expect((await walk(it().reader, "long/")).keys).toEqual([key]);
    });

    for (const key of limits.cannotHold ?? []) {
      test(`${JSON.stringify(key)}, which the endpoint cannot hold, is never another object`, async () => {
        expect((await it().reader.get(prefix + key)).ok).toBe(false);
      });
    }

    test("the prefix that names everything lists everything", async () => {
      const { keys } = await walk(it().reader, "");
      expect(keys).toEqual(expect.arrayContaining(held.map((key) => prefix + key)));
      expect(keys).toEqual(inByteOrder(keys));
    });

    describe("dot segments mean nothing: such a key is itself or a failure, never another object", () => {
      const decoys = ["b", "a/b", "dots/b", "dots/a/b", "dots/a/b/", "dots/a", "dots/a/"];
      beforeAll(async () => {
        const real = limits.refusesDotSegments === true ? [] : DOT_KEYS;
        await it().give([...decoys, ...real].map((key) => ({ key, bytes: utf8(key) })));
      });

      test.each(DOT_KEYS)("%j", async (key) => {
        const [head, got] = [await it().reader.head(key), await it().reader.get(key)];
        if (limits.refusesDotSegments === true) {
          expect({ head: head.ok, get: got.ok }).toEqual({ head: false, get: false });
        } else {
          expect(expectOk(head).etag).toBe(await md5Of(utf8(key)));
          expect(new TextDecoder().decode(await bytesOf(expectOk(got).body))).toBe(key);
        }
      });
    });
  });
}
