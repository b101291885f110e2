import { env } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { HELD_MAX_BYTES, IN_FLIGHT_MAX_BYTES } from "../../workers/core/limits.ts";
import { type Ask, createDataset, DOORS, sameBytes, seal, startIsolate } from "./harness/reading.ts";
import type { Stored, TestDataset } from "./harness/reading.ts";
import { bytesOf } from "./harness/source.ts";
import { until } from "./harness/time.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;

let dataset: TestDataset;
/** One that is streamed, the largest that is held, and a small one. */
let huge: Stored;
let held: Stored;
let small: Stored;
let named = 0;
const unread = ({ key }: Stored) => `${key}~${++named}`;
const alias = (key: string) => key.replace(/~\d+$/, "");

beforeAll(async () => {
  dataset = await createDataset("streams");
  huge = await dataset.put("huge", bytesOf(HELD_MAX_BYTES + MiB, 1));
  held = await dataset.put("held", bytesOf(HELD_MAX_BYTES, 2));
  small = await dataset.put("small", bytesOf(1000, 3));
});

afterEach(() => vi.restoreAllMocks());

const statusOf = (response: Response) => response.headers.get("cache-status");
const STORED = "penstock; fwd=miss; stored";
const BYPASS = "penstock; fwd=bypass";

describe("the whole of an object that is too large to be held", () => {
  it("flows as its client takes it: R2 is not asked for bytes that nobody has read", async () => {
    const { bucket, operations } = watchBucket({ watchBodies: true });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const { response } = await isolate.open("huge");
    expect(response.headers.get("content-length")).toBe(String(huge.bytes.length));
    expect(statusOf(response)).toBe(BYPASS);
    expect(operations[0]?.taken).toBeLessThan(MiB);
    const bytes = new Uint8Array(await response.arrayBuffer());
    expect(sameBytes(bytes, huge.bytes)).toBe(true);
    expect(operations).toMatchObject([{ name: "get", taken: huge.bytes.length, isCancelled: false }]);
  });

  it("takes nothing of the memory for what is held, however many clients leave it unread", async () => {
    const { bucket } = watchBucket({ alias });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const opened = await Promise.all(Array.from({ length: 8 }, () => isolate.open("huge")));
    const { response } = await isolate.open(unread(held));
    expect(statusOf(response)).toBe(STORED);
    for (const { body } of [response, ...opened.map((each) => each.response)]) await body?.cancel();
  });

  it.each([
    ["before it has read a byte", 0],
    ["in the middle", 2 * MiB],
  ])("ends at R2 when its client leaves %s", async (_when, after) => {
    const { bucket, operations } = watchBucket({ watchBodies: true });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const { response, settled } = await isolate.open("huge");
    const reader = response.body?.getReader();
    for (let taken = 0; taken < after;) taken += (await reader?.read())?.value?.length ?? after;
    await reader?.cancel();
    await settled();
    await until(() => operations[0]?.isCancelled === true);
    expect(operations).toHaveLength(1);
    expect(operations[0]?.taken).toBeLessThan(after + MiB);
  });

  it.each<[string, Ask, number]>([
    ["304", { headers: { "if-none-match": "*" } }, 304],
    ["412", { headers: { "if-match": '"another"' } }, 412],
    [
      "the whole that If-Range asks for in place of a range",
      { headers: { range: "bytes=5-", "if-range": '"x"' } },
      200,
    ],
  ])("that R2 sent in vain is given up: %s", async (_what, ask, status) => {
    const { bucket, operations } = watchBucket({ watchBodies: true });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const answer = await isolate.read("huge", ask);
    expect(answer.status).toBe(status);
    if (status === 200) expect(sameBytes(answer.bytes, huge.bytes)).toBe(true);
    const left = operations.filter(({ taken, isCancelled }) => !isCancelled && taken !== huge.bytes.length);
    expect(left).toEqual([]);
  });
});

