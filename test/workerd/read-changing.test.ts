import { describe, expect, it } from "vitest";
import { md5Of } from "../../workers/adapters/digest.ts";
import { HELD_MAX_BYTES } from "../../workers/core/limits.ts";
import { type Ask, codeOf, createDataset, sameBytes, seal, startIsolate } from "./harness/reading.ts";
import { bytesOf } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;
const range = (text: string, version: Ask["version"] = "live"): Ask => ({
  version,
  headers: { range: `bytes=${text}` },
});

let named = 0;
/** Cut from one random text at a place that was not used before: no byte of two objects is alike but by chance. */
const pool = bytesOf(HELD_MAX_BYTES + MiB, 1);
let cut = 0;
const newBytes = (size: number) => pool.subarray(++cut * 64, cut * 64 + size);

/** A dataset of one object, and an isolate; what is remembered of `live` holds for an hour. */
async function given(size: number, liveTtlSeconds = 3600) {
  const dataset = await createDataset(`changing-${++named}`, { liveTtlSeconds });
  const before = await dataset.put("object", newBytes(size));
  const isolate = await startIsolate(dataset);
  const overwrite = (bytes: Uint8Array) => dataset.put("object", bytes);
  return { dataset, before, overwrite, read: (ask?: Ask) => isolate.read("object", ask) };
}

/** What asks for bytes of an object that is read as one block, in blocks, and as a stream; and which bytes. */
const ASKS: [string, number, Ask, [number, number?]][] = [
  ["a small object", 40_000, {}, [0]],
  ["a range of a small object", 40_000, range("20000-29999"), [20_000, 30_000]],
  ["a suffix of a small object", 40_000, range("-5000"), [-5000]],
  ["a large object", 3 * MiB, {}, [0]],
  ["a range of a large object", 3 * MiB, range("20000-29999"), [20_000, 30_000]],
  ["a suffix of a large object", 3 * MiB, range("-5000"), [-5000]],
  ["an object too large to be held", HELD_MAX_BYTES + 1, {}, [0]],
];

describe("an object that changed on live, of which the isolate knows what it was and has no byte,", () => {
  it.each(ASKS)("is read as it is now: %s", async (_what, size, ask, part) => {
    const { before, overwrite, read } = await given(size);
    expect((await read({ method: "HEAD" })).headers.get("etag")).toBe(`"${before.etag}"`);
    const after = await overwrite(newBytes(size + 100));
    const answer = await read(ask);
    expect([answer.status, answer.headers.get("etag")]).toEqual([ask.headers ? 206 : 200, `"${after.etag}"`]);
    expect(sameBytes(answer.bytes, after.bytes.slice(...part))).toBe(true);
  });

  it.each(ASKS)("is 404 where it was deleted: %s", async (_what, size, ask) => {
    const { dataset, read } = await given(size);
    await read({ method: "HEAD" });
    await dataset.delete("object");
    const answer = await read(ask);
    expect([answer.status, codeOf(answer)]).toEqual([404, "object-not-found"]);
    expect(answer.headers.get("cache-control")).toContain("no-store");
  });

  it("and is smaller now, is read as it is now, or the range is unsatisfiable there", async () => {
    const { overwrite, read } = await given(3 * MiB);
    await read({ method: "HEAD" });
    const after = await overwrite(newBytes(1000));
    const answer = await read(range("2000000-2000009"));
    expect([answer.status, answer.headers.get("content-range")]).toEqual([416, "bytes */1000"]);
    expect(sameBytes((await read()).bytes, after.bytes)).toBe(true);
  });

  it("is never half old and half new: blocks of both are there, and each answer is of one", async () => {
    const { before, overwrite, read } = await given(3 * MiB);
    await read(range("0-9"));
    const after = await overwrite(newBytes(3 * MiB));
    // Its first half is cached as it was, its second half is not.
    const answer = await read(range("500000-2500000"));
    const owner = answer.headers.get("etag") === `"${before.etag}"` ? before : after;
    expect(answer.headers.get("etag")).toBe(`"${owner.etag}"`);
    expect(sameBytes(answer.bytes, owner.bytes.subarray(500_000, 2_500_001))).toBe(true);
  });

  it("does not satisfy the If-Match of what it was", async () => {
    const { before, overwrite, read } = await given(40_000, 0);
    await read();
    await overwrite(newBytes(40_000));
    expect((await read({ headers: { "if-match": `"${before.etag}"` } })).status).toBe(412);
  });
});

