import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { BLOCK_BYTES, HELD_MAX_BYTES } from "../../workers/core/limits.ts";
import { type Ask, codeOf, createDataset, sameBytes, seal, startIsolate } from "./harness/reading.ts";
import type { Stored, TestDataset } from "./harness/reading.ts";
import { bytesOf } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

let dataset: TestDataset;
let large: Stored;
let huge: Stored;
let small: Stored;

beforeAll(async () => {
  dataset = await createDataset("operations");
  large = await dataset.put("large", bytesOf(3 * MiB + 17, 1));
  huge = await dataset.put("huge", bytesOf(HELD_MAX_BYTES + MiB, 2));
  small = await dataset.put("small", bytesOf(600 * KiB, 3));
});

afterEach(() => vi.restoreAllMocks());

let named = 0;
/** An isolate that knows nothing, and a key that no cache knows: R2 has the object under the name before the tilde. */
async function unread(stored: Stored, of = dataset) {
  const { bucket, count } = watchBucket({ alias: (key) => key.replace(/~\d+$/, "") });
  const key = `${stored.key}~${++named}`;
  const env = { DATASETS: bucket };
  const isolate = await startIsolate(of, env);
  const read = (ask?: Ask) => isolate.read(key, ask);
  /** Another isolate of the data centre, or this one without memory for blocks. */
  const elsewhere = async (more: object = {}) => {
    const other = await startIsolate(of, { ...env, ...more });
    return (ask?: Ask) => other.read(key, ask);
  };
  return { key, read, elsewhere, count };
}

const range = (text: string, version?: Ask["version"]): Ask => ({
  headers: { range: `bytes=${text}` },
  ...(version === undefined ? {} : { version }),
});
const operations = (gets: number, bodies: number, heads: number) => ({ gets, bodies, heads });
const ONE_GET = operations(1, 1, 0);
const NONE = operations(0, 0, 0);

describe("a read of an object that nobody knows is one get, and the second read none:", () => {
  it.each<[string, () => Stored, Ask, number]>([
    ["a range inside a block", () => large, range("300000-300099"), 206],
    ["a range inside the first block", () => large, range("0-99"), 206],
    ["a range inside the last block", () => large, range(`${3 * MiB - 200_000}-${3 * MiB - 199_999}`), 206],
    ["a range over several blocks", () => large, range("200000-1900000"), 206],
    ["a range over several blocks of a huge object", () => huge, range("2000000-5000000"), 206],
    ["a suffix", () => large, range("-4096"), 206],
    ["a suffix of a huge object", () => huge, range("-4096"), 206],
    ["a suffix of a small object", () => small, range("-4096"), 206],
    ["a footer by its place", () => large, range(`${3 * MiB + 7}-${3 * MiB + 16}`), 206],
    ["a range of a small object", () => small, range("500000-500099"), 206],
    ["a range up to the end of a small object", () => small, range("500000-"), 206],
    ["a whole small object", () => small, {}, 200],
    ["a whole large object", () => large, {}, 200],
  ])("%s", async (_what, stored, ask, status) => {
    const { read, count } = await unread(stored());
    const first = await read(ask);
    expect(first.status).toBe(status);
    expect(count()).toEqual(ONE_GET);
    const second = await read(ask);
    expect(count()).toEqual(NONE);
    expect(second.headers.get("cache-status")).toBe("penstock; hit");
    expect(sameBytes(first.bytes, second.bytes)).toBe(true);
  });

  it("other ranges of the same blocks are none either, nor is a HEAD or a 304", async () => {
    const { read, count } = await unread(large);
    const [first, last] = [2 * BLOCK_BYTES, 3 * BLOCK_BYTES - 1];
    await read(range(`${first + 100}-${first + 199}`));
    count();
    for (const text of [`${first}-${first}`, `${last}-${last}`, `${first}-${last}`]) {
      expect((await read(range(text))).headers.get("cache-status")).toBe("penstock; hit");
    }
    expect((await read({ method: "HEAD" })).status).toBe(200);
    expect((await read({ headers: { "if-none-match": `"${large.etag}"` } })).status).toBe(304);
    expect(count()).toEqual(NONE);
  });

  it("a range of an object of which all was read is none", async () => {
    const { read, count } = await unread(large);
    await read();
    count();
    expect((await read(range("300000-300099"))).status).toBe(206);
    expect(count()).toEqual(NONE);
  });
});

describe("the cache of the data centre", () => {
  it.each([
    ["300000-300099", "a range"],
    ["-4096", "a suffix"],
    ["200000-1900000", "a range over several blocks"],
  ])("gives bytes=%s to an isolate without memory: %s", async (text) => {
    const { read, elsewhere, count } = await unread(large);
    const first = await read(range(text));
    const readElsewhere = await elsewhere({ BLOCK_MEMORY_BYTES: "0" });
    // It has to be told once what is at the key; the bytes of that are the answer's.
    await readElsewhere({ method: "HEAD" });
    expect(count()).toEqual(operations(1, 1, 1));
    const second = await readElsewhere(range(text));
    expect(count()).toEqual(NONE);
    expect(second.headers.get("cache-status")).toBe("penstock; hit");
    expect(sameBytes(first.bytes, second.bytes)).toBe(true);
  });
});