describe("clients that do not take what was read for them", () => {
  const room = IN_FLIGHT_MAX_BYTES / HELD_MAX_BYTES;

  it("hold memory up to a bound; what does not fit is streamed, and everybody gets every byte", async () => {
    const { bucket } = watchBucket({ alias });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    const slow: Response[] = [];
    for (let client = 0; client < room + 2; client++) slow.push((await isolate.open(unread(held))).response);
    expect(slow.map(statusOf).slice(0, room - 1)).toEqual(Array.from({ length: room - 1 }, () => STORED));
    expect(slow.map(statusOf).slice(room)).toEqual([BYPASS, BYPASS]);
    // A range of a block is more than there is room for as well.
    const range = await isolate.read(unread(held), { headers: { range: "bytes=5-9" } });
    expect([range.status, statusOf(new Response(null, range))]).toEqual([206, BYPASS]);
    expect(sameBytes(range.bytes, held.bytes.subarray(5, 10))).toBe(true);
    for (const response of slow) {
      expect(sameBytes(new Uint8Array(await response.arrayBuffer()), held.bytes)).toBe(true);
    }
  });

  it("give it back when they have taken it, and when they leave", async () => {
    const { bucket } = watchBucket({ alias });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    for (let round = 0; round < 3; round++) {
      const slow = [];
      for (let client = 0; client < room + 1; client++) slow.push(await isolate.open(unread(held)));
      expect(statusOf(slow.at(-1)?.response ?? new Response())).toBe(BYPASS);
      for (const [n, { response }] of slow.entries())
        await (n % 2 === 0 ? response.arrayBuffer() : response.body?.cancel());
      for (const { settled } of slow) await settled();
      const { response } = await isolate.open(unread(held));
      expect(statusOf(response)).toBe(STORED);
      await response.body?.cancel();
    }
  });
});

describe("the names in the cache", () => {
  it("hold no token, by whichever door it came, and nothing of the query", async () => {
    const names: string[] = [];
    const nameOf = (request: RequestInfo | URL) => (request instanceof Request ? request.url : String(request));
    const { match, put } = { match: caches.default.match, put: caches.default.put };
    vi.spyOn(caches.default, "match").mockImplementation((request, options) => {
      names.push(nameOf(request));
      return match.call(caches.default, request, options);
    });
    vi.spyOn(caches.default, "put").mockImplementation((request, response) => {
      names.push(nameOf(request));
      return put.call(caches.default, request, response);
    });
    const { bucket } = watchBucket({ alias });
    const isolate = await startIsolate(dataset, { DATASETS: bucket });
    for (const door of DOORS) {
      for (const version of ["live", "3"] as const) {
        const key = unread(small);
        seal(dataset, { ...small, key });
        await isolate.read(key, { door, version });
        await isolate.read(key, { door, version, headers: { range: "bytes=0-9" } });
      }
    }
    expect(names.length).toBeGreaterThan(DOORS.length);
    const pattern = new RegExp(
      `^https://blocks\\.penstock\\.invalid/DATASETS/streams%2Fsmall~\\d+\\?etag=${small.etag}&block=whole$`,
    );
    expect(names.filter((name) => !pattern.test(name))).toEqual([]);
  });
});

describe("objects of one key, one ETag and one size", () => {
  it("in two buckets are two: each is read where it is, with its own headers", async () => {
    const place = { prefix: "shared/" };
    const here = await createDataset("streams-here", place);
    const there = await createDataset("streams-there", { ...place, bucket: "OTHER" });
    const bytes = bytesOf(1000, 4);
    seal(here, await here.put("object", bytes, { httpMetadata: { contentType: "text/x-here" } }));
    seal(there, await there.put("object", bytes, { httpMetadata: { contentType: "text/x-there" } }));
    const buckets = { OTHER: env.SYSTEM };
    const [one, other] = [await startIsolate(here, buckets), await startIsolate(there, buckets)];
    for (const version of ["3", "live", "3"] as const) {
      expect((await one.read("object", { version })).headers.get("content-type")).toBe("text/x-here");
      expect((await other.read("object", { version })).headers.get("content-type")).toBe("text/x-there");
    }
    await there.delete("object");
    expect((await (await startIsolate(there, buckets)).read("object")).status).toBe(404);
    expect((await (await startIsolate(here, buckets)).read("object")).status).toBe(200);
  });

  it("in two datasets are two: the one may be missing where the other is cached", async () => {
    const [one, other] = [await createDataset("streams-one"), await createDataset("streams-other")];
    await one.put("object", bytesOf(1000, 5));
    expect((await (await startIsolate(one)).read("object")).status).toBe(200);
    expect((await (await startIsolate(other)).read("object")).status).toBe(404);
  });
});
