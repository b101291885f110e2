import { describe, expect, test } from "vitest";
import { createMemoryStore } from "../../workers/adapters/memory-store.ts";
import { expectOk, inByteOrder, NASTY_KEYS, utf8, walk } from "./given.ts";
import { describeObjectStore } from "./object-store.ts";

describeObjectStore("the memory store", () => createMemoryStore());

describe("what only the memory store does", () => {
  test("pages are as small as a test wants them", async () => {
    const store = createMemoryStore({ pageSize: 3 });
    for (const key of NASTY_KEYS) await store.put(key, utf8(key), { http: {}, custom: {}, size: utf8(key).length });
    const { keys, pages } = await walk(store, "");
    expect(keys).toEqual(inByteOrder(NASTY_KEYS));
    expect(pages.slice(0, -1).every((size) => size === 3)).toBe(true);
  });

  test("the time is the test's", async () => {
    const store = createMemoryStore({ clock: () => 1_700_000_000_000 });
    const info = expectOk(await store.put("a", utf8("a"), { http: {}, custom: {}, size: 1 }));
    expect(info.lastModified).toBe(1_700_000_000_000);
  });

  test("bytes that are not as many as announced are refused", async () => {
    const store = createMemoryStore();
    expect((await store.put("a", utf8("abc"), { http: {}, custom: {}, size: 4 })).ok).toBe(false);
    expect((await store.head("a")).ok).toBe(false);
  });

  test("what was put does not change with the bytes it was put from, nor with what was read", async () => {
    const store = createMemoryStore();
    const bytes = utf8("abc");
    await store.put("a", bytes, { http: {}, custom: { k: "v" }, size: 3 });
    bytes.fill(0);
    expectOk(await store.head("a")).custom["k"] = "changed";
    expect(expectOk(await store.head("a")).custom).toEqual({ k: "v" });
    expect(await new Response(expectOk(await store.get("a")).body).text()).toBe("abc");
  });
});