describe("a HEAD", () => {
  it("of an object that nobody knows is one head, and the second none", async () => {
    const { read, count } = await unread(large);
    expect((await read({ method: "HEAD" })).headers.get("content-length")).toBe(String(large.bytes.length));
    expect(count()).toEqual(operations(0, 0, 1));
    await read({ method: "HEAD" });
    expect(count()).toEqual(NONE);
  });

  it("teaches enough for a read of one get", async () => {
    const { read, count } = await unread(large);
    await read({ method: "HEAD" });
    count();
    expect((await read(range("-10"))).status).toBe(206);
    expect(count()).toEqual(ONE_GET);
  });
});

describe("on live", () => {
  it.each<[string, () => Stored, Ask]>([
    ["a range", () => large, range("300000-300099")],
    ["a range over several blocks", () => large, range("200000-1900000")],
    ["a suffix", () => large, range("-4096")],
    ["the whole", () => large, {}],
    ["a suffix of a small object", () => small, range("-4096")],
    ["a footer by its place", () => large, range(`${3 * MiB + 7}-${3 * MiB + 16}`)],
  ])(
    "what did not change is asked for without its bytes after liveTtl, and the cache goes on serving: %s",
    async (_what, of, ask) => {
      const { read, count } = await unread(of());
      const first = await read(ask);
      count();
      const now = Date.now();
      const clock = vi.spyOn(Date, "now").mockReturnValue(now + 3_599_000);
      await read(ask);
      expect(count()).toEqual(NONE);
      clock.mockReturnValue(now + 3_601_000);
      const later = await read(ask);
      expect(count()).toEqual(operations(1, 0, 0));
      expect(later.headers.get("cache-status")).toBe("penstock; hit");
      expect(sameBytes(later.bytes, first.bytes)).toBe(true);
    },
  );

  it("an object that changed is seen by the first read after liveTtl, at the cost of one get", async () => {
    const changing = await createDataset("operations-changing", { liveTtlSeconds: 0 });
    const before = await changing.put("object", bytesOf(40_000, 4));
    const { bucket, count } = watchBucket();
    const isolate = await startIsolate(changing, { DATASETS: bucket });
    expect((await isolate.read("object")).headers.get("etag")).toBe(`"${before.etag}"`);
    const after = await changing.put("object", bytesOf(50_000, 5));
    count();
    const answer = await isolate.read("object");
    expect(count()).toEqual(ONE_GET);
    expect(answer.headers.get("etag")).toBe(`"${after.etag}"`);
    expect(sameBytes(answer.bytes, after.bytes)).toBe(true);
  });

  it("what is missing is asked for each time: it may appear at any moment", async () => {
    const { bucket, count } = watchBucket();
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    for (let time = 0; time < 2; time++) {
      expect((await isolate.read("absent")).status).toBe(404);
      expect(count()).toEqual(operations(1, 0, 0));
    }
  });
});

describe("in a sealed version", () => {
  it("a missing key is no operation of R2, though R2 has an object there", async () => {
    const { read, count } = await unread(large);
    for (const ask of [{}, { method: "HEAD" as const }, range("0-9")]) {
      expect((await read({ ...ask, version: "3" })).status).toBe(404);
    }
    expect(count()).toEqual(NONE);
  });

  it.each([
    ["a range", range("300000-300099", "3")],
    ["a suffix", range("-4096", "3")],
    ["the whole", { version: "3" } satisfies Ask],
  ])("%s is one get for the data centre: its other isolates, asked anything of it, need none", async (_what, ask) => {
    const { key, read, elsewhere, count } = await unread(large);
    seal(dataset, { ...large, key });
    const first = await read(ask);
    expect(count()).toEqual(ONE_GET);
    const readElsewhere = await elsewhere();
    const second = await readElsewhere(ask);
    expect(sameBytes(first.bytes, second.bytes)).toBe(true);
    expect((await readElsewhere({ method: "HEAD", version: "3" })).headers.get("etag")).toBe(`"${large.etag}"`);
    expect(count()).toEqual(NONE);
    expect((await (await elsewhere({ BLOCK_MEMORY_BYTES: "0" }))(ask)).headers.get("cache-status")).toBe(
      "penstock; hit",
    );
    expect(count()).toEqual(NONE);
  });

  it("an unsatisfiable range is 416, whether or not anything is known of the object", async () => {
    for (const text of ["99999999-", "99999999-100000099", "-0"]) {
      const { key, read } = await unread(large);
      seal(dataset, { ...large, key });
      for (let time = 0; time < 2; time++) {
        const answer = await read(range(text, "3"));
        expect([text, answer.status, codeOf(answer)]).toEqual([text, 416, "range-not-satisfiable"]);
      }
    }
  });

  it("no time passes: what was learnt is never asked for again", async () => {
    const { key, read, count } = await unread(small);
    seal(dataset, { ...small, key });
    await read({ version: "3" });
    count();
    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 3_500_000);
    await read({ version: "3" });
    expect(count()).toEqual(NONE);
  });
});

describe("a client's Cache-Control", () => {
  it.each(["live", "3"] as const)("bypasses nothing on %s", async (version) => {
    const { key, read, count } = await unread(small);
    seal(dataset, { ...small, key });
    await read({ version });
    count();
    const headers = { "cache-control": "no-cache, no-store, max-age=0", pragma: "no-cache" };
    expect((await read({ version, headers })).headers.get("cache-status")).toBe("penstock; hit");
    expect(count()).toEqual(NONE);
  });
});
