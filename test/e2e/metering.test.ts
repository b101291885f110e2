import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { createClient } from "../harness/client.ts";
import { type Instance, type InstanceOptions, sleep, startInstance } from "../harness/instance.ts";
import { startFreshInstance } from "./fresh-instance.ts";
import { listStored, storeObject } from "./stored-object.ts";

const OPTIONS: InstanceOptions = { name: "e2e-metering", vars: { METER_FLUSH_SECONDS: "1" } };
const OBJECTS = new Map([1, 1000, 300_000].map((size) => [`chunk-${size}`, Uint8Array.from(randomBytes(size))]));

interface Reads {
  requests: number;
  bytes: number;
  hits: number;
  misses: number;
  bypasses: number;
  none: number;
  clientErrors: number;
  serverErrors: number;
}
interface Job {
  id: string;
  read: { rootUrl: string };
  reads?: Reads;
}

let instance: Instance;

beforeAll(async () => {
  const fresh = await startFreshInstance(OPTIONS);
  instance = fresh;
  const admin = createClient(fresh.url, fresh.tokens.admin);
  await admin.call("PUT", "/v1/datasets/metered", { kind: "files", prefix: "metered/" });
  for (const [key, bytes] of OBJECTS) await storeObject(fresh, `metered/${key}`, bytes);
  await listStored(admin, "metered");
});

afterAll(() => instance?.stop());

const startJob = (name: string): Promise<Job> =>
  createClient(instance.url, instance.tokens.submit).call<Job>("POST", "/v1/jobs", {
    ...{ name, dataset: "metered", input: { prefixes: [""] } },
  });
const readsOf = async (job: Job): Promise<Reads | undefined> =>
  (await createClient(instance.url, instance.tokens.read).call<Job>("GET", `/v1/jobs/${job.id}`)).reads;

/** What a client sees of its own reads: how many, and how many bytes came. */
class Witness {
  requests = 0;
  bytes = 0;
  withBytes = 0;
  missing = 0;

  /** Reads by the job's capability, at whatever port the instance has now. */
  async read(rootUrl: string, key: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(`${instance.url}${new URL(rootUrl).pathname}${key}`, init);
    const body = await response.arrayBuffer();
    this.requests += 1;
    if (response.status === 404) this.missing += 1;
    if (response.ok && init.method !== "HEAD") {
      this.withBytes += 1;
      this.bytes += body.byteLength;
    }
    return response;
  }

  /** Reads in every way that a client may, so that each kind of answer is among them. */
  async readEverything(rootUrl: string): Promise<void> {
    for (const [key, { length }] of OBJECTS) {
      const whole = await this.read(rootUrl, key);
      const etag = whole.headers.get("etag") ?? "";
      expect((await this.read(rootUrl, key, { headers: { "if-none-match": etag } })).status).toBe(304);
      expect((await this.read(rootUrl, key, { headers: { range: `bytes=${length}-` } })).status).toBe(416);
      const ways: [string, RequestInit][] = [
        [key, { method: "HEAD" }],
        [key, { headers: { range: `bytes=0-${length >> 1}` } }],
        [key, { headers: { range: "bytes=-1" } }],
        [`${key}.missing`, {}],
        ...Array.from({ length: 10 }, (): [string, RequestInit] => [key, {}]),
      ];
      await Promise.all(ways.map(([of, init]) => this.read(rootUrl, of, init)));
    }
  }
}

const expectSeen = (reads: Reads | undefined, { requests, bytes, withBytes, missing }: Witness): void => {
  const clientErrors = missing + OBJECTS.size; // 404s, and a 416 for each object.
  expect(reads).toMatchObject({ requests, bytes, none: requests - withBytes, clientErrors, serverErrors: 0 });
  const { hits, misses, bypasses } = reads ?? { hits: 0, misses: 0, bypasses: 0 };
  expect(hits + misses + bypasses).toBe(withBytes);
};

const reported = { timeout: 240_000, interval: 200 };
/** Two intervals, after which nothing is on its way any more. */
const settle = () => sleep(2500);

describe("the status of a job", () => {
  it("shows no reads before there are any", async () => {
    const job = await startJob("idle");
    const none = { requests: 0, bytes: 0, hits: 0, misses: 0, bypasses: 0, none: 0, clientErrors: 0, serverErrors: 0 };
    expect(await readsOf(job)).toEqual(none);
  });

  it("shows after an interval exactly what its nodes have read, and does not count it again", async () => {
    const job = await startJob("reader");
    const witness = new Witness();
    await witness.readEverything(job.read.rootUrl);
    await vi.waitFor(async () => expectSeen(await readsOf(job), witness), reported);
    await settle();
    expectSeen(await readsOf(job), witness);
    const { hits = 0 } = (await readsOf(job)) ?? {};
    expect(hits, "reads that the edge's cache answered").toBeGreaterThan(0);
  });

  it("does not show what others have read, nor what its capability does not open", async () => {
    const [job, other] = [await startJob("quiet"), await startJob("loud")];
    const witness = new Witness();
    await witness.readEverything(other.read.rootUrl);
    const forged = other.read.rootUrl.replace(/\/metered@1\/$/, "x/metered@1/");
    expect((await new Witness().read(forged, "chunk-1")).status).toBe(401);
    await vi.waitFor(async () => expectSeen(await readsOf(other), witness), reported);
    expect(await readsOf(job)).toMatchObject({ requests: 0, bytes: 0 });
  });

  it("loses at most the last interval to a power cut, and later reads add up to what was reported", async () => {
    const job = await startJob("cut");
    const { rootUrl } = job.read;
    const size = 1000;
    const read = async (times: number) => {
      for (let n = 0; n < times; n++) await new Witness().read(rootUrl, `chunk-${size}`);
    };
    await read(30);
    await vi.waitFor(async () => expect(await readsOf(job)).toMatchObject({ requests: 30 }), reported);
    await settle();
    await read(7);
    await instance.kill();
    instance = await startInstance(OPTIONS);
    const kept = await readsOf(job);
    expect(kept?.requests).toBeGreaterThanOrEqual(30);
    expect(kept?.requests).toBeLessThanOrEqual(37);
    expect(kept?.bytes).toBe((kept?.requests ?? 0) * size);
    await read(20);
    const requests = (kept?.requests ?? 0) + 20;
    const sum = { requests, bytes: requests * size };
    await vi.waitFor(async () => expect(await readsOf(job)).toMatchObject(sum), reported);
    await settle();
    expect(await readsOf(job)).toMatchObject(sum);
  });
});
