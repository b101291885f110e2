import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type { Part } from "../../workers/core/jobs/units/unit.ts";
import { api, type ApiAnswer, apiTokens } from "./harness/api.ts";
import { fillDataset } from "./harness/filled.ts";
import { jobSpec } from "./harness/job.ts";
import { leasingJob } from "./harness/leasing.ts";
import { listedJob } from "./harness/listed-job.ts";
import { must } from "./harness/run.ts";
import { watchBucket } from "./harness/watched-bucket.ts";

let seen: Env;
const dataset = { name: "bounded", id: "" };
beforeAll(async () => {
  seen = { ...env, ...(await apiTokens()) } as unknown as Env;
  const filled = await fillDataset(seen, dataset.name, "files", { "a.txt": "aaaa" });
  dataset.id = filled.id;
  await filled.seal();
});

const job = (parts: Part[][], more: Parameters<typeof listedJob>[3] = {}) => listedJob(seen, dataset, parts, more);
type Job = Awaited<ReturnType<typeof job>>;
/** So many units of so many parts each, whose keys begin with this. */
const unitsOf = (units: number, parts: number, prefix: (unit: number) => string = (unit) => `train/${unit}/`) =>
  Array.from({ length: units }, (_, unit) =>
    Array.from({ length: parts }, (__, n) => ({ key: `${prefix(unit)}${n}.jpeg`, size: 8000 })),
  );
const asking = { node: "a", request: "r1", count: 1000 };
const numbersOf = ({ body }: ApiAnswer) => (body["leases"] as { unit: number }[]).map(({ unit }) => unit);
const progressOf = async ({ job: stub }: Job) => must(await stub.status()).progress;
const rowsOf = ({ job: stub }: Job) =>
  runInDurableObject(stub, (_, { storage: { sql } }) => sql.exec("SELECT count(*) AS n FROM returned").one()["n"]);
/** Prefixes that make a root URL of some ten thousand characters. */
const LONG = Array.from({ length: 60 }, (_, n) => `${"p".repeat(150)}${n}/`);
const longInput = { input: { ...jobSpec().input, prefixes: LONG } };
const ofLong = (units: number, parts: number, more = "") => unitsOf(units, parts, (unit) => `${LONG[unit]}${more}`);

describe("a lease of more than one answer holds", () => {
  it("reads no more of the list than it answers, and leaves the rest as it was", async () => {
    const of = await job(unitsOf(100, 1000));
    const { bucket, count } = watchBucket({}, env.SYSTEM);
    const by = { ...seen, SYSTEM: bucket };
    const first = await of.post("leases", asking, of.token, by);
    expect(numbersOf(first)).toEqual([0, 1, 2, 3]);
    expect(first.body).toMatchObject({ progress: { leased: 4, waiting: 96 } });
    // The index of the list and six of its pages, and the pages of the version's index.
    expect(count().gets).toBeLessThan(12);
    const second = await of.post("leases", { ...asking, node: "b" }, of.token, by);
    expect(second.body).toMatchObject({ leases: [{ unit: 4, attempt: 1 }, { unit: 5 }, { unit: 6 }, { unit: 7 }] });
    expect(count().gets).toBeLessThan(12);
    expect(await rowsOf(of)).toBe(0);
  });

  it("stops at so many bytes of the list, of units that are each on a page of their own", async () => {
    const of = await job(
      unitsOf(400, 40, (unit) => `${"k".repeat(900)}${unit}/`),
      { units: { shuffle: true } },
    );
    const { bucket, count } = watchBucket({}, env.SYSTEM);
    const first = await of.post("leases", { ...asking, count: 400 }, of.token, { ...seen, SYSTEM: bucket });
    // By their parts a hundred would fit.
    expect([first.status, numbersOf(first).length]).toEqual([200, 100]);
    expect(count().gets).toBeLessThan(140);
    expect(await progressOf(of)).toMatchObject({ leased: numbersOf(first).length });
  });

  it("gives back what does not fit where units are not alike, without a row for any", async () => {
    const of = await job([...unitsOf(3, 1000), ...unitsOf(6, 999), ...unitsOf(500, 1)]);
    for (const [node, units] of [
      ["a", [0, 1, 2, 3]],
      ["b", [4, 5, 6, 7]],
    ] as const) {
      expect(numbersOf(await of.post("leases", { ...asking, node }))).toEqual(units);
      expect(await rowsOf(of)).toBe(0);
    }
    const third = await of.post("leases", { ...asking, node: "c" });
    expect([numbersOf(third)[0], (third.body["leases"] as object[])[0]]).toMatchObject([8, { attempt: 1 }]);
  });

  it("is the same when it is asked again", async () => {
    const of = await job([...unitsOf(6, 1000), ...unitsOf(500, 1)]);
    const tickets = ({ body }: ApiAnswer) => (body["leases"] as { lease: string }[]).map(({ lease }) => lease);
    const first = await of.post("leases", asking);
    expect(numbersOf(first)).toHaveLength(4);
    expect(tickets(await of.post("leases", asking))).toEqual(tickets(first));
    expect(await progressOf(of)).toMatchObject({ leased: 4 });
  });
});