describe("an object that is overwritten all the time, also between two looks at it,", () => {
  it.each([0, 3600])("has in every answer the bytes of its ETag (liveTtlSeconds %d)", async (liveTtlSeconds) => {
    const size = 1.5 * MiB;
    const { dataset, before, overwrite } = await given(size, liveTtlSeconds);
    const versions = new Map([[`"${before.etag}"`, before.bytes]]);
    for (let n = 0; n < 4; n++) {
      const bytes = newBytes(size);
      versions.set(`"${await md5Of(bytes)}"`, bytes);
    }
    let puts = 0;
    const overwriteAgain = () => overwrite([...versions.values()][++puts % versions.size] ?? before.bytes);
    let gets = 0;
    const { bucket } = watchBucket({
      async get(_key, answer) {
        const turn = gets++;
        if (turn % 3 === 1) await overwriteAgain();
        const got = await answer();
        if (turn % 5 === 2) await overwriteAgain();
        return got;
      },
    });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const wrong: string[] = [];
    const seen = new Set<string | null>();
    const readAgainAndAgain = async (seed: number) => {
      for (let n = 0; n < 12; n++) {
        const first = (seed * 791_901 + n * 104_729) % size;
        const last = Math.min(size - 1, first + ((n * 137_507) % 700_000));
        const isWhole = n % 4 === 3;
        const { status, headers, bytes } = await isolate.read("object", isWhole ? {} : range(`${first}-${last}`));
        const etag = headers.get("etag");
        const owed = versions.get(etag ?? "")?.subarray(...(isWhole ? [] : [first, last + 1]));
        // To give up is right as well, when it changes faster than it can be read.
        const isRight = status === 503 || (owed !== undefined && sameBytes(bytes, owed));
        if (isRight) seen.add(etag);
        else wrong.push(`${status} ${etag} bytes=${first}-${last}`);
      }
    };
    await Promise.all([1, 2, 3].map(readAgainAndAgain));
    expect(wrong).toEqual([]);
    expect(seen.size).toBeGreaterThan(1);
  });
});

describe("what a version sealed", () => {
  const changes: [string, (of: Awaited<ReturnType<typeof given>>) => Promise<unknown>][] = [
    ["overwritten", ({ before, overwrite }) => overwrite(newBytes(before.bytes.length))],
    ["deleted", ({ dataset }) => dataset.delete("object")],
  ];

  describe.each(changes)("and was %s since", (_how, change) => {
    it.each(ASKS)("is 409 to an isolate that does not know it, never 404: %s", async (_what, size, ask) => {
      const object = await given(size);
      seal(object.dataset, object.before);
      await change(object);
      const answer = await object.read({ ...ask, version: "3" });
      expect([answer.status, codeOf(answer)]).toEqual([409, "object-changed"]);
      expect(answer.headers.get("cache-control")).toContain("no-store");
    });

    it.each(ASKS)("is 409 where only its headers are known: %s", async (_what, size, ask) => {
      const object = await given(size);
      seal(object.dataset, object.before);
      await object.read({ method: "HEAD", version: "3" });
      await change(object);
      const answer = await object.read({ ...ask, version: "3" });
      expect([answer.status, codeOf(answer)]).toEqual([409, "object-changed"]);
    });

    it("is 409 to a HEAD", async () => {
      const object = await given(1000);
      seal(object.dataset, object.before);
      await change(object);
      expect((await object.read({ method: "HEAD", version: "3" })).status).toBe(409);
    });

    it("is served as it was sealed, from the cache", async () => {
      const object = await given(40_000);
      seal(object.dataset, object.before);
      await object.read({ version: "3" });
      await change(object);
      const { bucket, count } = watchBucket();
      const elsewhere = await startIsolate(object.dataset, { DATASETS: bucket });
      expect(sameBytes((await elsewhere.read("object", { version: "3" })).bytes, object.before.bytes)).toBe(true);
      expect(count()).toEqual({ gets: 0, bodies: 0, heads: 0 });
    });
  });

  it("is not mistaken for another key on live, whatever that is called", async () => {
    const { dataset, before } = await given(1000);
    seal(dataset, before);
    const isolate = await startIsolate(dataset);
    const other = `object?${before.etag}`;
    await dataset.put(other, newBytes(5));
    expect((await isolate.read(other)).headers.get("content-length")).toBe("5");
    const head = await isolate.read("object", { method: "HEAD", version: "3" });
    expect([head.status, head.headers.get("content-length"), head.headers.get("etag")]).toEqual([
      ...[200, "1000", `"${before.etag}"`],
    ]);
    const sealed = await isolate.read("object", { version: "3" });
    expect([sealed.status, sameBytes(sealed.bytes, before.bytes)]).toEqual([200, true]);
  });
});
