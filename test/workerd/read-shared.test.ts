import { beforeEach, describe, expect, it } from "vitest";
import { FOLLOWER_PATIENCE_MS, HELD_MAX_BYTES } from "../../workers/core/limits.ts";
import { type Ask, codeOf, createDataset, sameBytes, startIsolate } from "./harness/reading.ts";
import { bytesOf } from "./harness/source.ts";
import { holdTimers, type HeldTimers, until } from "./harness/time.ts";
import { brokenOff, type Interference, watchBucket, withBody } from "./harness/watched-bucket.ts";

const MiB = 1024 * 1024;
const NONE = { gets: 0, bodies: 0, heads: 0 };
const ONE_GET = { gets: 1, bodies: 1, heads: 0 };
const range = (first: number, last: number): Ask => ({ headers: { range: `bytes=${first}-${last}` } });

/** The patience of those who wait for another's read: it runs out when a test says so. */
let patience: HeldTimers;
beforeEach(() => void (patience = holdTimers(FOLLOWER_PATIENCE_MS)));

let named = 0;
/** An object of its own, and an isolate whose R2 may misbehave. */
async function given(size: number, interference: Interference = {}) {
  const name = `shared-${++named}`;
  const dataset = await createDataset(name);
  const stored = await dataset.put("object", bytesOf(size, named));
  const { bucket, count, operations } = watchBucket(interference);
  const { open, ...isolate } = await startIsolate(dataset, { DATASETS: bucket });
  const read = (ask?: Ask) => isolate.read("object", ask);
  const part = (first: number, last: number) => stored.bytes.subarray(first, last + 1);
  return { read, open: (ask?: Ask) => open("object", ask), count, operations, bytes: stored.bytes, part };
}

/** A door that R2's answers wait at. */
function gate() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}
const times = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

describe("reads of one block at once are one read of R2:", () => {
  it.each<[string, number, Ask, number]>([
    ["the same range", 3 * MiB, range(300_000, 300_099), 206],
    ["the same suffix", 3 * MiB, { headers: { range: "bytes=-4096" } }, 206],
    ["a whole small object", 40_000, {}, 200],
    ["a whole object of several MiB", 3 * MiB, {}, 200],
  ])("%s, of an object that nobody knows", async (_what, size, ask, status) => {
    const { read, count } = await given(size);
    const answers = await Promise.all(times(20, () => read(ask)));
    expect(count()).toEqual(ONE_GET);
    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([status]));
    const [first] = answers;
    expect(answers.every(({ bytes }) => first !== undefined && sameBytes(bytes, first.bytes))).toBe(true);
  });

  it("those that come while R2 has not answered yet share its answer, and say so", async () => {
    const answering = gate();
    const { read, count, operations, part } = await given(3 * MiB, {
      get: async (_key, answer) => answering.opened.then(answer),
    });
    const leader = read(range(300_000, 300_099));
    await until(() => operations.length === 1);
    const followers = times(10, (n) => read(range(300_000 + n, 300_099)));
    await until(() => patience.waiting() === 10);
    answering.open();
    expect((await leader).headers.get("cache-status")).toBe("penstock; fwd=miss; stored");
    for (const [n, { headers, bytes }] of (await Promise.all(followers)).entries()) {
      expect(headers.get("cache-status")).toBe("penstock; fwd=miss; collapsed");
      expect(sameBytes(bytes, part(300_000 + n, 300_099))).toBe(true);
    }
    expect(count()).toEqual(ONE_GET);
  });

  it("different ranges of the block, of an object that is known", async () => {
    const { read, count, part } = await given(3 * MiB);
    await read({ method: "HEAD" });
    count();
    const answers = await Promise.all(times(20, (n) => read(range(300_000 + n, 300_099))));
    expect(count()).toEqual(ONE_GET);
    for (const [n, { bytes }] of answers.entries()) expect(sameBytes(bytes, part(300_000 + n, 300_099))).toBe(true);
  });

  it("HEADs at once are one head", async () => {
    const { read, count } = await given(1000);
    await Promise.all(times(20, () => read({ method: "HEAD" })));
    expect(count()).toEqual({ gets: 0, bodies: 0, heads: 1 });
  });

  it("of ranges that overlap, no block is read twice", async () => {
    const answering = gate();
    let bytesRead = 0;
    const { read, operations, count, part } = await given(3 * MiB, {
      async get(_key, answer) {
        await answering.opened;
        const got = await answer();
        bytesRead += got !== null && got.range !== undefined && "length" in got.range ? (got.range.length ?? 0) : 0;
        return got;
      },
    });
    await read({ method: "HEAD" });
    count();
    const [one, other] = [range(0, MiB - 1), range(MiB / 2, 1.5 * MiB - 1)];
    const first = read(one);
    await until(() => operations.length === 1);
    const second = read(other);
    await until(() => patience.waiting() > 0);
    answering.open();
    expect(sameBytes((await first).bytes, part(0, MiB - 1))).toBe(true);
    expect(sameBytes((await second).bytes, part(MiB / 2, 1.5 * MiB - 1))).toBe(true);
    expect(bytesRead).toBe(1.5 * MiB);
  });
});

