import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, afterEach, describe, expect, it, vi } from "vitest";
import type { Part } from "../../workers/core/jobs/units/unit.ts";
import { ADMIN, api, type ApiAnswer, apiTokens } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { listedJob } from "./harness/listed-job.ts";
import { must } from "./harness/run.ts";

const NAME = "leased";
const CONTENTS: Record<string, string> = {
  "a.txt": "aaaa",
  "b b.txt": "bb",
  "log.jsonl": "{}\n{}\n{}\n",
  "z/zarr.json": "{}",
};
const PARTS: Part[][] = [
  [
    { key: "a.txt", size: 4 },
    { key: "b b.txt", size: 2 },
  ],
  [{ key: "log.jsonl", size: 3, range: { offset: 0, length: 3 }, records: { first: 0, count: 1 } }],
  [
    { key: "log.jsonl", size: 6, range: { offset: 3, length: 6 }, records: { first: 1, count: 2 } },
    { key: "z/c/0/0", size: 0, array: "z", chunk: [0, 0] },
  ],
];

let seen: Env;
let datasetId = "";
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
  const filled = await fillDataset(seen, NAME, "files", CONTENTS);
  datasetId = filled.id;
  await filled.seal();
});
beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"], now: Math.ceil(Date.now() / 1000) * 1000 }));
afterEach(() => void vi.useRealTimers());

const job = (parts = PARTS, more: Parameters<typeof listedJob>[3] = {}) =>
  listedJob(seen, { name: NAME, id: datasetId }, parts, more);
const asking = { node: "node-0", request: "r.1", count: 2 };
const iso = (afterSeconds: number) => new Date(Date.now() + afterSeconds * 1000).toISOString();
interface AnsweredPart {
  key: string;
  url: string | null;
  headers: Record<string, string>;
  etag: string | null;
  size: number;
}
const leasesOf = ({ body }: ApiAnswer) => body["leases"] as { lease: string; unit: number; parts: AnsweredPart[] }[];

