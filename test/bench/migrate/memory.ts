import { type Measurement, tidy } from "../measure.ts";
import { peakMiB, resetPeak } from "../stage/peak.ts";
import { type Corpus, MEMORY_BEFORE, MEMORY_SLACK_MIB } from "./cases.ts";
import type { BenchSource } from "./source.ts";
import { type Stage, startStage } from "./stage.ts";

/** Copies a corpus that is at the source. */
type Copy = (stage: Stage, corpus: Corpus, keys: readonly string[]) => Promise<unknown>;

const COPIES: Readonly<Record<"ours" | "theirs", Copy>> = {
  async ours(stage, { name }) {
    await stage.register(name, name, `${name}/`);
    return stage.migrate(name, "straight");
  },
  theirs: (stage, { name }, keys) => stage.bareLoop(keys, `${name}/`),
};

/**
 * The most memory that workerd has in a migration, by the number of objects, each in a process of its own; and the same of a
 * bare loop of `fetch` and `put`. R2, the queue and the source's connections are in that process, too: what the loop takes
 * more for more objects is theirs, and only what a migration takes beyond it may be ours.
 */
export async function* measureMemory(
  source: BenchSource,
  corpora: readonly Corpus[],
  faults: string[],
): AsyncGenerator<Measurement> {
  const peaks: Record<"ours" | "theirs", number[]> = { ours: [], theirs: [] };
  for (const corpus of corpora) {
    for (const who of ["ours", "theirs"] as const) peaks[who].push(await peakOf(source, corpus, COPIES[who]));
  }
  const growth = (list: readonly number[]) => (list.at(-1) ?? 0) - (list[0] ?? 0);
  const [ours, theirs] = [growth(peaks.ours), growth(peaks.theirs)];
  const told = (list: readonly number[]) =>
    corpora.map(({ objects }, index) => `${list[index] ?? 0} MiB at ${objects} objects`).join(", ");
  const note = `peaks of workerd: ${told(peaks.ours)}; of the bare loop ${told(peaks.theirs)}`;
  if (ours > theirs + MEMORY_SLACK_MIB) faults.push(`memory: ${note}`);
  const [most, theirMost] = [peaks.ours.at(-1) ?? 0, peaks.theirs.at(-1) ?? 0];
  yield {
    suite: "migrate",
    case: "memory",
    peer: "bare-loop",
    unit: "MiB",
    ours: most,
    theirs: theirMost,
    ratio: tidy(theirMost / most, 2),
    oursRange: [most, most],
    theirsRange: [theirMost, theirMost],
    oursFigures: { "MiB more than at the least": ours },
    theirsFigures: { "MiB more than at the least": theirs },
    note,
  };
}

async function peakOf(source: BenchSource, corpus: Corpus, copy: Copy): Promise<number> {
  const before = await source.fill(MEMORY_BEFORE);
  const keys = await source.fill(corpus);
  const stage = await startStage(source);
  try {
    // Each isolate takes what it will take from the system by a copy like the one that is measured.
    await copy(stage, MEMORY_BEFORE, before);
    await stage.empty(`${MEMORY_BEFORE.name}/`);
    resetPeak(stage.pid);
    await copy(stage, corpus, keys);
    return Math.round(peakMiB(stage.pid));
  } finally {
    await stage.stop();
  }
}
