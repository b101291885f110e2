import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { expect, vi } from "vitest";
import { newId } from "../../../workers/adapters/ids.ts";
import type { Ack } from "../../../workers/core/jobs/lease.ts";
import { jobSpec, stubOf } from "./job.ts";
import { type Given, LeaseModel } from "./lease-model.ts";
import { must } from "./run.ts";

const NODES = 20;

/**
 * Plays one schedule: twenty nodes lease, also the same again; acknowledge, also twice, late and for what is another's;
 * release, fail and die, while time passes, the alarm rings and the object is evicted. Every answer is checked. Then one
 * node that does as it should brings the job to its end.
 */
export async function playSchedule(dice: () => number): Promise<LeaseModel> {
  const below = (n: number) => Math.floor(dice() * n);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
  const base = jobSpec();
  const spec = {
    ...base,
    id: newId("job", Date.now()),
    unitList: { ...base.unitList, count: 1 + below(30) },
    units: {
      ...base.units,
      ...{ epochs: 1 + below(3), maxAttempts: 1 + below(4), leaseSeconds: 10 + below(90), shuffle: dice() < 0.8 },
    },
    heartbeatTimeoutSeconds: 5 + below(60),
    lostAfterSeconds: 600_000,
    expiresAt: Date.now() + 600_000_000,
  };
  const job = stubOf(spec);
  must(await job.create(spec));
  const model = new LeaseModel(spec);
  /** What each node was answered to each of its requests. */
  const requests = new Map<string, { request: string; count: number; leases: string[] }[]>();
  const alive = Array.from({ length: NODES }, (_, n) => `node-${n}`);

  const lease = async (node: string, isAgain: boolean) => {
    const asked = requests.get(node) ?? [];
    requests.set(node, asked);
    const known = isAgain && asked.length > 0 ? pick(asked) : null;
    const { request, count } = known ?? { request: `r${asked.length}`, count: 1 + below(6) };
    let answer = must(await job.lease(node, { request, count, epoch: null }));
    let told = count;
    if (known === null && answer.leases.length > 1 && dice() < 0.3) {
      // Of an answer that would be too long the node is told less.
      told = 1 + below(answer.leases.length - 1);
      const surplus = answer.leases.slice(told).map(({ lease: text }) => text);
      const progress = must(await job.giveBack(node, surplus));
      answer = { ...answer, leases: answer.leases.slice(0, told), progress };
    }
    model.leased(node, told, known?.leases ?? null, answer, Date.now());
    model.heard(node, Date.now());
    const leases = answer.leases.map(({ lease: text }) => text);
    if (known === null) asked.push({ request, count, leases });
    else if (leases.length > 0) known.leases = leases;
  };
  const ack = async (node: string, leases: readonly string[], outcomes: readonly Ack["outcome"][]) => {
    const acks = leases.map((text): Ack => {
      const outcome = pick(outcomes);
      return outcome === "failed" ? { lease: text, outcome, reason: "out of memory" } : { lease: text, outcome };
    });
    const answer = must(await job.ack(node, acks));
    for (const [index, { lease: text, outcome }] of acks.entries()) {
      expect(answer.acks[index], text).toMatchObject({ lease: text, outcome: model.acknowledged(text, outcome) });
    }
    model.heard(node, Date.now());
    model.settled();
  };
  const givenTo = (node: string, is: (given: Given) => boolean) =>
    [...model.given.values()].filter((given) => given.node === node && is(given)).map(({ lease: text }) => text);
  const some = (leases: readonly string[]) => leases.filter(() => dice() < 0.6);

  const steps: (() => Promise<void>)[] = [
    () => lease(pick(alive), false),
    () => lease(pick(alive), false),
    () => lease(pick(alive), true),
    async () => {
      const node = pick(alive);
      const held = some(givenTo(node, ({ ended }) => ended === null));
      if (held.length > 0) await ack(node, held, ["done", "done", "done", "failed", "released"]);
    },
    async () => {
      // What it has acknowledged before, or what ran out meanwhile, twice in one request too.
      const node = pick(alive);
      const old = some(givenTo(node, ({ ended }) => ended !== null)).slice(-5);
      if (old.length > 0) await ack(node, [...old, old[0] ?? ""], ["done", "failed", "released"]);
    },
    async () => {
      // All that it holds, and one that is another's: nothing is settled.
      const [node, other] = [pick(alive), pick([...model.given.values()])];
      if (other === undefined || other.node === node) return;
      const leases = [...givenTo(node, ({ ended }) => ended === null), other.lease];
      const refused = await job.ack(
        node,
        leases.map((text) => ({ lease: text, outcome: "done" })),
      );
      expect(refused).toMatchObject({ ok: false, failure: { code: "not-your-lease" } });
    },
    async () => {
      const node = pick(alive);
      must(await job.heartbeat(node));
      model.heard(node, Date.now());
    },
    async () => {
      vi.setSystemTime(Date.now() + below(1000 * pick([1, 5, 20, 60])));
      model.pass(Date.now());
    },
    async () => {
      if (alive.length > 3) alive.splice(below(alive.length), 1);
    },
    async () => void (await runDurableObjectAlarm(job)),
    async () => {
      await runInDurableObject(job, () => undefined); // One that is not there cannot be evicted.
      await evictDurableObject(job);
    },
  ];
  const weights = [3, 3, 2, 6, 2, 1, 2, 4, 0.2, 1, 0.7];
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  for (let left = 40 + below(80); left > 0; left--) {
    let at = dice() * total;
    await steps[weights.findIndex((weight) => (at -= weight) < 0)]?.();
  }

  vi.setSystemTime(Date.now() + 200_000);
  model.pass(Date.now());
  const status = must(await job.status());
  expect(status.progress).toMatchObject({ epoch: model.epoch, ...model.progress });
  for (let turns = 0; !model.isOver; turns++) {
    expect(turns, "requests until the job is over").toBeLessThan(200);
    await lease("reliable", false);
    const held = givenTo("reliable", ({ ended }) => ended === null);
    if (held.length > 0) await ack("reliable", held, ["done"]);
  }
  model.expectWhole();
  const after = must(await job.status());
  const accepted = [...model.given.values()].filter(({ ended }) => ended === "done").length;
  expect(after.nodes.reduce((sum, { done }) => sum + done, 0)).toBe(accepted);
  const givenUp = model.epochs.flat().filter(({ place }) => place === "given-up").length;
  expect(after.failedUnits).toHaveLength(Math.min(100, givenUp));
  must(await job.cancel());
  return model;
}
