import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import { isTransient } from "../../workers/core/failure.ts";
import type { HttpMetadata, ObjectStore } from "../../workers/ports/object-store.ts";
import { bytesOf, expectOk, pattern, refused, textAt, utf8, walk } from "./given.ts";

const plain = (bytes: Uint8Array) => ({ http: {}, custom: {}, size: bytes.length });

/** A stream of `announced` bytes whose source ends, or breaks, after `sent`. */
export function brokenStream(announced: number, sent: number, end: "closes" | "errors"): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(announced);
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(pattern(sent));
      if (end === "closes") controller.close();
      else controller.error(new Error("the source broke off"));
    },
  });
  source.pipeTo(writable).catch(() => undefined); // The readable half errors with it.
  return readable;
}

/** What every object writer does. */
export function describeObjectWriter(name: string, setup: () => ObjectStore): void {
  describe(`${name} writes objects`, () => {
    let store: ObjectStore;
    beforeAll(() => {
      store = setup();
    });
    const put = (key: string, text: string, more: object = {}) =>
      store.put(key, utf8(text), { ...plain(utf8(text)), ...more });

    test("a put answers what head then tells, and the ETag is the MD5", async () => {
      const custom = { origin: "here" };
      const info = expectOk(await put("w/info", "hello", { http: { contentType: "text/plain" }, custom }));
      expect(info).toMatchObject({ key: "w/info", size: 5, etag: "5d41402abc4b2a76b9719d911017c592" });
      expect(info.md5).toBe(info.etag);
      expect(expectOk(await store.head("w/info"))).toEqual(info);
    });

    test("a stream is written like bytes", async () => {
      const bytes = pattern(2_000_003);
      const { readable, writable } = new FixedLengthStream(bytes.length);
      const piped = new Blob([bytes]).stream().pipeTo(writable);
      const info = expectOk(await store.put("w/stream", readable, plain(bytes)));
      await piped;
      expect(info).toMatchObject({ size: bytes.length, etag: await md5Of(bytes) });
      expect(await bytesOf(expectOk(await store.get("w/stream")).body)).toEqual(bytes);
    });

    test("a stream of no bytes is an empty object", async () => {
      const { readable, writable } = new FixedLengthStream(0);
      const closed = writable.close();
      expect(expectOk(await store.put("w/none", readable, { http: {}, custom: {}, size: 0 })).size).toBe(0);
      await closed;
    });

    test("one store's body can be put into another", async () => {
      await put("w/from", "passed on");
      const { body, length } = expectOk(await store.get("w/from"));
      const { readable, writable } = new FixedLengthStream(length);
      const piped = body.pipeTo(writable);
      expectOk(await store.put("w/to", readable, { http: {}, custom: {}, size: length }));
      await piped;
      expect(await textAt(store, "w/to")).toBe("passed on");
    });

    test("a put without a condition replaces bytes and metadata whole", async () => {
      await put("w/twice", "first", { http: { contentType: "text/plain" }, custom: { a: "1" } });
      await put("w/twice", "second", { custom: { b: "2" } });
      expect(await textAt(store, "w/twice")).toBe("second");
      const { http, custom } = expectOk(await store.head("w/twice"));
      expect(http.contentType).not.toBe("text/plain");
      expect(custom).toEqual({ b: "2" });
    });

    describe("a put only where nothing is", () => {
      test("writes there", async () => {
        expect(await put("w/absent/free", "new", { onlyIf: "absent" })).toMatchObject({ ok: true });
        expect(await textAt(store, "w/absent/free")).toBe("new");
      });

      test("is a failed precondition where something is, which stays", async () => {
        await put("w/absent/taken", "old");
        expect(await put("w/absent/taken", "new", { onlyIf: "absent" })).toMatchObject(refused("precondition-failed"));
        expect(await textAt(store, "w/absent/taken")).toBe("old");
      });

      test("lets one of two racing puts win", async () => {
        const puts = await Promise.all(["a", "b"].map((text) => put("w/absent/race", text, { onlyIf: "absent" })));
        expect(puts.filter(({ ok }) => ok)).toHaveLength(1);
        expect(puts.filter(({ ok }) => !ok)).toMatchObject([refused("precondition-failed")]);
        expect(await textAt(store, "w/absent/race")).toBe(puts[0]?.ok ? "a" : "b");
      });
    });

    describe("a put only over one ETag", () => {
      test("writes where the object has it", async () => {
        const { etag } = expectOk(await put("w/etag/same", "old"));
        expect(await put("w/etag/same", "new", { onlyIf: { etag } })).toMatchObject({ ok: true });
        expect(await textAt(store, "w/etag/same")).toBe("new");
      });

      test("is a failed precondition where it has another, and where nothing is", async () => {
        const { etag } = expectOk(await put("w/etag/other", "old"));
        await put("w/etag/other", "newer");
        expect(await put("w/etag/other", "late", { onlyIf: { etag } })).toMatchObject(refused("precondition-failed"));
        expect(await textAt(store, "w/etag/other")).toBe("newer");
        expect(await put("w/etag/gone", "late", { onlyIf: { etag } })).toMatchObject(refused("precondition-failed"));
        expect(await store.head("w/etag/gone")).toMatchObject(refused("object-not-found"));
      });
    });

    describe("an announced MD5", () => {
      test("that is right is accepted", async () => {
        const info = expectOk(await put("w/md5/right", "hello", { md5: "5d41402abc4b2a76b9719d911017c592" }));
        expect(info.md5).toBe("5d41402abc4b2a76b9719d911017c592");
      });

      test.each(["bytes", "a stream"])(
        "that is wrong is a mismatch for %s, and leaves nothing behind",
        async (kind) => {
          const bytes = pattern(100_000);
          const body = kind === "bytes" ? bytes : fixed(bytes);
          const options = { ...plain(bytes), md5: "5d41402abc4b2a76b9719d911017c592" };
          expect(await store.put("w/md5/wrong", body, options)).toMatchObject(refused("checksum-mismatch"));
          expect(await store.head("w/md5/wrong")).toMatchObject(refused("object-not-found"));
          expect((await walk(store, "w/md5/wrong")).keys).toEqual([]);
        },
      );

      test("that is wrong leaves what was there", async () => {
        await put("w/md5/kept", "old");
        const md5 = "5d41402abc4b2a76b9719d911017c592";
        expect(await put("w/md5/kept", "new", { md5 })).toMatchObject(refused("checksum-mismatch"));
        expect(await textAt(store, "w/md5/kept")).toBe("old");
      });
    });

    describe("an announced SHA-256", () => {
      const sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; // of "hello"

      test.each(["bytes", "a stream"])("that is right is accepted for %s", async (kind) => {
        const body = kind === "bytes" ? utf8("hello") : fixed(utf8("hello"));
        const info = expectOk(await store.put(`w/sha256/right/${kind}`, body, { ...plain(utf8("hello")), sha256 }));
        expect(info.etag).toBe("5d41402abc4b2a76b9719d911017c592");
        expect(await textAt(store, `w/sha256/right/${kind}`)).toBe("hello");
        // What a store tells of it, if anything, is it.
        const told = expectOk(await store.head(`w/sha256/right/${kind}`, { checksums: true })).checksums;
        expect(told?.sha256 ?? sha256).toBe(sha256);
      });

      test.each(["bytes", "a stream"])(
        "that is wrong is a mismatch for %s, and leaves what was there",
        async (kind) => {
          for (const before of ["", "old"]) {
            const key = `w/sha256/wrong/${kind}/${before}`;
            if (before !== "") await put(key, before);
            const bytes = pattern(100_000);
            const body = kind === "bytes" ? bytes : fixed(bytes);
            expect(await store.put(key, body, { ...plain(bytes), sha256 })).toMatchObject(refused("checksum-mismatch"));
            if (before === "") expect(await store.head(key)).toMatchObject(refused("object-not-found"));
            else expect(await textAt(store, key)).toBe(before);
          }
        },
      );
    });

    describe("metadata", () => {
      test("of 8,192 bytes in all is taken, keys counted with values", async () => {
        const custom = { key: "v".repeat(8189) };
        expect(await put("w/metadata/full", "x", { custom })).toMatchObject({ ok: true });
        expect(expectOk(await store.head("w/metadata/full")).custom).toEqual(custom);
      });

      test.each<[string, Record<string, string>, HttpMetadata]>([
        ["a value", { key: "v".repeat(8190) }, {}],
        ["many values", Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`key${n}`, "val"])), {}],
        ["text of more bytes than characters", { key: "é".repeat(4095) }, {}],
        ["HTTP's and the user's together", { key: "v".repeat(4096) }, { contentDisposition: "d".repeat(4096) }],
      ])("of more is refused, in %s, and nothing is written", async (_what, custom, http) => {
        expect(await put("w/metadata/over", "x", { custom, http })).toMatchObject(refused("metadata-too-large"));
        expect(await store.head("w/metadata/over")).toMatchObject(refused("object-not-found"));
      });
    });

    describe.each<[string, "closes" | "errors"]>([
      ["ends too early", "closes"],
      ["breaks off", "errors"],
    ])("a body that %s", (_what, end) => {
      test("leaves nothing behind", async () => {
        const result = await store.put(`w/${end}/none`, brokenStream(100_000, 60_000, end), {
          ...plain(pattern(100_000)),
        });
        expect(result.ok).toBe(false);
        expect(await store.head(`w/${end}/none`)).toMatchObject(refused("object-not-found"));
        expect((await walk(store, `w/${end}/`)).keys).toEqual([]);
      });

      test("leaves what was there", async () => {
        await put(`w/${end}/kept/old`, "old");
        const body = brokenStream(100_000, 60_000, end);
        expect((await store.put(`w/${end}/kept/old`, body, plain(pattern(100_000)))).ok).toBe(false);
        expect(await textAt(store, `w/${end}/kept/old`)).toBe("old");
      });
    });

    test("a key of more than 1,024 bytes is refused for good", async () => {
      const result = await put(`w/${"é".repeat(512)}`, "x");
      expect(result.ok ? null : isTransient(result.failure.code)).toBe(false);
      expect((await walk(store, "w/é")).keys).toEqual([]);
    });

    test("delete removes that object, and only that", async () => {
      await put("w/delete/a", "a");
      await put("w/delete/a/b", "b");
      expect(await store.delete("w/delete/a")).toEqual({ ok: true, value: null });
      expect(await store.head("w/delete/a")).toMatchObject(refused("object-not-found"));
      expect((await walk(store, "w/delete/")).keys).toEqual(["w/delete/a/b"]);
    });

    test("deleting nothing succeeds", async () => {
      expect(await store.delete("w/never/was")).toEqual({ ok: true, value: null });
    });
  });
}

function fixed(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(bytes.length);
  new Blob([bytes])
    .stream()
    .pipeTo(writable)
    .catch(() => undefined); // A refused put cancels it.
  return readable;
}
