import { beforeAll, describe, expect, test } from "vitest";
import type { SealedObject, VersionResolver } from "../../workers/ports/version-resolver.ts";
import { DOT_KEYS, expectOk, NASTY_KEYS, refused } from "./given.ts";

/** Seals a version of exactly these objects, by whatever way leads there. */
export type SealVersion = (objects: ReadonlyMap<string, SealedObject>) => Promise<VersionResolver>;

const sealed = (size: number, etag = `etag-of-${size}`): SealedObject => ({ size, etag });

/** Names that are something in every object of JavaScript's. */
const INHERITED_KEYS = ["__proto__", "constructor", "toString", "hasOwnProperty"] as const;

/** What the port promises of a sealed version, whoever keeps it. Keys are in Unicode NFC, as R2's are. */
export function describeVersionResolver(name: string, seal: SealVersion): void {
  describe(`${name} resolves`, () => {
    /** Every key has a size and an ETag of its own, so that one that is taken for another is seen. */
    const nasty = new Map<string, SealedObject>();
    let version: VersionResolver;

    beforeAll(async () => {
      const keys = new Set([...NASTY_KEYS, ...DOT_KEYS].map((key) => key.normalize("NFC")));
      for (const key of keys) nasty.set(key, sealed(nasty.size));
      version = await seal(nasty);
    });

    test("each key to the size and the ETag that were sealed, and to nothing else", async () => {
      for (const [key, object] of nasty) expect(await version.resolve(key), key).toEqual({ ok: true, value: object });
    });

    test("a key that was not sealed to a missing object, however near it is to one that was", async () => {
      const near = ["", "plai", "plain ", "plain/", "/plain", "Plain", "plain\0", "a", "a/", "a/b/c", "UPPE", "1000"];
      for (const key of [...near, ...INHERITED_KEYS]) {
        expect(await version.resolve(key), key).toMatchObject(refused("object-not-found"));
      }
    });

    test("keys with the names of what every object of JavaScript's has", async () => {
      const objects = new Map(INHERITED_KEYS.map((key, index): [string, SealedObject] => [key, sealed(index)]));
      const inherited = await seal(objects);
      for (const [key, object] of objects) expect(expectOk(await inherited.resolve(key)), key).toEqual(object);
    });

    test("sizes from nothing to the largest that R2 takes, and ETags of single puts and of parts", async () => {
      const objects = new Map([
        ["empty", sealed(0, "d41d8cd98f00b204e9800998ecf8427e")],
        ["largest", sealed(5_492_060_348_416, "0123456789abcdef0123456789abcdef-10000")],
        ["beyond 32 bits", sealed(4_294_967_297, "0123456789abcdef0123456789abcdef-65")],
      ]);
      const resolver = await seal(objects);
      for (const [key, object] of objects) expect(expectOk(await resolver.resolve(key))).toEqual(object);
    });

    test("keys of 1,024 bytes, in one byte a letter and in four", async () => {
      const keys = ["x".repeat(1024), `${"x".repeat(1023)}y`, "\u{1F600}".repeat(256)];
      const resolver = await seal(new Map(keys.map((key, index) => [key, sealed(index)])));
      for (const [index, key] of keys.entries()) expect(expectOk(await resolver.resolve(key)).size).toBe(index);
      expect(await resolver.resolve("x".repeat(1022))).toMatchObject(refused("object-not-found"));
    });

    test("any of thousands of keys, many at once", async () => {
      const keys = Array.from({ length: 3000 }, (_, index) => `c/${index % 7}/${index}`);
      const resolver = await seal(new Map(keys.map((key, index) => [key, sealed(index)])));
      const asked = Array.from({ length: 200 }, (_, n) => (n * 1999) % keys.length);
      const answers = await Promise.all(asked.map((index) => resolver.resolve(keys[index] ?? "")));
      expect(answers.map((answer) => expectOk(answer).size)).toEqual(asked);
      expect(await resolver.resolve("c/0/3000")).toMatchObject(refused("object-not-found"));
    });

    test("many keys in one answer, in the order in which they were asked for, and null for what was not sealed", async () => {
      const keys = ["not there", ...nasty.keys(), ...INHERITED_KEYS, "not there"].toReversed();
      const asked = [...keys, ...keys];
      const answer = await version.resolveMany(asked);
      expect(answer).toEqual({ ok: true, value: asked.map((key) => nasty.get(key) ?? null) });
      expect(await version.resolveMany([])).toEqual({ ok: true, value: [] });
    });

    test("nothing in a version of nothing", async () => {
      const empty = await seal(new Map());
      expect(await empty.resolve("plain")).toMatchObject(refused("object-not-found"));
      expect(expectOk(await empty.resolveMany(["plain", ""]))).toEqual([null, null]);
    });

    test("the same for good: neither what it was sealed from nor its answers change it", async () => {
      const objects = new Map([["kept", sealed(1)]]);
      const resolver = await seal(objects);
      objects.set("kept", sealed(2)).set("new", sealed(3));
      expectOk(await resolver.resolve("kept")).size = 4;
      for (const found of expectOk(await resolver.resolveMany(["kept"]))) if (found !== null) found.size = 5;
      expect(expectOk(await resolver.resolve("kept"))).toEqual(sealed(1));
      expect(await resolver.resolve("new")).toMatchObject(refused("object-not-found"));
      objects.delete("kept");
      expect(expectOk(await resolver.resolve("kept"))).toEqual(sealed(1));
    });

    test("each version as it was, when another one is sealed after it", async () => {
      const first = await seal(new Map([["key", sealed(1)]]));
      const second = await seal(new Map([["key", sealed(2)]]));
      expect(expectOk(await first.resolve("key")).size).toBe(1);
      expect(expectOk(await second.resolve("key")).size).toBe(2);
    });
  });
}
