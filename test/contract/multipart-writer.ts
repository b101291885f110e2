import { beforeAll, describe, expect, test } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import { PART_MIN_BYTES } from "../../workers/core/limits.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import { bytesOf, expectOk, pattern, refused, textAt, utf8, walk } from "./given.ts";
import { brokenStream } from "./object-writer.ts";

const NO_METADATA = { http: {}, custom: {} };
const full = (seed: number) => pattern(PART_MIN_BYTES, seed);

/** S3's multipart ETag: the MD5 of the parts' MD5s, and how many there are. */
async function multipartEtag(parts: readonly Uint8Array[]): Promise<string> {
  const digests = await Promise.all(parts.map(md5Of));
  return `${await md5Of(Uint8Array.fromHex(digests.join("")))}-${parts.length}`;
}

/** What every multipart writer does. */
export function describeMultipartWriter(name: string, setup: () => ObjectStore): void {
  describe(`${name} takes multipart uploads`, () => {
    let store: ObjectStore;
    beforeAll(() => {
      store = setup();
    });

    const start = async (key: string) => expectOk(await store.createUpload(key, NO_METADATA));
    const send = async (key: string, id: string, partNumber: number, bytes: Uint8Array) => ({
      partNumber,
      etag: expectOk(await store.uploadPart(key, id, partNumber, bytes, bytes.length)),
    });
    /** Uploads parts of these bytes, in order, and leaves the upload open. */
    async function upload(key: string, contents: readonly Uint8Array[]) {
      const id = await start(key);
      const parts = [];
      for (const [index, bytes] of contents.entries()) parts.push(await send(key, id, index + 1, bytes));
      return { id, parts };
    }

    test("equal parts and a smaller last make the object, with S3's multipart ETag", async () => {
      const contents = [full(1), full(2), pattern(1, 3)];
      const { id, parts } = await upload("m/three", contents);
      const info = expectOk(await store.completeUpload("m/three", id, parts));
      expect(info).toMatchObject({ key: "m/three", size: 2 * PART_MIN_BYTES + 1, md5: null });
      expect(info.etag).toBe(await multipartEtag(contents));
      expect(expectOk(await store.head("m/three"))).toEqual(info);
      const bytes = await bytesOf(expectOk(await store.get("m/three")).body);
      expect(await md5Of(bytes)).toBe(await md5Of(new Uint8Array(await new Blob(contents).arrayBuffer())));
      const range = { kind: "bounded", start: PART_MIN_BYTES - 1, end: PART_MIN_BYTES } as const;
      const seam = await bytesOf(expectOk(await store.get("m/three", { range, ifMatch: info.etag })).body);
      expect([...seam]).toEqual([full(1).at(-1), full(2).at(0)]);
    });

    test("a last part as large as the others is as good", async () => {
      const { id, parts } = await upload("m/even", [full(1), full(2)]);
      expect(expectOk(await store.completeUpload("m/even", id, parts)).etag).toBe(
        await multipartEtag([full(1), full(2)]),
      );
    });

    test.each([1, 1000])("a single part may be small: %d bytes", async (size) => {
      const { id, parts } = await upload("m/single", [pattern(size)]);
      const info = expectOk(await store.completeUpload("m/single", id, parts));
      expect(info).toMatchObject({ size, etag: await multipartEtag([pattern(size)]) });
    });

    test("parts may come as streams, and in any order", async () => {
      const id = await start("m/order");
      const last = await send("m/order", id, 2, utf8("end"));
      const { readable, writable } = new FixedLengthStream(PART_MIN_BYTES);
      const piped = new Blob([full(1)]).stream().pipeTo(writable);
      const etag = expectOk(await store.uploadPart("m/order", id, 1, readable, PART_MIN_BYTES));
      await piped;
      const info = expectOk(await store.completeUpload("m/order", id, [{ partNumber: 1, etag }, last]));
      expect(info.etag).toBe(await multipartEtag([full(1), utf8("end")]));
    });

    test("metadata is given at the start and is the object's at the end", async () => {
      const metadata = { http: { contentType: "application/zarr", contentEncoding: "br" }, custom: { from: "s3" } };
      const id = expectOk(await store.createUpload("m/metadata", metadata));
      const part = await send("m/metadata", id, 1, utf8("x"));
      expect(expectOk(await store.completeUpload("m/metadata", id, [part]))).toMatchObject(metadata);
      expect(expectOk(await store.head("m/metadata"))).toMatchObject(metadata);
    });

    test("metadata of more than 8,192 bytes is refused at the start", async () => {
      const metadata = { http: {}, custom: { key: "v".repeat(8190) } };
      expect(await store.createUpload("m/too-much", metadata)).toMatchObject(refused("metadata-too-large"));
    });

    test("nothing is seen before it is complete, and what was there stays until then", async () => {
      await store.put("m/unseen/old", utf8("old"), { ...NO_METADATA, size: 3 });
      const fresh = await upload("m/unseen/new", [utf8("new")]);
      const over = await upload("m/unseen/old", [utf8("newer")]);
      expect(await store.head("m/unseen/new")).toMatchObject(refused("object-not-found"));
      expect(await store.get("m/unseen/new")).toMatchObject(refused("object-not-found"));
      expect((await walk(store, "m/unseen/")).keys).toEqual(["m/unseen/old"]);
      expect(await textAt(store, "m/unseen/old")).toBe("old");
      expectOk(await store.completeUpload("m/unseen/new", fresh.id, fresh.parts));
      expectOk(await store.completeUpload("m/unseen/old", over.id, over.parts));
      expect(await textAt(store, "m/unseen/new")).toBe("new");
      expect(await textAt(store, "m/unseen/old")).toBe("newer");
    });

    describe("a part sent twice", () => {
      test("is what was sent last", async () => {
        const id = await start("m/resent");
        const first = await send("m/resent", id, 1, utf8("first"));
        const second = await send("m/resent", id, 1, utf8("second"));
        expect(second.etag).not.toBe(first.etag);
        expectOk(await store.completeUpload("m/resent", id, [second]));
        expect(await textAt(store, "m/resent")).toBe("second");
      });

      test("is lost to whoever names the first, and nothing is written", async () => {
        const id = await start("m/replaced");
        const first = await send("m/replaced", id, 1, utf8("first"));
        const second = await send("m/replaced", id, 1, utf8("second"));
        expect(await store.completeUpload("m/replaced", id, [first])).toMatchObject(refused("upload-lost"));
        expect(await store.head("m/replaced")).toMatchObject(refused("object-not-found"));
        // The refusal took nothing away: whoever names the right part still completes it.
        expect(await store.completeUpload("m/replaced", id, [second])).toMatchObject({ ok: true });
      });
    });

    test("two uploads of one key know nothing of each other; the last completed is the object", async () => {
      const a = await upload("m/racing", [utf8("from a")]);
      const b = await upload("m/racing", [utf8("from b")]);
      expect(await store.completeUpload("m/racing", a.id, b.parts)).toMatchObject(refused("upload-lost"));
      expectOk(await store.completeUpload("m/racing", b.id, b.parts));
      expectOk(await store.completeUpload("m/racing", a.id, a.parts));
      expect(await textAt(store, "m/racing")).toBe("from a");
    });

    describe("what cannot be completed", () => {
      test.each<[string, () => Uint8Array[]]>([
        ["a part other than the last is under 5 MiB", () => [pattern(PART_MIN_BYTES - 1), utf8("end")]],
        ["parts differ in size", () => [full(1), pattern(PART_MIN_BYTES + 1), utf8("end")]],
        ["the last part is the largest", () => [full(1), pattern(PART_MIN_BYTES + 1)]],
      ])("because %s is upload-lost, and nothing is written", async (why, contents) => {
        const key = `m/unfit/${why}`;
        const { id, parts } = await upload(key, contents());
        expect(await store.completeUpload(key, id, parts)).toMatchObject(refused("upload-lost"));
        expect(await store.head(key)).toMatchObject(refused("object-not-found"));
        expect(await store.abortUpload(key, id)).toMatchObject({ ok: true });
      });

      test("because a part was never sent is upload-lost", async () => {
        const { id, parts } = await upload("m/missing", [full(1)]);
        const named = [...parts, { partNumber: 2, etag: "never-sent" }];
        expect(await store.completeUpload("m/missing", id, named)).toMatchObject(refused("upload-lost"));
        expect(await store.head("m/missing")).toMatchObject(refused("object-not-found"));
      });

      test("because it is complete already is upload-lost, and the object stays", async () => {
        const { id, parts } = await upload("m/again", [utf8("once")]);
        expectOk(await store.completeUpload("m/again", id, parts));
        expect(await store.completeUpload("m/again", id, parts)).toMatchObject(refused("upload-lost"));
        expect(await textAt(store, "m/again")).toBe("once");
      });
    });

    test.each<[string, "closes" | "errors"]>([
      ["ends too early", "closes"],
      ["breaks off", "errors"],
    ])("a part whose body %s is no part, and can be sent again", async (_what, end) => {
      const key = `m/broken/${end}`;
      const id = await start(key);
      const sent = await store.uploadPart(key, id, 1, brokenStream(100_000, 60_000, end), 100_000);
      expect(sent.ok).toBe(false);
      const part = await send(key, id, 1, utf8("whole"));
      expectOk(await store.completeUpload(key, id, [part]));
      expect(await textAt(store, key)).toBe("whole");
    });

    test.each([0, 10_001])("part number %d is refused", async (partNumber) => {
      const id = await start("m/number");
      expect((await store.uploadPart("m/number", id, partNumber, utf8("x"), 1)).ok).toBe(false);
    });

    describe("an aborted upload", () => {
      test("can be aborted again", async () => {
        const { id } = await upload("m/abort/twice", [utf8("x")]);
        expect(await store.abortUpload("m/abort/twice", id)).toEqual({ ok: true, value: null });
        expect(await store.abortUpload("m/abort/twice", id)).toEqual({ ok: true, value: null });
      });

      test("is lost: it takes no part and is not completed, and nothing is written", async () => {
        const { id, parts } = await upload("m/abort/lost", [utf8("x")]);
        expectOk(await store.abortUpload("m/abort/lost", id));
        expect(await store.uploadPart("m/abort/lost", id, 2, utf8("y"), 1)).toMatchObject(refused("upload-lost"));
        expect(await store.completeUpload("m/abort/lost", id, parts)).toMatchObject(refused("upload-lost"));
        expect(await store.head("m/abort/lost")).toMatchObject(refused("object-not-found"));
      });

      test("that was complete leaves the object", async () => {
        const { id, parts } = await upload("m/abort/late", [utf8("done")]);
        expectOk(await store.completeUpload("m/abort/late", id, parts));
        expect(await store.abortUpload("m/abort/late", id)).toMatchObject({ ok: true });
        expect(await textAt(store, "m/abort/late")).toBe("done");
      });
    });
  });
}
