import { runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { parseState, type Resume, resumeAt } from "../../workers/core/jobs/resume.ts";
import { type Leasing, leasingJob } from "./harness/leasing.ts";
import { must } from "./harness/run.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

/** Units as they are handed out to so many nodes in turn, epoch by epoch, each acknowledged at once. */
async function epochsOf(of: Leasing, nodes: number): Promise<number[][]> {
  const epochs: number[][] = [];
  for (let turn = 0; ; turn++) {
    const node = `node-${turn % nodes}`;
    const answer = await of.lease(node, 1 + (turn % 3));
    if (answer.state === "done") return epochs;
    (epochs[answer.epoch] ??= []).push(...answer.leases.map(({ unit }) => unit));
    await of.done(node, answer);
  }
}
const stateOf = async (of: Leasing, into: Leasing["spec"] = of.spec): Promise<Resume> =>
  must(resumeAt(must(parseState(must(await of.job.resumeState()).state)), into));

describe("the order of units", () => {
  it("is the same for one node and for seven, and another in each epoch", async () => {
    const units = { epochs: 3, seed: 5 };
    const alone = await epochsOf(await leasingJob(50, { units }), 1);
    expect(await epochsOf(await leasingJob(50, { units }), 7)).toEqual(alone);
    expect(new Set(alone.map((epoch) => epoch.join())).size).toBe(3);
    for (const epoch of alone) expect(new Set(epoch).size).toBe(50);
  });

  it("is that of the list where it is not shuffled", async () => {
    const [only] = await epochsOf(await leasingJob(20, { units: { shuffle: false } }), 2);
    expect(only).toEqual(Array.from({ length: 20 }, (_, unit) => unit));
  });
});

describe("a job that resumes", () => {
  it("hands out exactly the rest, in the same order, to another number of nodes", async () => {
    const units = { epochs: 2, maxAttempts: 2 };
    const whole = await epochsOf(await leasingJob(40, { units }), 1);
    const first = await leasingJob(40, { units });
    await first.done("a", await first.lease("a", 13));
    const [held, failing] = [await first.lease("a", 4), await first.lease("b", 3)];
    await first.done("a", await first.lease("a", 2));
    const [lost, bad, back] = failing.leases.map(({ lease }) => lease);
    must(await first.job.ack("b", [{ lease: bad ?? "", outcome: "failed", reason: "NaN" }]));
    const again = await first.lease("c", 1);
    expect(again.leases[0]).toMatchObject({ unit: failing.leases[1]?.unit, attempt: 2 });
    must(await first.job.ack("c", [{ lease: again.leases[0]?.lease ?? "", outcome: "failed", reason: "NaN" }]));
    must(await first.job.ack("b", [{ lease: back ?? "", outcome: "failed", reason: "disk full" }]));

    const state = await stateOf(first);
    expect(state).toMatchObject({ epoch: 0, next: 22 });
    expect(state.givenUp).toHaveLength(1);
    const second = await leasingJob(40, { units }, state);
    expect(must(await second.job.status()).progress).toMatchObject({
      epoch: 0,
      done: 15,
      leased: 0,
      waiting: 24,
      failed: 1,
    });
    const rest = await epochsOf(second, 5);
    const expected = [
      ...[...held.leases, ...failing.leases.filter(({ lease }) => lease !== bad)].map(({ unit }) => unit),
      ...(whole[0]?.slice(22) ?? []),
    ];
    expect(rest).toEqual([expected, whole[1]]);
    // What was leased there is nothing here.
    const stale = await second.job.ack("b", [{ lease: lost ?? "", outcome: "done" }]);
    expect(stale).toMatchObject({ ok: false, failure: { code: "unknown-lease", field: "acks.0.lease" } });
  });

  it("remembers what failed: a unit is given up as it would have been", async () => {
    const units = { maxAttempts: 2 };
    const first = await leasingJob(2, { units });
    const { leases } = await first.lease("a", 2);
    must(await first.job.ack("a", [{ lease: leases[0]?.lease ?? "", outcome: "failed", reason: "NaN" }]));
    const second = await leasingJob(2, { units }, await stateOf(first));
    const given = (await second.lease("b", 2)).leases;
    const failed = given.map(({ lease }) => ({ lease, outcome: "failed" as const, reason: "NaN" }));
    const { acks } = must(await second.job.ack("b", failed));
    expect(acks.map(({ unit, outcome }) => [unit, outcome])).toEqual([
      [leases[0]?.unit, "given-up"],
      [leases[1]?.unit, "failed"],
    ]);
  });

  it("begins at the next epoch where the last was over, and says what it lacks where none is left", async () => {
    const first = await leasingJob(3, { units: { epochs: 1 } });
    await epochsOf(first, 1);
    const state = must(parseState(must(await first.job.resumeState()).state));
    expect(resumeAt(state, first.spec)).toMatchObject({ ok: false, failure: { code: "state-mismatch" } });
    const longer = { ...first.spec, units: { ...first.spec.units, epochs: 2 } };
    const resume = must(resumeAt(state, longer));
    expect(resume).toMatchObject({ epoch: 1, next: 0 });
    const second = await leasingJob(3, { units: { epochs: 2 } }, resume);
    expect((await epochsOf(second, 1)).flat().toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
  });

  it("is created once: asked again, it goes on from where it is", async () => {
    const of = await leasingJob(3, {}, { epoch: 0, next: 2, open: [1], givenUp: [], failures: [] });
    await of.done("a", await of.lease("a", 1));
    const before = await of.dump();
    must(await of.job.create(of.spec, { epoch: 0, next: 3, open: [0, 1, 2], givenUp: [], failures: [] }));
    expect(await of.dump()).toBe(before);
  });
});

describe("leases of one job", () => {
  it("are the same for the same request while one is open, without those that are settled", async () => {
    const of = await leasingJob(10);
    const first = await of.lease("a", 3, "same");
    expect(await of.lease("a", 3, "same")).toEqual(first);
    expect(await of.lease("a", 7, "same")).toEqual(first);
    expect((await of.lease("b", 3, "same")).leases).not.toEqual(first.leases);
    await of.done("a", { leases: first.leases.slice(0, 2) });
    expect((await of.lease("a", 3, "same")).leases).toEqual(first.leases.slice(2));
    await of.done("a", first);
    expect((await of.lease("a", 3, "same")).leases).toHaveLength(3);
  });

  it("answer what is acknowledged again as it was, beyond the end of its epoch", async () => {
    const of = await leasingJob(2, { units: { epochs: 4 } });
    const answers: unknown[] = [];
    const asked: { leases: { lease: string; unit: number; attempt: number }[] }[] = [];
    for (let epoch = 0; epoch < 4; epoch++) {
      const given = await of.lease("a", 2);
      asked.push(given);
      answers.push((await of.done("a", given)).acks);
    }
    expect(await of.done("a", asked[0] ?? { leases: [] })).toMatchObject({ epoch: 0, state: "done" });
    for (const [index, given] of asked.entries()) expect((await of.done("a", given)).acks).toEqual(answers[index]);
    expect(must(await of.job.status()).nodes).toMatchObject([{ name: "a", done: 8 }]);
  });

  it("say of an epoch that is over how it ended, and hand out nothing of it, nor of one that has not begun", async () => {
    const of = await leasingJob(2, { units: { epochs: 2 } });
    const both = await of.lease("a", 2);
    expect(await of.lease("b", 1)).toMatchObject({ state: "wait", leases: [], expiresAt: null });
    expect(await of.lease("b", 1, "x", 1)).toMatchObject({ state: "wait", epoch: 0 });
    expect(await of.done("a", both)).toMatchObject({
      state: "epoch-done",
      epoch: 0,
      progress: { done: 2, waiting: 0 },
    });
    const over = { state: "epoch-done", epoch: 0, leases: [], progress: { units: 2, done: 2, failed: 0 } };
    expect(await of.lease("b", 1, "y", 0)).toMatchObject(over);
    await of.done("b", await of.lease("b", 2));
    expect(await of.lease("b", 1)).toMatchObject({ state: "done", epoch: 1, leases: [], progress: { done: 2 } });
  });

  it("of a unit that a node failed go to another node, and to it only when no other is heard", async () => {
    const of = await leasingJob(3, { units: { shuffle: false } });
    const [first] = (await of.lease("bad", 1)).leases;
    must(await of.job.ack("bad", [{ lease: first?.lease ?? "", outcome: "failed", reason: "no CUDA" }]));
    expect((await of.lease("bad", 1)).leases).toMatchObject([{ unit: 1, attempt: 1 }]);
    const good = await of.lease("good", 1);
    expect(good.leases).toMatchObject([{ unit: 0, attempt: 2 }]);
    must(await of.job.ack("good", [{ lease: good.leases[0]?.lease ?? "", outcome: "failed", reason: "too" }]));
    expect((await of.lease("good", 3)).leases).toMatchObject([{ unit: 2 }]);
    expect(await of.lease("good", 3)).toMatchObject({ state: "wait", leases: [] });
    for (let second = 0; second < 2; second++) {
      vi.setSystemTime(Date.now() + 30_000);
      must(await of.job.heartbeat("good"));
    }
    expect((await of.lease("good", 3)).leases).toMatchObject([{ unit: 1 }, { unit: 0, attempt: 3 }]);
  });

  it("that a node fails one and all give no unit up while another node is well", async () => {
    const of = await leasingJob(100, { units: { maxAttempts: 2 } });
    await of.lease("good", 1); // Busy with one unit, as a training step is.
    for (;;) {
      const { leases } = await of.lease("bad", 20);
      if (leases.length === 0) break;
      const acks = leases.map(({ lease }) => ({ lease, outcome: "failed" as const, reason: "no GPU" }));
      must(await of.job.ack("bad", acks));
    }
    expect(must(await of.job.status()).progress).toMatchObject({ failed: 0, waiting: 99, leased: 1 });
  });

  it("of a unit that a node failed are its own after as long as a lease lasts, if nobody came for it", async () => {
    const of = await leasingJob(1);
    must(await of.job.heartbeat("watcher"));
    const [first] = (await of.lease("only", 1)).leases;
    must(await of.job.ack("only", [{ lease: first?.lease ?? "", outcome: "failed", reason: "once" }]));
    const later = async (seconds: number) => {
      vi.setSystemTime(Date.now() + seconds * 1000);
      must(await of.job.heartbeat("watcher"));
      return (await of.lease("only", 1)).leases.length;
    };
    expect([await later(50), await later(49), await later(1)]).toEqual([0, 0, 1]);
  });

  it("that are released, however often, give no unit up", async () => {
    const of = await leasingJob(1, { units: { maxAttempts: 1 } });
    for (let again = 1; again <= 100; again++) {
      const { leases } = await of.lease("a", 1);
      expect(leases).toMatchObject([{ unit: 0, attempt: again }]);
      const { acks } = must(await of.job.ack("a", [{ lease: leases[0]?.lease ?? "", outcome: "released" }]));
      expect(acks).toMatchObject([{ outcome: "released" }]);
    }
  });

  it("credit a node with what it did, what it says that it read, and how long it had it, once", async () => {
    const of = await leasingJob(10);
    const { leases } = await of.lease("a", 3);
    vi.setSystemTime(Date.now() + 4000);
    const ack = (n: number) => [{ lease: leases[n]?.lease ?? "", outcome: "done" as const, bytes: 100 + n }];
    for (const n of [0, 0, 1]) {
      must(await of.job.ack("a", ack(n)));
      vi.setSystemTime(Date.now() + 2000);
    }
    expect(must(await of.job.status()).nodes).toMatchObject([{ done: 2, bytes: 201, busyMs: 8000 }]);
  });

  it("taken ahead do not count as slow: of equal nodes none is a straggler, and the one that stops is", async () => {
    const of = await leasingJob(400, { lostAfterSeconds: 900 });
    const nodes = ["a", "b", "c"].map((name) => ({ name, out: [] as string[] }));
    const stragglers = async () => must(await of.job.watch()).stragglers;
    for (let turn = 0; turn < 40; turn++) {
      for (const { name, out } of nodes) {
        if (out.length <= 4) out.push(...(await of.lease(name, 8)).leases.map(({ lease }) => lease));
      }
      vi.setSystemTime(Date.now() + 5000);
      expect([turn, await stragglers()]).toEqual([turn, []]);
      for (const { name, out } of nodes) {
        must(await of.job.ack(name, [{ lease: out.shift() ?? "", outcome: "done" }]));
      }
    }
    const { nodes: paces } = must(await of.job.status());
    expect(paces.map(({ done, busyMs }) => [done, busyMs])).toEqual(nodes.map(() => [40, 200_000]));
    for (let turn = 0; turn < 4; turn++) {
      vi.setSystemTime(Date.now() + 5000);
      for (const { name, out } of nodes.slice(1)) {
        must(await of.job.ack(name, [{ lease: out.shift() ?? "", outcome: "done" }]));
      }
    }
    expect(await stragglers()).toEqual(["a"]);
  });
});

it(
  "a hundred thousand units and five hundred nodes are a row a node and a few megabytes",
  { timeout: 300_000 },
  async () => {
    const [units, nodes, each] = [100_000, 500, 8];
    const of = await leasingJob(units, { lostAfterSeconds: 3600, heartbeatTimeoutSeconds: 3600, units: { epochs: 2 } });
    const seen = new Uint8Array(units);
    const kept = await runInDurableObject(of.job, async (job, { storage }) => {
      for (let round = 0; round < units / nodes / each; round++) {
        for (let n = 0; n < nodes; n++) {
          const node = `node-${n}`;
          const answer = must(await job.lease(node, { request: `r${round}`, count: each, epoch: 0 }));
          for (const { unit } of answer.leases) seen[unit] = (seen[unit] ?? 0) + 1;
          if (round === 12) continue; // In mid-epoch all of them hold units.
          must(
            await job.ack(
              node,
              answer.leases.map(({ lease }) => ({ lease, outcome: "done" })),
            ),
          );
        }
        if (round === 12) break;
      }
      const count = (table: string) => storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${table}`).one().n;
      const tables = { grants: count("lease_grant"), returned: count("returned"), nodes: count("node") };
      return { tables, bytes: storage.sql.databaseSize };
    });
    expect(seen.every((times) => times <= 1)).toBe(true);
    expect(kept.tables).toEqual({ grants: nodes, returned: 0, nodes });
    expect(kept.bytes).toBeLessThan(1024 * 1024);
    const { state } = must(await of.job.resumeState());
    expect(state.length).toBeLessThan(2000);
    expect(must(await of.job.status()).progress).toMatchObject({ done: 12 * nodes * each, leased: nodes * each });
  },
);
