import { describe, expect, it } from "vitest";
import { boundTo, formatManifestCursor, parseManifestCursor } from "../../workers/core/manifest/cursor.ts";
import { EVERYTHING } from "../../workers/core/manifest/query.ts";

describe("a manifest's cursor", () => {
  it.each([
    { position: null, seq: 0 },
    { position: { key: 'é"\u{1f600}\n', seq: 7 }, seq: 9 },
  ])("comes back as it was: %j", (cursor) => {
    expect(parseManifestCursor(formatManifestCursor("b", cursor), "b")).toEqual({ ok: true, value: cursor });
  });

  it("is refused where it does not belong, and where it is none", () => {
    const cursor = formatManifestCursor("b", { position: null, seq: 1 });
    const others = [
      cursor.slice(1),
      "",
      "!",
      Buffer.from("[]").toString("base64url"),
      Buffer.from('["b",-1,null]').toString("base64url"),
    ];
    for (const text of others) {
      expect(parseManifestCursor(text, "b"), text).toMatchObject({
        ok: false,
        failure: { code: "invalid-cursor", field: "cursor" },
      });
    }
    const elsewhere = parseManifestCursor(cursor, "c");
    expect(elsewhere.ok ? "" : elsewhere.failure.detail).toContain("another dataset, version or query");
  });

  it("belongs to a dataset's id, a version, and all that changes what is found, but not to how it is shown", () => {
    const bound = boundTo("ds_1", null, EVERYTHING);
    expect(boundTo("ds_2", null, EVERYTHING)).not.toBe(bound);
    expect(boundTo("ds_1", 1, EVERYTHING)).not.toBe(bound);
    expect(boundTo("ds_1", null, { ...EVERYTHING, changedUpTo: 9 })).toBe(bound);
    const others = {
      ...{ prefix: "a", delimiter: "/", suffix: "a", stage: "raw", category: "a", minSize: 1, maxSize: 1 },
      ...{ modifiedSince: 1, changedSince: 1, sort: "-key" },
    };
    for (const [name, value] of Object.entries(others)) {
      expect(boundTo("ds_1", null, { ...EVERYTHING, [name]: value }), name).not.toBe(bound);
    }
  });
});