describe("a lease by the edge, whose URLs are long", () => {
  it("is of as many units as their URLs fit, and costs the others nothing", async () => {
    const of = await job(ofLong(4, 1000), { ...longInput, units: { maxAttempts: 1 } });
    const first = await of.post("leases", { ...asking, count: 4, via: "edge" });
    expect(first.status).toBe(200);
    expect(numbersOf(first)).toEqual([0]);
    expect(first.body).toMatchObject({ progress: { leased: 1, waiting: 3, failed: 0 } });
    const second = await of.post("leases", { ...asking, node: "b", count: 4, via: "edge" });
    expect(second.body).toMatchObject({ leases: [{ unit: 1, attempt: 1 }], progress: { leased: 2, waiting: 2 } });
    expect(await rowsOf(of)).toBe(0);
  });

  it("counts the URL of each part, also where many are of one object", async () => {
    const record = (n: number): Part => ({
      ...{ key: `${LONG[0]}a.jsonl`, size: 10, range: { offset: 10 * n, length: 10 } },
      records: { first: n, count: 1 },
    });
    const of = await job([[...Array(1000).keys()].map(record), [...Array(1000).keys()].map(record)], longInput);
    expect(numbersOf(await of.post("leases", { ...asking, via: "edge" }))).toEqual([0]);
  });

  it("is refused, with the way out, where those of one unit do not fit; the unit is not touched by that", async () => {
    // Each URL has a root of 13,000 characters, and a key that is a little longer than one that R2 takes.
    const prefixes = Array.from({ length: 62 }, (_, n) => `${"\u00e9".repeat(78)}${n}/`);
    const units = unitsOf(2, 1000, (unit) => `${prefixes[unit]}${"\u00e9".repeat(600)}`);
    const input = { ...jobSpec().input, prefixes };
    const of = await job(units, { input, units: { maxAttempts: 1 } });
    const before = await progressOf(of);
    const refused = await of.post("leases", { ...asking, count: 2, via: "edge" });
    expect([refused.status, refused.body["code"], refused.body["field"]]).toEqual([400, "invalid-body", "count"]);
    expect(refused.body["detail"]).toContain('"via": "r2"');
    expect([await progressOf(of), await rowsOf(of)]).toEqual([before, 0]);
    expect((await of.post("leases", { ...asking, count: 2 })).status).toBe(200);
  });

  it("gives nothing up to a list that is damaged", async () => {
    const of = await job(unitsOf(3, 1), { units: { maxAttempts: 1 } });
    await env.SYSTEM.delete(`jobs/${of.id}/units/0`);
    const before = await progressOf(of);
    const refused = await of.post("leases", asking);
    expect([refused.status, refused.body["code"], refused.body["field"]]).toEqual([500, "version-damaged", "count"]);
    expect(await progressOf(of)).toEqual(before);
  });
});

