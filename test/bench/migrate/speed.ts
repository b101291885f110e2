import { type Figures, type Measurement, measuredRates, median, tidy } from "../measure.ts";
import { cpuSeconds } from "../stage/usage.ts";
import { LEAST_RATIO, type Peer, type SpeedCase, WARM_UP } from "./cases.ts";
import { createRclone } from "./rclone.ts";
import type { BenchSource } from "./source.ts";
import { type Stage, startStage } from "./stage.ts";

/** Processor time is counted in hundredths of a second, and what a run left behind ends meanwhile. */
const SETTLE_MS = 300;

interface Run {
  readonly seconds: number;
  /** Processor time of workerd and of the source's server. */
  readonly cpu: number;
  readonly sourceCpu: number;
}

/** Copies the corpus of that name to `prefix`; seconds that it took. */
type Copier = (name: string, keys: readonly string[], prefix: string) => Promise<number>;

/** One case: ours beside each of its peers in turn, the order turned around each round. */
export async function* measureSpeed(
  source: BenchSource,
  each: SpeedCase,
  rounds: number,
  faults: string[],
): AsyncGenerator<Measurement> {
  const stage = await startStage(source);
  try {
    const keys = await source.fill(each);
    const warmUp = await source.fill(WARM_UP);
    for (const peer of each.peers) {
      const copiers = await copiersFor(peer, source, stage);
      for (const copy of Object.values(copiers)) await runOf(stage, source, copy, WARM_UP.name, warmUp);
      const runs: Record<"ours" | "theirs", Run[]> = { ours: [], theirs: [] };
      for (let round = 0; round < rounds; round++) {
        for (const who of round % 2 === 0 ? (["ours", "theirs"] as const) : (["theirs", "ours"] as const)) {
          runs[who].push(await runOf(stage, source, copiers[who], each.name, keys));
        }
      }
      const row = rowOf(each, peer, runs.ours, runs.theirs);
      if (row.ratio < LEAST_RATIO[peer]) {
        faults.push(`${each.name}: ${row.ratio} of ${peer}, where ${LEAST_RATIO[peer]} is the least`);
      }
      yield row;
    }
  } finally {
    await stage.stop();
  }
}

let runsBegun = 0;

/** A run of its own: a dataset and a prefix that nothing was ever in, which is emptied again. */
async function runOf(
  stage: Stage,
  source: BenchSource,
  copy: Copier,
  name: string,
  keys: readonly string[],
): Promise<Run> {
  const prefix = `run-${runsBegun++}/`;
  const before = [cpuSeconds(stage.pid), cpuSeconds(source.pid)] as const;
  const seconds = await copy(name, keys, prefix);
  await settle();
  const run = { seconds, cpu: cpuSeconds(stage.pid) - before[0], sourceCpu: cpuSeconds(source.pid) - before[1] };
  const copied = await stage.count(prefix);
  if (copied !== keys.length) throw new Error(`${copied} of ${keys.length} objects were copied.`);
  await stage.empty(prefix);
  await settle();
  return run;
}

/**
 * rclone writes through the simulator's own proxy, so ours is started and watched through it there; what ours copies goes
 * through none, as it does when deployed.
 */
async function copiersFor(peer: Peer, source: BenchSource, stage: Stage): Promise<Record<"ours" | "theirs", Copier>> {
  const ours: Copier = async (name, _, prefix) => {
    const dataset = prefix.slice(0, -1);
    await stage.register(dataset, name, prefix);
    const { seconds } = await stage.migrate(dataset, peer === "rclone" ? "proxy" : "straight");
    return seconds;
  };
  if (peer === "bare-loop") {
    return { ours, theirs: async (_, keys, prefix) => (await stage.bareLoop(keys, prefix)).seconds };
  }
  const rclone = await createRclone(source, stage.s3);
  return {
    ours,
    theirs: async (name, _, prefix) => {
      const begun = performance.now();
      await rclone(name, prefix);
      return (performance.now() - begun) / 1000;
    },
  };
}

function rowOf(each: SpeedCase, peer: Peer, ours: readonly Run[], theirs: readonly Run[]): Measurement {
  const bytes = each.objects * each.bytes;
  const rate = ({ seconds }: Run) => (each.unit === "MB/s" ? bytes / 1e6 : each.objects) / seconds;
  const cpu = (runs: readonly Run[]) => median(runs.map((run) => run.cpu));
  const figures = (runs: readonly Run[]): Figures => ({
    seconds: tidy(median(runs.map(({ seconds }) => seconds)), 3),
    "CPU ms/object": tidy((cpu(runs) / each.objects) * 1000, 3),
    "source's CPU": tidy((median(runs.map(({ sourceCpu }) => sourceCpu)) / each.objects) * 1000, 3),
  });
  return {
    ...measuredRates({ suite: "migrate", case: each.name, peer, unit: each.unit }, ours.map(rate), theirs.map(rate)),
    oursFigures: figures(ours),
    theirsFigures: figures(theirs),
    // rclone's own processor time is not workerd's.
    ...(peer === "bare-loop" ? { cpuRatio: tidy(cpu(theirs) / cpu(ours), 2) } : {}),
    note: `${each.objects} objects of ${each.bytes} bytes, ${ours.length} rounds`,
  };
}

const settle = () => new Promise((done) => setTimeout(done, SETTLE_MS));
