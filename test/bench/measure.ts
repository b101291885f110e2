/** One row of a benchmark: the same work done by us and by a peer. */
export interface Measurement {
  readonly suite: string;
  readonly case: string;
  readonly peer: string;
  readonly unit: string;
  /** Medians over the rounds. */
  readonly ours: number;
  readonly theirs: number;
  /** Theirs over ours for times, ours over theirs for rates: above 1, ours is better. */
  readonly ratio: number;
  /** The least and the most of the rounds: a difference inside them is noise. */
  readonly oursRange: readonly [number, number];
  readonly theirsRange: readonly [number, number];
  /** What else was measured, by name and unit: medians over the rounds. */
  readonly oursFigures?: Figures;
  readonly theirsFigures?: Figures;
  /** Their processor time for the same work over ours, which a busy machine blurs less than the ratio. */
  readonly cpuRatio?: number;
  readonly note?: string;
}

export type Figures = Readonly<Record<string, number>>;

/** What the command line asks of a suite. */
export interface BenchOptions {
  /** Names of cases; none: all. */
  readonly cases: readonly string[];
  /** null: as many as the suite thinks right. */
  readonly rounds: number | null;
  /** Names of peers; none: all. */
  readonly peers?: readonly string[];
  /** Of the number of objects; 1 is what the suite thinks right. */
  readonly scale?: number;
}

export interface Pair {
  readonly suite: string;
  readonly case: string;
  readonly peer: string;
  readonly ours: () => Promise<unknown>;
  readonly theirs: () => Promise<unknown>;
}

/**
 * Times both in turn, and turns the order around each round, so that neither always runs on the colder machine or in the
 * fuller heap. Each runs once before, unmeasured.
 */
export async function comparedTimes(pair: Pair, rounds = 5): Promise<Measurement> {
  const ours: number[] = [];
  const theirs: number[] = [];
  const timeOurs = async () => ours.push(await millisecondsOf(pair.ours));
  const timeTheirs = async () => theirs.push(await millisecondsOf(pair.theirs));

  await pair.ours();
  await pair.theirs();
  for (let round = 0; round < rounds; round++) {
    for (const time of round % 2 === 0 ? [timeOurs, timeTheirs] : [timeTheirs, timeOurs]) await time();
  }
  const { suite, case: name, peer } = pair;
  return measuredTimes({ suite, case: name, peer, unit: "ms" }, ours, theirs);
}

type Heading = Pick<Measurement, "suite" | "case" | "peer" | "unit">;

/** A row of rates, of which more is better; one of ours and one of theirs for each round. */
export function measuredRates(heading: Heading, ours: readonly number[], theirs: readonly number[]): Measurement {
  return { ...summary(heading, ours, theirs), ratio: tidy(median(ours) / median(theirs), 2) };
}

/** A row of times, of which less is better; one of ours and one of theirs for each round. */
export function measuredTimes(heading: Heading, ours: readonly number[], theirs: readonly number[]): Measurement {
  return { ...summary(heading, ours, theirs), ratio: tidy(median(theirs) / median(ours), 2) };
}

function summary(heading: Heading, ours: readonly number[], theirs: readonly number[]): Omit<Measurement, "ratio"> {
  return {
    ...heading,
    ours: tidy(median(ours), 1),
    theirs: tidy(median(theirs), 1),
    oursRange: [tidy(Math.min(...ours), 1), tidy(Math.max(...ours), 1)],
    theirsRange: [tidy(Math.min(...theirs), 1), tidy(Math.max(...theirs), 1)],
  };
}

async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

/** Rounded to so many digits after the point. */
export const tidy = (value: number, digits: number): number => Number(value.toFixed(digits));
