import { describe, expect, test } from "vitest";
import { parseNotification } from "../../workers/core/manifest/notification.ts";

/** The example of developers.cloudflare.com/r2/buckets/event-notifications. */
const DOCUMENTED = {
  account: "3f4b7e3dcab231cbfdaa90a6a28bd548",
  action: "CopyObject",
  bucket: "my-bucket",
  object: { key: "my-new-object", size: 65_536, eTag: "c846ff7a18f28c2e262116d6e8719ef0" },
  eventTime: "2024-05-24T19:36:44.379Z",
  copySource: { bucket: "my-bucket", object: "my-original-object" },
};

describe("a notification is read", () => {
  test("as Cloudflare documents it", () => {
    const said = { bucket: "my-bucket", key: "my-new-object", etag: "c846ff7a18f28c2e262116d6e8719ef0" };
    expect(parseNotification(DOCUMENTED)).toEqual(said);
  });

  test.each(["DeleteObject", "LifecycleDeletion"])("of a %s as of nothing that is there", (action) => {
    const deleted = { ...DOCUMENTED, action, object: { key: "k" } };
    expect(parseNotification(deleted)).toEqual({ bucket: "my-bucket", key: "k", etag: null });
    expect(parseNotification({ ...deleted, object: { key: "k", eTag: "e" } })?.etag).toBeNull();
  });

  test("with a quoted ETag as with a bare one, and without one as saying none", () => {
    const of = (object: object) => parseNotification({ ...DOCUMENTED, object })?.etag;
    expect([of({ key: "k", eTag: '"e"' }), of({ key: "k", eTag: "" }), of({ key: "k" })]).toEqual(["e", null, null]);
  });

  test("with its key as R2 keeps it, in NFC", () => {
    expect(parseNotification({ ...DOCUMENTED, object: { key: "cafe\u0301" } })?.key).toBe("caf\u00e9");
  });

  test("of an action and with fields that there were not when this was written", () => {
    expect(parseNotification({ ...DOCUMENTED, action: "RestoreObject", versionId: "1" })?.key).toBe("my-new-object");
  });
});

describe("what is none is not taken for one", () => {
  test.each<[string, unknown]>([
    ["a message of ours", { v: 1, type: "rows", seq: 1, dataset: "a", datasetId: "b", words: [], rows: [] }],
    ["one without a key", { ...DOCUMENTED, object: { size: 1 } }],
    ["one of an empty key", { ...DOCUMENTED, object: { key: "" } }],
    ["one without a bucket", { ...DOCUMENTED, bucket: undefined }],
    ["nothing", null],
    ["text", "PutObject"],
  ])("%s", (_what, body) => {
    expect(parseNotification(body)).toBeNull();
  });
});