describe("POST /v1/jobs/:id/leases", () => {
  it("hands units out, with a URL for each part that is pinned to what the version holds", async () => {
    const { post } = await job();
    const first = await post("leases", asking);
    expect(first.status).toBe(200);
    expect(first.body).toMatchObject({
      ...{ state: "granted", epoch: 0, epochs: 1, retryAfterSeconds: null },
      ...{ serverTime: iso(0), refreshAfter: iso(75), expiresAt: iso(100), urlsExpireAt: iso(400) },
      progress: { units: 3, done: 0, leased: 2, waiting: 1, failed: 0 },
    });
    const [one, two] = leasesOf(first);
    expect(one).toMatchObject({ unit: 0, attempt: 1, bytes: 6 });
    const { etag } = (await env.DATASETS.head(`${NAME}/b b.txt`)) ?? { etag: "" };
    expect(one?.parts.map(({ key, size }) => [key, size])).toEqual([
      ["a.txt", 4],
      ["b b.txt", 2],
    ]);
    expect(one?.parts[1]).toMatchObject({ etag, headers: { "if-match": `"${etag}"` } });
    const url = new URL(one?.parts[1]?.url ?? "");
    expect([url.pathname, url.searchParams.get("X-Amz-Expires")]).toEqual([
      "/penstock-datasets/leased/b%20b.txt",
      "400",
    ]);
    const place = { range: { offset: 0, length: 3 }, records: { first: 0, count: 1 } };
    expect(two?.parts).toMatchObject([{ key: "log.jsonl", size: 3, ...place }]);
  });

  it("has no URL for a chunk that the version does not hold", async () => {
    const { post } = await job();
    const [, , last] = leasesOf(await post("leases", { ...asking, count: 3 }));
    const absent = { key: "z/c/0/0", url: null, headers: {}, etag: null, size: 0, array: "z", chunk: [0, 0] };
    expect(last?.parts[1]).toEqual(absent);
    const edge = await post("leases", { ...asking, count: 3, via: "edge" });
    expect(leasesOf(edge)[2]?.parts[1]).toEqual(absent);
    expect(leasesOf(edge)[0]?.parts[1]?.url).toMatch(/^https:\/\/penstock\.example\/t\/.*\/leased@1\/b%20b\.txt$/);
  });

  it("answers the same request with the same leases, ETags and sizes, and fresh URLs", async () => {
    const { post } = await job();
    const first = await post("leases", asking);
    vi.setSystemTime(Date.now() + 30_000);
    const again = await post("leases", asking);
    const without = (answer: ApiAnswer) =>
      leasesOf(answer).map(({ parts, ...lease }) => ({ ...lease, parts: parts.map(({ url: _, ...part }) => part) }));
    expect(without(again)).toEqual(without(first));
    expect(again.body["expiresAt"]).toBe(first.body["expiresAt"]);
    expect(leasesOf(again)[0]?.parts[0]?.url).not.toBe(leasesOf(first)[0]?.parts[0]?.url);
    expect(again.body).toMatchObject({ serverTime: iso(0), refreshAfter: iso(52.5), urlsExpireAt: iso(370) });
  });

  it("lets neither a lease nor a URL outlive the job", async () => {
    const { post } = await job(PARTS, { expiresAt: Date.now() + 60_000 });
    expect((await post("leases", asking)).body).toMatchObject({ expiresAt: iso(60), urlsExpireAt: iso(60) });
  });

  it("says when to ask again while all is out, and that it is done when it is", async () => {
    const { post } = await job();
    const all = leasesOf(await post("leases", { ...asking, count: 3 }));
    const waiting = { state: "wait", leases: [], expiresAt: null, urlsExpireAt: null, refreshAfter: null };
    const other = { node: "node-1", request: "r.1", count: 1 };
    expect((await post("leases", other)).body).toMatchObject({ ...waiting, retryAfterSeconds: 1 });
    const acks = all.map(({ lease }) => ({ lease, outcome: "done" }));
    expect((await post("acks", { node: "node-0", acks })).body).toEqual({
      acks: all.map(({ lease, unit }) => ({ lease, unit, outcome: "done" })),
      ...{ epoch: 0, state: "done", serverTime: iso(0) },
      progress: { units: 3, done: 3, leased: 0, waiting: 0, failed: 0 },
    });
    expect((await post("leases", other)).body).toMatchObject({ state: "done", retryAfterSeconds: null });
  });

  it("whose list of units is away is answered when it is back, with the same leases", async () => {
    const { id, token, post, job: stub } = await job();
    const away = { ...seen, SYSTEM: { get: () => Promise.reject(new Error("We are down (10001)")) } } as unknown as Env;
    expect((await api(away, `POST /v1/jobs/${id}/leases`, asking, token)).status).toBeGreaterThanOrEqual(500);
    expect(must(await stub.status()).progress).toMatchObject({ leased: 2 });
    const [first, again] = [await post("leases", asking), await post("leases", asking)];
    expect(leasesOf(again).map(({ lease }) => lease)).toEqual(leasesOf(first).map(({ lease }) => lease));
    expect(first.body).toMatchObject({ leases: [{ unit: 0, attempt: 1 }, { unit: 1 }], progress: { leased: 2 } });
  });
});

describe("POST /v1/jobs/:id/checkpoint", () => {
  it("answers a state, the epoch and its progress", async () => {
    const { post } = await job();
    await post("leases", asking);
    const { status, body } = await post("checkpoint", {});
    expect(status).toBe(200);
    expect(body).toMatchObject({
      epoch: 0,
      progress: { units: 3, done: 0, leased: 2, waiting: 1 },
      serverTime: iso(0),
    });
    expect(body["state"]).toMatch(/^[A-Za-z0-9_-]+$/);
  });
});

