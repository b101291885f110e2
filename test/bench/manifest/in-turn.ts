import { type Figures, type Measurement, measuredTimes, median, tidy } from "../measure.ts";
import { classA, classB } from "../stage/counts.ts";
import { cpuSeconds } from "../stage/usage.ts";
import type { Stage } from "./stage.ts";

/** Processor time is counted in hundredths of a second, and what an answer left behind ends meanwhile. */
const SETTLE_MS = 60;

/** Somebody who does something, a number of times a round. */
export interface Contestant {
  readonly label: string;
  /** Does it; returns how often. Round 0 is not measured. */
  run(round: number): Promise<number>;
}

/** Of each round, an operation. */
export interface Series {
  readonly label: string;
  readonly milliseconds: number[];
  /** Milliseconds of workerd's processor time; the simulated R2's is in it. */
  readonly cpu: number[];
  /** R2 operations. */
  readonly operations: number[];
}

/** Measures all of them in each round, in turn and then the other way round, so that a busy hour falls on all alike. */
export async function measureInTurn(
  stage: Stage,
  contestants: readonly Contestant[],
  rounds: number,
): Promise<Series[]> {
  const series = contestants.map(({ label }): Series => ({ label, milliseconds: [], cpu: [], operations: [] }));
  const pairs = contestants.map((contestant, index) => ({ contestant, into: series[index] }));
  for (let round = 0; round <= rounds; round++) {
    for (const { contestant, into } of round % 2 === 0 ? pairs : pairs.toReversed()) {
      await settle();
      await stage.counts();
      const before = cpuSeconds(stage.pid);
      const started = performance.now();
      const times = await contestant.run(round);
      const milliseconds = performance.now() - started;
      await settle();
      const cpu = (cpuSeconds(stage.pid) - before) * 1000;
      const counts = await stage.counts();
      if (round === 0 || into === undefined) continue;
      into.milliseconds.push(milliseconds / times);
      into.cpu.push(cpu / times);
      into.operations.push((classA(counts) + classB(counts)) / times);
    }
  }
  return series;
}

/** A row of times an operation. */
export function rowOf(name: string, unit: "ms" | "us", ours: Series, theirs: Series, note?: string): Measurement {
  const times = unit === "us" ? 1000 : 1;
  const scaled = ({ milliseconds }: Series) => milliseconds.map((value) => value * times);
  const figures = ({ cpu, operations }: Series): Figures => ({
    [`CPU ${unit}`]: tidy(median(cpu) * times, 2),
    "R2 ops": tidy(median(operations), 3),
  });
  return {
    ...measuredTimes({ suite: "manifest", case: name, peer: theirs.label, unit }, scaled(ours), scaled(theirs)),
    oursFigures: figures(ours),
    theirsFigures: figures(theirs),
    // Too little of it is none, as the system counts.
    ...(Math.min(median(ours.cpu), median(theirs.cpu)) > 0
      ? { cpuRatio: tidy(median(theirs.cpu) / median(ours.cpu), 2) }
      : {}),
    ...(note === undefined ? {} : { note }),
  };
}

const settle = () => new Promise((done) => setTimeout(done, SETTLE_MS));