describe("leases that are given back", () => {
  it("are as if they had not been given: the next are the same, in the same order", async () => {
    const of = await leasingJob(20, { units: { seed: 3 } });
    const first = await of.lease("a", 6);
    must(
      await of.job.giveBack(
        "a",
        first.leases.slice(2).map(({ lease }) => lease),
      ),
    );
    const standing = () =>
      runInDurableObject(of.job, (_, { storage: { sql } }) => ({
        ...sql.exec("SELECT next, leased, waiting FROM lease_standing").one(),
        ...sql.exec("SELECT count(*) AS returned FROM returned").one(),
      }));
    const before = await standing();
    expect(before).toEqual({ next: 2, leased: 2, waiting: 0, returned: 0 });
    const second = await of.lease("b", 5);
    expect(second.leases.slice(0, 4).map(({ unit, attempt }) => [unit, attempt])).toEqual(
      first.leases.slice(2).map(({ unit }) => [unit, 1]),
    );
    must(
      await of.job.giveBack(
        "b",
        second.leases.map(({ lease }) => lease),
      ),
    );
    expect(await standing()).toEqual(before);
  });

  it("wait, where others were given after them, and leave no row when they are given again", async () => {
    const of = await leasingJob(6, { units: { shuffle: false } });
    const first = await of.lease("a", 3);
    await of.lease("b", 1);
    const { progress } = await of.lease("b", 1);
    expect(progress).toMatchObject({ leased: 5 });
    const back = must(
      await of.job.giveBack(
        "a",
        first.leases.slice(1).map(({ lease }) => lease),
      ),
    );
    expect(back).toMatchObject({ leased: 3, waiting: 3, done: 0 });
    const again = await of.lease("c", 3);
    expect(again.leases).toMatchObject([
      { unit: 1, attempt: 1 },
      { unit: 2, attempt: 1 },
      { unit: 5, attempt: 1 },
    ]);
    const { returned } = await runInDurableObject(of.job, (_, { storage: { sql } }) =>
      sql.exec<{ returned: number }>("SELECT count(*) AS returned FROM returned").one(),
    );
    expect(returned).toBe(0);
    expect(await of.done("c", again)).toMatchObject({ progress: { done: 3, leased: 3 } });
  });

  it("that came back before are at the attempt at which they were", async () => {
    const of = await leasingJob(1, { units: { maxAttempts: 2 } });
    const fail = async (lease: string) => of.job.ack("a", [{ lease, outcome: "failed", reason: "NaN" }]);
    const [one] = (await of.lease("a", 1)).leases;
    must(await fail(one?.lease ?? ""));
    const [two] = (await of.lease("b", 1)).leases;
    must(await of.job.giveBack("b", [two?.lease ?? ""]));
    const [three] = (await of.lease("b", 1)).leases;
    expect([two, three]).toMatchObject([{ attempt: 2 }, { attempt: 2 }]);
    expect(must(await fail(one?.lease ?? "")).acks).toMatchObject([{ outcome: "failed" }]);
    expect(await of.done("b", { leases: three === undefined ? [] : [three] })).toMatchObject({ state: "done" });
  });

  it("are released where another answer told of them: what comes of that is not counted as done", async () => {
    const of = await leasingJob(3, { units: { maxAttempts: 1 } });
    const first = await of.lease("a", 2, "same");
    await of.lease("a", 2, "same");
    must(
      await of.job.giveBack(
        "a",
        first.leases.map(({ lease }) => lease),
      ),
    );
    const late = await of.done("a", first);
    expect(late.acks).toMatchObject([{ outcome: "released" }, { outcome: "released" }]);
    expect(late.progress).toMatchObject({ done: 0, leased: 0, waiting: 3 });
  });
});

describe("a node that holds ten thousand units", () => {
  it("is granted no more, and told so; others are, and it again when it has settled some", async () => {
    const of = await leasingJob(10_500, { units: { shuffle: false } });
    let last = await of.lease("greedy", 600);
    for (let left = 9400; left > 0; left -= 1000) last = await of.lease("greedy", 1000);
    expect(last.leases).toHaveLength(400);
    expect(last.progress).toMatchObject({ leased: 10_000 });
    const before = await of.dump();
    const refused = await of.job.lease("greedy", { request: "more", count: 1, epoch: null });
    expect(refused).toMatchObject({ ok: false, failure: { code: "too-many-leases", field: "count" } });
    expect(await of.dump()).toBe(before);
    await of.done("greedy", { leases: last.leases.slice(0, 3) });
    expect((await of.lease("greedy", 1000)).leases).toHaveLength(3);
    expect((await of.lease("other", 1000)).leases).toHaveLength(497);
    // Nothing is left: that is no fault of its own.
    expect(await of.lease("greedy", 1)).toMatchObject({ state: "wait", leases: [] });
  });

  it("is refused over HTTP with a status of its own", async () => {
    const of = await job(unitsOf(2, 1));
    await runInDurableObject(of.job, (_, { storage: { sql } }) => {
      const held = JSON.stringify(Array.from({ length: 10_000 }, (__, n) => [n + 10, 1]));
      sql.exec(
        "INSERT INTO lease_grant (seq, node, request, expires_at, busy_since, held) VALUES (99, 'a', 'x', ?, 0, ?)",
        Date.now() + 60_000,
        held,
      );
    });
    const { status, body } = await of.post("leases", asking);
    expect([status, body["code"], body["field"]]).toEqual([409, "too-many-leases", "count"]);
  });
});

it("a job whose list is not known by its size is leased all the same", async () => {
  const of = await leasingJob(3);
  expect((await of.lease("a", 1000)).leases).toHaveLength(3);
  expect((await api(seen, `GET /v1/jobs/${of.id}`)).status).toBe(200);
});
