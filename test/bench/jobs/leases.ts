/**
 * What one job's object does for 500 nodes: leases of eight units, each acknowledged whole, beside heartbeats, which are the
 * least that a request can be; and the bytes that it keeps in mid-epoch, beside a table with a row for each unit.
 */
import { DatabaseSync } from "node:sqlite";
import { type BenchOptions, type Measurement, measuredRates, measuredTimes, median, tidy } from "../measure.ts";
import { cpuSeconds } from "../stage/usage.ts";
import { jobOf, type Stage, startStage } from "./stage.ts";

const NODES = 500;
const UNITS_A_LEASE = 8;
const ROUNDS = 5;
/** Times that each node leases and acknowledges in a round. */
const TIMES = 2;
const SIZES = [1, 10_000, 1_000_000];
/** Units that one request leases on the way to mid-epoch: as many as one may. */
const LEASE_MAX = 1000;

/** Leases and acknowledgements a second, of 500 nodes. */
export async function* benchLeases({ rounds }: BenchOptions): AsyncGenerator<Measurement> {
  const stage = await startStage();
  try {
    const id = "leases";
    const count = rounds ?? ROUNDS;
    await stage.drive("create", jobOf(id, NODES * UNITS_A_LEASE * TIMES * (count + 1)));
    const leases: Rate[] = [];
    const heartbeats: Rate[] = [];
    for (let round = 0; round <= count; round++) {
      const leased = await rateOf(stage, 2 * NODES * TIMES, async () => {
        for (let time = 0; time < TIMES; time++) {
          const order = { id, nodes: NODES, units: UNITS_A_LEASE, round: round * TIMES + time, acks: true };
          const handed = await stage.drive("lease", order);
          if (handed !== NODES * UNITS_A_LEASE) throw new Error(`${handed} units were handed out.`);
        }
      });
      const beats = { id, nodes: NODES, times: 2 * TIMES };
      const heard = await rateOf(stage, 2 * NODES * TIMES, () => stage.drive("heartbeat", beats));
      if (round === 0) continue; // Everything compiles meanwhile.
      leases.push(leased);
      heartbeats.push(heard);
    }
    const heading = { suite: "jobs", case: `leases and acks, ${NODES} nodes`, peer: "heartbeat", unit: "requests/s" };
    const note = `a lease hands out ${UNITS_A_LEASE} units, and one request acknowledges them`;
    const [ours, theirs] = [leases, heartbeats].map((rates) => rates.map(({ perSecond }) => perSecond));
    const cpu = (rates: readonly Rate[]) => tidy(median(rates.map(({ cpuMicroseconds }) => cpuMicroseconds)), 0);
    const figures = (rates: readonly Rate[]) => ({ "CPU us/request": cpu(rates) });
    yield {
      ...measuredRates(heading, ours ?? [], theirs ?? []),
      oursFigures: figures(leases),
      theirsFigures: figures(heartbeats),
      cpuRatio: tidy(cpu(heartbeats) / cpu(leases), 2),
      note,
    };
  } finally {
    await stage.stop();
  }
}

/** Bytes of a job's object while 500 nodes hold eight units each in mid-epoch. */
export async function* benchLeaseState(): AsyncGenerator<Measurement> {
  const stage = await startStage();
  try {
    for (const units of SIZES) {
      const id = `state-${units}`;
      await stage.drive("create", jobOf(id, units));
      await toMidEpoch(stage, id, units);
      const held = await stage.drive("lease", { id, nodes: NODES, units: UNITS_A_LEASE, round: -1, acks: false });
      const bytes = await stage.drive("size", { id });
      const label = units.toLocaleString("en");
      const heading = { suite: "jobs", case: `state of ${label} units`, peer: "a row each", unit: "bytes" };
      yield { ...measuredTimes(heading, [bytes], [bytesOfRows(units)]), note: `${held} units are with ${NODES} nodes` };
    }
  } finally {
    await stage.stop();
  }
}

async function toMidEpoch(stage: Stage, id: string, units: number): Promise<void> {
  for (let done = 0, round = 0; done < Math.floor(units / 2); round++) {
    const wanted = Math.min(LEASE_MAX, Math.floor(units / 2) - done);
    done += await stage.drive("lease", { id, nodes: 1, units: wanted, round, acks: true });
  }
}

/** A table with a row for each unit, as small as it can be, in the same database. */
function bytesOfRows(units: number): number {
  using database = new DatabaseSync(":memory:");
  database.exec("CREATE TABLE unit (position INTEGER PRIMARY KEY, state INTEGER, node INTEGER, attempt INTEGER)");
  database.exec(
    `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ${units})
     INSERT INTO unit SELECT i, i % 3, i % 500, 1 FROM n`,
  );
  const pages = Number(database.prepare("PRAGMA page_count").get()?.["page_count"]);
  return pages * Number(database.prepare("PRAGMA page_size").get()?.["page_size"]);
}

interface Rate {
  perSecond: number;
  /** Of all of workerd, SQLite and the asker's isolate included. */
  cpuMicroseconds: number;
}

async function rateOf({ pid }: Stage, requests: number, work: () => Promise<unknown>): Promise<Rate> {
  const [started, cpu] = [performance.now(), cpuSeconds(pid)];
  await work();
  const perSecond = (requests / (performance.now() - started)) * 1000;
  return { perSecond, cpuMicroseconds: ((cpuSeconds(pid) - cpu) / requests) * 1e6 };
}