describe("a reader that began a read", () => {
  it("may give up its body: the others get every byte", async () => {
    const answering = gate();
    const { read, open, operations, count, bytes } = await given(3 * MiB, {
      get: async (_key, answer) => answering.opened.then(answer),
    });
    const leader = open();
    await until(() => operations.length === 1);
    const followers = times(5, () => read());
    answering.open();
    await (await leader).response.body?.cancel();
    for (const answer of await Promise.all(followers)) expect(sameBytes(answer.bytes, bytes)).toBe(true);
    expect(count()).toEqual(ONE_GET);
  });

  describe.each([
    ["unknown", false],
    ["known", true],
  ])("of an object that is %s, and never comes back,", (_what, isKnown) => {
    it("is waited for at most 2 s by each follower, once; what they read is then cached", async () => {
      let isLost = true;
      const { open, read, operations, count, part } = await given(3 * MiB, {
        get: async (_key, answer) => {
          if (!isLost) return answer();
          isLost = false;
          return new Promise<never>(() => undefined);
        },
      });
      if (isKnown) await read({ method: "HEAD" });
      count();
      void open(range(300_000, 300_099));
      await until(() => operations.length === 1);
      const followers = Promise.all(times(3, () => read(range(300_000, 300_099))));
      await until(() => patience.waiting() === 3);
      expect(operations, "they wait").toHaveLength(1);
      patience.ring();
      for (const { status, bytes } of await followers) {
        expect(status).toBe(206);
        expect(sameBytes(bytes, part(300_000, 300_099))).toBe(true);
      }
      expect(patience.set()).toBe(3);
      // A read that will never land is nobody's any more: at most one other has to find that out.
      const last = read(range(300_000, 300_099));
      let isRead = false;
      void last.then(() => (isRead = true));
      await until(() => isRead || patience.waiting() === 1);
      patience.ring();
      await last;
      count();
      const later = await read(range(300_000, 300_099));
      expect(count()).toEqual(NONE);
      expect(later.headers.get("cache-status")).toBe("penstock; hit");
      expect(sameBytes(later.bytes, part(300_000, 300_099))).toBe(true);
    });
  });
});

describe("an R2 that fails", () => {
  const failingOnce = (): Interference => {
    let fails = true;
    return {
      get: async (_key, answer) => {
        if (!fails) return answer();
        fails = false;
        throw new Error("get: We encountered an internal error. Please try again. (10001)");
      },
    };
  };

  it("is 503 with Retry-After to the reader, never 404, and the next read is right", async () => {
    const { read, bytes } = await given(40_000, failingOnce());
    const failed = await read();
    expect([failed.status, codeOf(failed), failed.headers.get("retry-after")]).toEqual([503, "store-unavailable", "2"]);
    expect(failed.headers.get("cache-control")).toContain("no-store");
    expect(sameBytes((await read()).bytes, bytes)).toBe(true);
  });

  it("gives many readers at once either 503 or every byte, and holds none of them up", async () => {
    const { read, bytes } = await given(40_000, failingOnce());
    for (const answer of await Promise.all(times(10, () => read()))) {
      if (answer.status === 503) expect(answer.headers.get("retry-after")).toBe("2");
      else expect([answer.status, sameBytes(answer.bytes, bytes)]).toEqual([200, true]);
    }
    expect(sameBytes((await read()).bytes, bytes)).toBe(true);
  });
});

describe("a body of R2's that breaks off", () => {
  const breaking = (how: "error" | "end"): Interference & { breaks: boolean } => ({
    breaks: true,
    async get(_key, answer) {
      const got = await answer();
      if (!this.breaks || got === null || !("body" in got)) return got;
      return withBody(got, (body) => brokenOff(body, 1000, how));
    },
  });

  it.each([
    ["by an error", "error", {}],
    ["by an end that comes too early", "end", {}],
    ["by an error, in a range", "error", range(300_000, 399_999)],
    ["by an end that comes too early, in a range", "end", range(300_000, 399_999)],
  ] as const)("%s is 503, never fewer bytes, and nothing of it is kept", async (_what, how, ask) => {
    for (const isKnown of [false, true]) {
      const interference = breaking(how);
      const { read, bytes } = await given(3 * MiB, interference);
      if (isKnown) await read({ method: "HEAD" });
      const failed = await read(ask);
      expect([failed.status, codeOf(failed)]).toEqual([503, "store-unavailable"]);
      interference.breaks = false;
      const after = await read(ask);
      expect([200, 206]).toContain(after.status);
      expect(sameBytes(after.bytes, "headers" in ask ? bytes.subarray(300_000, 400_000) : bytes)).toBe(true);
    }
  });

  it("by an error, of an object too large to be held, breaks the answer off: it never looks whole", async () => {
    const { open } = await given(HELD_MAX_BYTES + 1, breaking("error"));
    const { response } = await open();
    expect(response.headers.get("content-length")).toBe(String(HELD_MAX_BYTES + 1));
    await expect(response.arrayBuffer()).rejects.toThrow("connection lost");
  });
});
