import { createExecutionContext, runInDurableObject, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeAll, beforeEach, describe, expect, inject, it, vi } from "vitest";
import { sourceOf } from "../../workers/adapters/objects.ts";
import { SourcePressure } from "../../workers/adapters/source-pressure.ts";
import { sourceStoreOf } from "../../workers/adapters/source-stores.ts";
import { withPressure } from "../../workers/adapters/with-pressure.ts";
import { failure } from "../../workers/core/failure.ts";
import type { Lease } from "../../workers/core/pressure/lease.ts";
import { configuredLimits, type Limits, PRESETS } from "../../workers/core/pressure/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { app } from "../../workers/gateway/app.ts";
import { evictLimiter, holdClock, holding, pass, timely, watchedSources } from "./harness/clock.ts";
import { createDataset, startIsolate } from "./harness/reading.ts";
import { must } from "./harness/run.ts";
import { bytesOf, fill } from "./harness/source.ts";
import { deliverMiss, missOf } from "./harness/through.ts";
import { ownSource } from "./harness/own-source.ts";

const NO_LIMITS = { requestsPerSecond: null, bytesPerSecond: null, connections: null };
const MiB = 1024 * 1024;

/** Requests that reached the source. */
let fetched = 0;

beforeEach(() => {
  holdClock();
  fetched = 0;
  const real = globalThis.fetch.bind(globalThis);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
    fetched += 1;
    return holding(real(...args));
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** What an isolate of its own sees: one source, behind the fault proxy, of a name that no other test uses. */
function isolate(name: string, limits: Partial<Limits>, more: Record<string, unknown> = {}): Env {
  const { accessKeyId, secretAccessKey, region, bucket } = ownSource();
  const base = `SOURCE_${name.toUpperCase().replaceAll("-", "_")}`;
  return {
    ...env,
    SOURCES: { [name]: { endpoint: `${inject("faults")}/plain`, region, bucket, limits: { ...NO_LIMITS, ...limits } } },
    [`${base}_ACCESS_KEY_ID`]: accessKeyId,
    [`${base}_SECRET_ACCESS_KEY`]: secretAccessKey,
    SOURCE: watchedSources().SOURCE,
    ...more,
  };
}

const copying = (seen: Env, name: string) => must(sourceStoreOf(seen, name, "copying"));
const reading = (seen: Env, name: string) => must(sourceStoreOf(seen, name, "reading"));
const viewOf = (name: string, limits: Partial<Limits> = {}) => sourceOf(env, name).limits({ ...NO_LIMITS, ...limits });

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
/** Milliseconds that a worker is busy with an answer. */
const BUSY_MS = 50;

/** Asks again and again with so many workers, until the time is up; returns how many answers came. */
async function work(ms: number, workers: number, ask: () => Promise<unknown>): Promise<number> {
  const until = Date.now() + ms;
  let answers = 0;
  const worker = async () => {
    while (Date.now() < until) {
      await ask();
      answers += 1;
      await sleep(BUSY_MS);
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  return answers;
}

beforeAll(async () => {
  const objects = ["a", "fault-503", "fault-truncate"].map((key) => [key, bytesOf(3000, 1)] as const);
  await fill("pressure/", new Map([...objects, ["large", bytesOf(1.5 * MiB, 2)]]));
});

describe("the limit of a source", { timeout: 300_000 }, () => {
  it("is shared by the isolates that ask it, fairly", async () => {
    const limits = { requestsPerSecond: 40 };
    const [a, b] = [isolate("shared", limits), isolate("shared", limits)];
    const [ofA, ofB] = await timely(
      Promise.all([a, b].map((seen) => work(4000, 6, () => copying(seen, "shared").head("pressure/a")))),
    );
    const [first, second] = [ofA ?? 0, ofB ?? 0];
    // Four seconds' tokens, and one's that were there; those who waited at the end come on top.
    expect(first + second).toBeLessThanOrEqual(4 * 40 + 40 + 12);
    expect(first + second).toBeGreaterThan(4 * 40 * 0.7);
    expect(Math.min(first, second)).toBeGreaterThan((first + second) * 0.3);
    expect((await viewOf("shared", limits)).holders).toBe(2);
  });

  it("is one for readers and consumers", async () => {
    const limits = { requestsPerSecond: 30 };
    const seen = isolate("both", limits, { MIGRATION_QUEUE: { send: async () => undefined } });
    const stored = await fill("both/", new Map([["x", bytesOf(3000, 3)]]));
    const dataset = await createDataset("both", { read: "through", source: { name: "both", prefix: "both/" } });
    const reader = await startIsolate(dataset, { ...seen });
    expect((await timely(reader.read("x"))).status).toBe(200);
    const object = stored.get("x");
    if (object === undefined) throw new Error("There is no object.");
    expect(await timely(deliverMiss(missOf("both", "x", object), reader.env))).toBe("ack");
    expect(fetched).toBeGreaterThanOrEqual(2);
    expect((await viewOf("both", limits)).holders, "one holder for all of an isolate").toBe(1);
    // Readers take from the same tokens: those that are there, and those of the two seconds that they wait; the others go
    // ahead then, and owe theirs, those of two seconds at most. Consumers wait until that is paid.
    fetched = 0;
    const readers = Promise.all(Array.from({ length: 160 }, () => reading(reader.env, "both").head("both/x")));
    await pass(1950);
    const inTurn = fetched;
    expect(inTurn).toBeGreaterThan(60);
    expect(inTurn).toBeLessThanOrEqual(30 + 60);
    await pass(100);
    await readers;
    expect(fetched).toBe(160);
    const consumer = copying(reader.env, "both").head("both/x");
    await pass(1400);
    expect(fetched, "the consumer has not asked yet").toBe(160);
    await pass(1000);
    expect(fetched).toBe(161);
    must(await consumer);
  });

  it("is not asked about for each request", async () => {
    const limits = { ...NO_LIMITS, requestsPerSecond: 100_000 };
    let [asked, answered] = [0, 0];
    const pressure = new SourcePressure(limits, async (ask, heard) => {
      asked += 1;
      return holding(sourceOf(env, "seldom").lease(ask, heard, limits) as Promise<Lease>);
    });
    const head = async (): Promise<Result<number>> => ok(++answered);
    await timely(work(1500, 10, withPressure({ head }, pressure, "copying").head));
    expect(answered).toBeGreaterThan(200);
    expect(asked).toBeLessThanOrEqual(12);
  });

  it("that is none is asked about every two seconds at most", async () => {
    const { SOURCE, asked } = watchedSources();
    const seen = isolate("unlimited", {}, { SOURCE });
    const answers = await timely(work(1500, 6, () => copying(seen, "unlimited").head("pressure/a")));
    expect([answers > 100, asked()]).toEqual([true, 1]);
  });

  it("counts bytes: who asks after a large body waits until it is paid for", async () => {
    const seen = isolate("bytes", { bytesPerSecond: 500_000 });
    const get = async () => {
      const body = must(await copying(seen, "bytes").get("pressure/large"));
      return (await holding(new Response(body.body).arrayBuffer())).byteLength;
    };
    const began = Date.now();
    expect([await timely(get()), await timely(get())]).toEqual([1.5 * MiB, 1.5 * MiB]);
    // Of the clock, which stands still meanwhile: 1.57 MB, less the second's tokens that were there, at 0.5 MB/s.
    expect(Date.now() - began).toBeGreaterThan(1900);
    expect(Date.now() - began).toBeLessThan(8000);
  });
});

describe("a connection is in use to the end of its body", { timeout: 300_000 }, () => {
  /** Whether another request is let through in half a second. */
  const isFree = async (seen: Env, name: string): Promise<boolean> => {
    const before = fetched;
    void copying(seen, name).head("pressure/a");
    await pass(500);
    return fetched > before;
  };

  it.each([
    ["read", (body: ReadableStream) => new Response(body).arrayBuffer()],
    ["cancelled", (body: ReadableStream) => body.cancel()],
  ] as const)("and free when it was %s", async (how, end) => {
    const name = `connection-${how}`;
    const seen = isolate(name, { connections: 1 });
    const { body } = must(await copying(seen, name).get("pressure/large"));
    expect(await isFree(seen, name)).toBe(false);
    await end(body);
    await pass(300);
    expect(await isFree(seen, name)).toBe(true);
  });

  it("and free when it broke off, which whoever reads is told", async () => {
    const seen = isolate("connection-broken", { connections: 1 });
    const { body } = must(await copying(seen, "connection-broken").get("pressure/fault-truncate"));
    await expect(new Response(body).arrayBuffer()).rejects.toThrow(/connection lost/);
    expect(await isFree(seen, "connection-broken")).toBe(true);
  });

  it("its bytes are what they were, and its length is known", async () => {
    const seen = isolate("connection-bytes", { connections: 2 });
    const got = must(await copying(seen, "connection-bytes").get("pressure/large"));
    await env.DATASETS.put("pressure/large", got.body);
    const bytes = new Uint8Array((await (await env.DATASETS.get("pressure/large"))?.arrayBuffer()) ?? []);
    expect(crypto.subtle.timingSafeEqual(bytes, bytesOf(1.5 * MiB, 2))).toBe(true);
  });
});

describe("a source that says slow down", { timeout: 300_000 }, () => {
  it("is asked at half the rate from then on; a burst of refusals counts once, in all isolates", async () => {
    const limits = { requestsPerSecond: 1000 };
    const isolates = [isolate("burst", limits), isolate("burst", limits)];
    // All have a lease, and nothing is learnt yet.
    for (const seen of isolates) await copying(seen, "burst").head("pressure/a");
    expect((await viewOf("burst", limits)).learnt.share).toBe(1);
    await Promise.all(
      isolates.flatMap((seen) => Array.from({ length: 20 }, () => copying(seen, "burst").get("pressure/fault-503"))),
    );
    await pass(200);
    const { learnt, inForce } = await viewOf("burst", limits);
    expect(learnt.share).toBe(0.5);
    expect(inForce.requestsPerSecond).toBe(500);
    // What was learnt outlives the object in memory.
    await evictLimiter("burst");
    expect((await viewOf("burst", limits)).learnt.share).toBe(0.5);
  });

  it("and for how long, is left alone by every isolate until then", async () => {
    const answers: { at: number; isolate: string }[] = [];
    const open = (name: string) => {
      const pressure = new SourcePressure(NO_LIMITS, (ask, heard) =>
        watchedSources().SOURCE.getByName("retry-after").lease(ask, heard, NO_LIMITS),
      );
      let isFirst = name === "a";
      const head = async (): Promise<Result<null>> => {
        answers.push({ at: Date.now(), isolate: name });
        if (!isFirst) return ok(null);
        isFirst = false;
        return fail(failure("source-throttled", "SlowDown", { retryAfterSeconds: 3 }));
      };
      return withPressure({ head }, pressure, "copying");
    };
    const [a, b] = [open("a"), open("b")];
    await a.head();
    const pausedAt = Date.now();
    await pass(200);
    // The other isolate's first question brings the news.
    await b.head();
    await pass(200);
    await timely(Promise.all([a.head(), b.head()]));
    expect(answers.map(({ isolate: name }) => name).toSorted()).toEqual(["a", "a", "b", "b"]);
    for (const { at } of answers.slice(2)) expect(at - pausedAt).toBeGreaterThanOrEqual(2700);
  });
});

describe("the limiter", { timeout: 300_000 }, () => {
  it("writes no row for a lease", async () => {
    const seen = isolate("rows", { requestsPerSecond: 500 });
    await timely(work(2500, 6, () => copying(seen, "rows").head("pressure/a")));
    const rows = await runInDurableObject(sourceOf(env, "rows"), (_, { storage }) =>
      storage.sql.exec(`SELECT * FROM "limit"`).toArray(),
    );
    expect(rows).toEqual([]);
  });

  it("that was reset goes on by what was changed, and its holders notice nothing", async () => {
    const seen = isolate("evicted", {});
    await sourceOf(env, "evicted").setLimits({ requestsPerSecond: 50 }, NO_LIMITS);
    const evicting = sleep(1000).then(() => evictLimiter("evicted"));
    const answers = await timely(work(3000, 6, async () => must(await copying(seen, "evicted").head("pressure/a"))));
    await evicting;
    // A second's tokens at first, and once more after the reset.
    expect(answers).toBeLessThanOrEqual(3 * 50 + 2 * 50 + 12);
    expect(answers).toBeGreaterThan(100);
    expect((await viewOf("evicted")).limits).toEqual({ ...NO_LIMITS, requestsPerSecond: 50 });
  });

  it("that cannot be asked stops nobody: readers go at once, copies at a known rate", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { SOURCE } = watchedSources(true);
    const seen = isolate("down", { requestsPerSecond: 200 }, { SOURCE });
    // The clock stands still.
    await Promise.all(Array.from({ length: 30 }, async () => must(await reading(seen, "down").head("pressure/a"))));
    const answers = await timely(work(2000, 6, async () => must(await copying(seen, "down").head("pressure/a"))));
    expect(answers).toBeGreaterThan(10);
    const lines = logged.mock.calls.map(([line]) => String(line)).filter((line) => line.includes("limiter not asked"));
    logged.mockRestore();
    expect(lines).toHaveLength(1);
  });

  it("that is no binding of an older installation stops nobody", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const seen = isolate("unbound", { requestsPerSecond: 200 }, { SOURCE: undefined });
    must(await reading(seen, "unbound").head("pressure/a"));
    must(await copying(seen, "unbound").head("pressure/a"));
    logged.mockRestore();
  });
});

describe("PATCH /v1/sources/:source/limits", { timeout: 300_000 }, () => {
  const TOKENS = { admin: "pst_pressure-admin", submit: "pst_pressure-submit", limited: "pst_pressure-limited" };
  type Role = keyof typeof TOKENS;

  async function call(seen: Env, method: string, path: string, body?: unknown, role: Role = "admin") {
    const hash = async (text: string) =>
      new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex();
    const tokens = [
      { sha256: await hash(TOKENS.admin), role: "admin" },
      { sha256: await hash(TOKENS.submit), role: "submit" },
      { sha256: await hash(TOKENS.limited), role: "admin", datasets: ["era5"] },
    ];
    const ctx = createExecutionContext();
    const headers = { authorization: `Bearer ${TOKENS[role]}`, "content-type": "application/json" };
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const request = new Request(`https://penstock.example/v1/sources${path}`, init);
    const response = await app.fetch(request, { ...seen, API_TOKENS: JSON.stringify(tokens) }, ctx);
    const answer = { status: response.status, body: await response.json<Record<string, unknown>>() };
    await waitOnExecutionContext(ctx);
    return answer;
  }

  it("takes effect within two seconds where the source is being asked, and is shown", async () => {
    const seen = isolate("patched", {});
    const marks: number[] = [];
    const working = work(7000, 6, async () => {
      await copying(seen, "patched").head("pressure/a");
      marks.push(Date.now());
    });
    await pass(1000);
    const at = Date.now();
    const patched = await call(seen, "PATCH", "/patched/limits", { requestsPerSecond: 4 });
    expect(patched).toMatchObject({
      status: 200,
      body: { name: "patched", limits: { ...NO_LIMITS, requestsPerSecond: 4 }, pressure: { share: 1 } },
    });
    await timely(working);
    const rate = (from: number, to: number) =>
      marks.filter((mark) => mark >= at + from && mark < at + to).length / ((to - from) / 1000);
    expect(rate(-900, 0)).toBeGreaterThan(10);
    // One second's tokens are there when the limit is set.
    expect(rate(3300, 5800)).toBeLessThanOrEqual(7);
    expect(rate(3300, 5800)).toBeGreaterThan(1);
    const { body } = await call(seen, "GET", "");
    expect(body["sources"]).toMatchObject([
      {
        ...{ name: "patched", preset: "s3", credentials: true, limits: { ...NO_LIMITS, requestsPerSecond: 4 } },
        pressure: { requestsPerSecond: 4, bytesPerSecond: null, connections: null, share: 1, pausedUntil: null },
      },
    ]);
  });

  it("changes what it names, takes a preset, and goes back to what is configured", async () => {
    const seen = isolate("presets", { connections: 7 });
    const limits = async (patch: unknown) => (await call(seen, "PATCH", "/presets/limits", patch)).body;
    expect(await limits({ bytesPerSecond: 125_000_000 })).toMatchObject({
      limits: { requestsPerSecond: null, bytesPerSecond: 125_000_000, connections: 7 },
    });
    expect(await limits({ connections: null })).toMatchObject({
      limits: { requestsPerSecond: null, bytesPerSecond: 125_000_000, connections: null },
    });
    expect(await limits({ preset: "ovh" })).toMatchObject({ preset: "ovh", limits: PRESETS.ovh });
    expect(await limits({ preset: null })).toMatchObject({ preset: "s3", limits: { ...NO_LIMITS, connections: 7 } });
  });

  it.each([
    ["a limit of nothing", { requestsPerSecond: 0 }, "requestsPerSecond"],
    ["a word", { connections: "many" }, "connections"],
    ["a preset that there is not", { preset: "azure" }, "preset"],
    ["a field that there is not", { requests: 5 }, "requests"],
  ])("refuses %s by the field's name", async (_, patch, field) => {
    const answer = await call(isolate("refusing", {}), "PATCH", "/refusing/limits", patch);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid-body", field } });
    expect((await viewOf("refusing")).changed).toEqual({});
  });

  it("is for admins who are not limited to datasets, and for sources that are configured", async () => {
    const seen = isolate("guarded", {});
    const patch = { requestsPerSecond: 5 };
    const as = async (role: Role, path: string) => {
      const { status, body } = await call(seen, "PATCH", path, patch, role);
      return [status, body["code"]];
    };
    expect(await as("submit", "/guarded/limits")).toEqual([403, "forbidden-role"]);
    expect(await as("limited", "/guarded/limits")).toEqual([403, "out-of-scope"]);
    expect(await as("admin", "/nowhere/limits")).toEqual([404, "unknown-source"]);
    expect((await viewOf("guarded")).changed).toEqual({});
  });

  it("leaves the list of sources whole where a limiter cannot be asked", async () => {
    const { SOURCE } = watchedSources(true);
    const seen = isolate("listed", { connections: 3 }, { SOURCE });
    expect(await call(seen, "GET", "")).toMatchObject({
      status: 200,
      body: {
        sources: [
          { name: "listed", limits: configuredLimits({ limits: { ...NO_LIMITS, connections: 3 } }), pressure: null },
        ],
      },
    });
  });
});
