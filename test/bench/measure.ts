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
  return {
    suite: pair.suite,
    case: pair.case,
    peer: pair.peer,
    unit: "ms",
    ours: tidy(median(ours)),
    theirs: tidy(median(theirs)),
    ratio: Math.round((median(theirs) / median(ours)) * 100) / 100,
    oursRange: [tidy(Math.min(...ours)), tidy(Math.max(...ours))],
    theirsRange: [tidy(Math.min(...theirs)), tidy(Math.max(...theirs))],
  };
}

async function millisecondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

const tidy = (ms: number) => Math.round(ms * 10) / 10;