describe("what is refused changes nothing", () => {
  const cases: Record<
    string,
    [route: string, body: (leases: string[]) => unknown, status: number, code: string, field: string]
  > = {
    "an ack of another node's lease": [
      "acks",
      ([first, second]) => ({
        node: "node-1",
        acks: [
          { lease: first, outcome: "done" },
          { lease: second, outcome: "done" },
        ],
      }),
      ...([409, "not-your-lease", "acks.0.lease"] as const),
    ],
    "an ack of a lease that was never given, beside good ones": [
      "acks",
      ([first, second]) => ({
        node: "node-0",
        acks: [
          { lease: first, outcome: "done" },
          { lease: `${second}x`, outcome: "done" },
        ],
      }),
      ...([409, "unknown-lease", "acks.1.lease"] as const),
    ],
    "a failure without a reason": [
      "acks",
      ([first]) => ({ node: "node-0", acks: [{ lease: first, outcome: "failed" }] }),
      ...([400, "invalid-body", "acks.0.reason"] as const),
    ],
    "a reason for what is done": [
      "acks",
      ([first]) => ({ node: "node-0", acks: [{ lease: first, outcome: "done", reason: "?" }] }),
      ...([400, "invalid-body", "acks.0.reason"] as const),
    ],
    "an outcome that there is not": [
      "acks",
      ([first]) => ({ node: "node-0", acks: [{ lease: first, outcome: "skipped" }] }),
      ...([400, "invalid-body", "acks.0.outcome"] as const),
    ],
    "no acks": ["acks", () => ({ node: "node-0", acks: [] }), 400, "invalid-body", "acks"],
    "a node whose name is none": ["leases", () => ({ ...asking, node: "node.0" }), 400, "invalid-body", "node"],
    "a request whose name is none": ["leases", () => ({ ...asking, request: "a b" }), 400, "invalid-body", "request"],
    "no units": ["leases", () => ({ ...asking, count: 0 }), 400, "invalid-body", "count"],
    "too many units": ["leases", () => ({ ...asking, count: 1001 }), 400, "invalid-body", "count"],
    "an epoch that the job does not have": ["leases", () => ({ ...asking, epoch: 1 }), 400, "invalid-body", "epoch"],
    "an unknown field": ["leases", () => ({ ...asking, unit: 1 }), 400, "invalid-body", "unit"],
    "a field of a checkpoint": ["checkpoint", () => ({ node: "node-0" }), 400, "invalid-body", "node"],
    "a finish while units are out": ["finish", () => ({}), 409, "units-out", "outcome"],
  };
  it.each(Object.entries(cases))("%s", async (_, [route, body, status, code, field]) => {
    const { post, dump } = await job();
    const leases = leasesOf(await post("leases", asking)).map(({ lease }) => lease);
    const before = await dump();
    const refused = await post(route, body(leases));
    expect([refused.status, refused.body["code"], refused.body["field"]]).toEqual([status, code, field]);
    expect(await dump()).toBe(before);
  });

  it("a token of another job, or of none", async () => {
    const [one, other] = [await job(), await job()];
    const before = await one.dump();
    for (const route of ["leases", "acks", "checkpoint"]) {
      expect((await one.post(route, asking, other.token)).status).toBe(403);
      expect((await one.post(route, asking, ADMIN)).status).toBe(401);
    }
    expect(await one.dump()).toBe(before);
  });

  it("a job that is to resume from what is no state", async () => {
    const body = { name: "again", dataset: `${NAME}@1`, input: { prefixes: [""] }, resumeFrom: "x" };
    const refused = await api(seen, "POST /v1/jobs", body);
    expect(refused).toMatchObject({ status: 400, body: { code: "invalid-state", field: "resumeFrom" } });
  });

  it("whatever is asked after the end", async () => {
    const { post, dump, job: stub } = await job();
    const [lease] = leasesOf(await post("leases", asking)).map((given) => given.lease);
    must(await stub.cancel());
    const { progress, nodes } = must(await stub.status());
    expect([progress?.leased, progress?.waiting, nodes[0]?.leased]).toEqual([0, 3, 0]);
    const before = await dump();
    const acks = { node: "node-0", acks: [{ lease, outcome: "done" }] };
    for (const [route, body] of [
      ["leases", asking],
      ["acks", acks],
      ["checkpoint", {}],
    ] as const) {
      const refused = await post(route, body);
      expect([refused.status, refused.body["code"]]).toEqual([409, "job-ended"]);
    }
    expect(await dump()).toBe(before);
  });

  it("units that are out and named: how many, with whom, and the way out", async () => {
    const { post } = await job();
    await post("leases", { ...asking, count: 1 });
    await post("leases", { ...asking, node: "node-1" });
    const { body } = await post("finish", {});
    expect(body["detail"]).toBe(
      '3 units are with node-0, node-1; acknowledge or release them first, or finish with the outcome "failed".',
    );
    expect((await post("finish", { outcome: "failed" })).body).toMatchObject({ state: "failed" });
  });
});
