import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { openRun } from "../../queues/migration/run.ts";
import { sourceOf } from "../../workers/adapters/objects.ts";
import { sourceClientOf } from "../../workers/adapters/source-stores.ts";
import { DEFAULT_OPTIONS, planRun } from "../../workers/core/migration/request.ts";
import type { Limits } from "../../workers/core/pressure/limits.ts";
import { refused } from "../contract/given.ts";
import { holdClock, holding, pass, timely, watchedSources } from "./harness/clock.ts";
import { intercept, refusal } from "./harness/intercept.ts";
import { must } from "./harness/run.ts";
import { text } from "./harness/source.ts";
import { ownSource } from "./harness/own-source.ts";

const NO_LIMITS: Limits = { requestsPerSecond: null, bytesPerSecond: null, connections: null };

beforeEach(holdClock);
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** The requests to the source, which hold the clock. */
const watch = () => intercept((_, real) => holding(real()));

/** What an isolate of its own sees: the real S3 endpoint, as a source of a name that no other test uses. */
function isolate(name: string, limits: Partial<Limits>): Env {
  const { endpoint, accessKeyId, secretAccessKey, region, bucket } = ownSource();
  const base = `SOURCE_${name.toUpperCase().replaceAll("-", "_")}`;
  return {
    ...env,
    SOURCES: { [name]: { endpoint, region, bucket, limits: { ...NO_LIMITS, ...limits } } },
    [`${base}_ACCESS_KEY_ID`]: accessKeyId,
    [`${base}_SECRET_ACCESS_KEY`]: secretAccessKey,
    SOURCE: watchedSources().SOURCE,
  };
}

/** A run back to the source of that name. */
const runBack = (name: string, seen: Env) =>
  must(
    openRun(
      {
        ...planRun({ ...DEFAULT_OPTIONS, direction: "back" }),
        ...{ id: `mig_${name}`, dataset: name, datasetId: `ds_${name}`, source: { name, prefix: `${name}/` } },
        ...{ bucket: "DATASETS", prefix: `${name}/`, multipartThresholdBytes: 5_242_880, partBytes: 5_242_880 },
        ...{ keys: null, cuts: [] },
      },
      seen,
    ),
  );

const options = (bytes: Uint8Array) => ({ http: {}, custom: {}, size: bytes.length, onlyIf: "absent" as const });

describe("what a run back asks of its source", { timeout: 300_000 }, () => {
  it("has to be let through, each look and each write, and is counted, request by request", async () => {
    const run = runBack("writes-limited", isolate("writes-limited", { requestsPerSecond: 20 }));
    const wires = watch();
    const began = Date.now();
    const body = text("an output");
    const put = async (i: number) => must(await run.store.put(`writes-limited/${i}`, body, options(body)));
    await timely(Promise.all(Array.from({ length: 30 }, (_, i) => put(i))));
    // A look, a put and a look each: 90, less the second's tokens that were there, at 20 a second.
    expect(wires).toHaveLength(90);
    expect(Date.now() - began).toBeGreaterThan(3000);
    expect(run.tally).toMatchObject({ sourceGet: 60, sourcePut: 30, sourceList: 0 });
    expect((await sourceOf(env, "writes-limited").limits({ ...NO_LIMITS, requestsPerSecond: 20 })).holders).toBe(1);
  });

  it("counts bytes that are sent like those that come", async () => {
    const run = runBack("writes-bytes", isolate("writes-bytes", { bytesPerSecond: 500_000 }));
    const body = new Uint8Array(1_500_000);
    watch();
    const began = Date.now();
    for (const key of ["a", "b"]) must(await timely(run.store.put(`writes-bytes/${key}`, body, options(body))));
    expect(Date.now() - began).toBeGreaterThan(1500);
  });

  it("needs one connection at a time, however little the source has", async () => {
    const run = runBack("writes-one", isolate("writes-one", { connections: 1 }));
    watch();
    const body = text("an output");
    must(await timely(run.store.put("writes-one/a", body, options(body))));
    const uploadId = must(await timely(run.store.createUpload("writes-one/b", { http: {}, custom: {} })));
    const etag = must(await timely(run.store.uploadPart("writes-one/b", uploadId, 1, body, body.length)));
    must(await timely(run.store.completeUpload("writes-one/b", uploadId, [{ partNumber: 1, etag }])));
    expect(must(await timely(run.store.head("writes-one/b"))).size).toBe(body.length);
  });

  it("slows all down where a write is answered so", async () => {
    const run = runBack("writes-slow", isolate("writes-slow", { requestsPerSecond: 1000 }));
    let isBusy = false;
    intercept((wire, real) => (isBusy && wire.method === "PUT" ? refusal(503, "SlowDown") : holding(real())));
    must(await timely(run.store.createUpload("writes-slow/first", { http: {}, custom: {} })));
    isBusy = true;
    const body = text("an output");
    const put = await timely(run.store.put("writes-slow/a", body, options(body)));
    expect(put).toMatchObject(refused("source-throttled"));
    await pass(200);
    const { learnt } = await sourceOf(env, "writes-slow").limits({ ...NO_LIMITS, requestsPerSecond: 1000 });
    expect(learnt.share).toBe(0.5);
  });

  it("is asked by one client an isolate, so that its signing key is derived once", () => {
    const seen = isolate("writes-once", {});
    expect(must(sourceClientOf(seen, "writes-once"))).toBe(must(sourceClientOf(seen, "writes-once")));
    expect(sourceClientOf(seen, "other")).toMatchObject(refused("unknown-source"));
  });
});
