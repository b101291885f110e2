import { runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Leasing, leasingJob } from "./harness/leasing.ts";
import { must } from "./harness/run.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());
const pass = (seconds: number) => void vi.setSystemTime(Date.now() + seconds * 1000);

/** As many nodes as a job may have, of which the first `n` were heard by hand. */
const fill = ({ job }: Leasing, already: number) =>
  runInDurableObject(job, (_, { storage: { sql } }) =>
    sql.exec(
      `WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
         INSERT INTO node (name, first_heard_at, last_heard_at, done) SELECT 'pod-' || i, ?, ?, 2 FROM n`,
      4095 - already,
      Date.now(),
      Date.now(),
    ),
  );
const long = { lostAfterSeconds: 600_000, expiresAt: Date.now() + 6 * 86_400_000 };

describe("a job that has had as many nodes as it may", () => {
  it("takes a new one in place of the one that was silent longest, and counts on what that did", async () => {
    const of = await leasingJob(10, long);
    const given = await of.lease("first", 3);
    pass(4);
    must(
      await of.job.ack(
        "first",
        given.leases.map(({ lease }) => ({ lease, outcome: "done", bytes: 100 })),
      ),
    );
    pass(1);
    await fill(of, 1);
    pass(60);
    const before = must(await of.job.status());
    must(await of.job.heartbeat("new"));
    const after = must(await of.job.status());
    const names = after.nodes.map(({ name }) => name);
    expect([names.length, names.includes("first"), names.includes("new"), names.includes("")]).toEqual([
      ...[4096, false, true, false],
    ]);
    expect(after.acknowledged).toEqual(before.acknowledged);
    expect(after.rate).toEqual(before.rate);
    // Each next one folds another, and the sum stays.
    for (let n = 0; n < 5; n++) must(await of.job.heartbeat(`next-${n}`));
    const last = must(await of.job.status());
    expect([last.nodes.length, last.acknowledged]).toEqual([4096, before.acknowledged]);
    expect(must(await of.job.watch()).nodes).toMatchObject({ heard: 4096 });
    // Who comes back begins anew.
    must(await of.job.heartbeat("first"));
    expect(must(await of.job.status()).nodes.find(({ name }) => name === "first")).toMatchObject({ done: 0 });
  });

  it("takes no new one while all are heard or hold units, and says the way out", async () => {
    const of = await leasingJob(10, { ...long, heartbeatTimeoutSeconds: 60, units: { leaseSeconds: 1000 } });
    await of.lease("holder", 1);
    pass(1);
    await fill(of, 1);
    pass(58);
    must(await of.job.admit()); // The word of who is refused, which keeps the job too, is not kept beside this one.
    const dump = await of.dump();
    const refused = await of.job.heartbeat("new");
    expect(refused).toMatchObject({ ok: false, failure: { code: "invalid-body", field: "node" } });
    expect(refused.ok ? "" : refused.failure.detail).toContain("wait until one has been silent");
    expect(await of.dump()).toBe(dump);
    expect((await of.job.lease("new", { request: "r", count: 1, epoch: null })).ok).toBe(false);
    must(await of.job.heartbeat("holder"));
    pass(2);
    must(await of.job.heartbeat("new"));
    expect(must(await of.job.status()).nodes.some(({ name }) => name === "holder")).toBe(true);
  });
});
