import { beforeAll, describe, expect, it } from "vitest";
import { type Ask, codeOf, createDataset, seal, startIsolate } from "./harness/reading.ts";
import type { Reading, TestDataset } from "./harness/reading.ts";
import { bytesOf } from "./harness/source.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

const TIMING = /^auth;dur=\d+, resolve;dur=\d+, cache;dur=\d+, r2;dur=\d+$/;
const LIVE_ABSENT = "no-store, no-transform";
const SEALED_ABSENT = "private, max-age=31536000, immutable, no-transform";

let dataset: TestDataset;
let isolate: Reading;
let failing: Reading;

beforeAll(async () => {
  dataset = await createDataset("refusals");
  for (const key of ["object", "unread"]) seal(dataset, await dataset.put(key, bytesOf(1000, 1)));
  isolate = await startIsolate(dataset);
  const { bucket } = watchBucket({
    get: () => Promise.reject(new Error("get: Please try again. (10001)")),
    head: () => Promise.reject(new Error("head: Please try again. (10001)")),
  });
  failing = await startIsolate(dataset, { DATASETS: bucket });
});

describe("a missing object", () => {
  it.each<[string, Ask, string]>([
    ["on live", {}, LIVE_ABSENT],
    ["on live, a range of it", { headers: { range: "bytes=0-9" } }, LIVE_ABSENT],
    ["on live, by HEAD", { method: "HEAD" }, LIVE_ABSENT],
    ["in a sealed version", { version: "3" }, SEALED_ABSENT],
    ["in a sealed version, a range of it", { version: "3", headers: { range: "bytes=-9" } }, SEALED_ABSENT],
    ["in a sealed version, by HEAD", { version: "3", method: "HEAD" }, SEALED_ABSENT],
    ["whatever ETag the client says that it has", { headers: { "if-none-match": "*" } }, LIVE_ABSENT],
  ])("is 404 %s", async (_where, ask, caching) => {
    for (let time = 0; time < 2; time++) {
      const answer = await isolate.read("absent", ask);
      expect([answer.status, answer.headers.get("cache-control")]).toEqual([404, caching]);
      expect(answer.headers.get("server-timing")).toMatch(TIMING);
      if (ask.method !== "HEAD") expect(codeOf(answer)).toBe("object-not-found");
    }
  });

  it("on live is there as soon as it was written", async () => {
    expect((await isolate.read("late")).status).toBe(404);
    await dataset.put("late", bytesOf(10, 2));
    expect((await isolate.read("late")).status).toBe(200);
  });
});

describe("every refusal", () => {
  /** `C` stands for the capability of the live version. */
  it.each<[string, string, RequestInit, number, string]>([
    ["no token", "/d/refusals/object", {}, 401, "missing-token"],
    ["no token, in a version", "/d/refusals@3/object", {}, 401, "missing-token"],
    ["a token that is none", "/t/x/refusals/object", {}, 401, "invalid-token"],
    ["another dataset", "/t/C/other/object", {}, 403, "wrong-dataset"],
    ["another version", "/t/C/refusals@3/object", {}, 403, "wrong-dataset"],
    ["a version that is none", "/t/C/refusals@zero/object", {}, 400, "invalid-name"],
    ["no key", "/t/C/refusals/", {}, 400, "invalid-key"],
    ["another method", "/t/C/refusals/object", { method: "PUT", body: "x" }, 405, "method-not-allowed"],
    [
      "a range that is not there",
      "/t/C/refusals/object",
      { headers: { range: "bytes=1000-" } },
      416,
      "range-not-satisfiable",
    ],
    [
      "a condition that does not hold",
      "/t/C/refusals/object",
      { headers: { "if-match": '"x"' } },
      412,
      "precondition-failed",
    ],
  ])(
    "has its timing, is kept by nobody, and is readable across origins: %s",
    async (_what, path, init, status, code) => {
      const answer = await isolate.fetch(path.replace("/C/", `/${isolate.capabilities.live}/`), init);
      expect([answer.status, codeOf(answer)]).toEqual([status, code]);
      expect(answer.headers.get("server-timing")).toMatch(TIMING);
      expect(answer.headers.get("cache-control")).toContain("no-store");
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      expect(answer.headers.get("access-control-expose-headers")).toContain("server-timing");
    },
  );

  it.each<[string, Ask]>([
    ["on live", {}],
    ["on live, of a range", { headers: { range: "bytes=0-9" } }],
    ["on live, to a HEAD", { method: "HEAD" }],
    ["in a sealed version", { version: "3" }],
    ["in a sealed version, of a range", { version: "3", headers: { range: "bytes=0-9" } }],
    ["in a sealed version, to a HEAD", { version: "3", method: "HEAD" }],
  ])("of an R2 that fails is 503 with Retry-After, never 404: %s", async (_where, ask) => {
    const answer = await failing.read("unread", ask);
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "2"]);
    expect(answer.headers.get("server-timing")).toMatch(TIMING);
    expect(answer.headers.get("cache-control")).toContain("no-store");
  });
});

describe("OPTIONS", () => {
  it("is answered for a day, without a token", async () => {
    const answer = await isolate.fetch("/t/x/refusals/object", {
      method: "OPTIONS",
      headers: { origin: "https://a.example" },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("access-control-allow-methods")).toBe("GET, HEAD, OPTIONS");
    expect(answer.headers.get("access-control-max-age")).toBe("86400");
    for (const name of ["range", "authorization", "if-match", "if-none-match", "if-range", "cache-control"]) {
      expect(answer.headers.get("access-control-allow-headers")?.split(", ")).toContain(name);
    }
  });
});
