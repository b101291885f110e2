import { type Measurement, tidy } from "../measure.ts";
import { peakMiB, resetPeak } from "./peak.ts";
import { type Corpus, MEMORY_BEFORE, MEMORY_SLACK_MIB } from "./cases.ts";
import type { BenchSource } from "./source.ts";
import { type Stage, startStage } from "./stage.ts";

/** The most memory that workerd has in a migration, by the number of objects, each in a process of its own. */
export async function* measureMemory(
  source: BenchSource,
  corpora: readonly Corpus[],
  faults: string[],
): AsyncGenerator<Measurement> {
  await source.fill(MEMORY_BEFORE);
  const peaks: { objects: number; mebibytes: number }[] = [];
  for (const corpus of corpora) {
    await source.fill(corpus);
    const stage = await startStage(source);
    try {
      await grow(stage);
      resetPeak(stage.pid);
      await stage.register(corpus.name, corpus.name, `${corpus.name}/`);
      await stage.migrate(corpus.name, "straight");
      peaks.push({ objects: corpus.objects, mebibytes: Math.round(peakMiB(stage.pid)) });
    } finally {
      await stage.stop();
    }
  }
  const few = peaks[0] ?? { objects: 0, mebibytes: 0 };
  const many = peaks.at(-1) ?? few;
  const note = `peaks of workerd: ${peaks.map(({ objects, mebibytes }) => `${mebibytes} MiB at ${objects} objects`).join(", ")}`;
  if (many.mebibytes > few.mebibytes + MEMORY_SLACK_MIB) faults.push(`memory: ${note}`);
  yield {
    suite: "migrate",
    case: "memory",
    peer: `at ${few.objects}`,
    unit: "MiB",
    ours: many.mebibytes,
    theirs: few.mebibytes,
    ratio: tidy(few.mebibytes / many.mebibytes, 2),
    oursRange: [many.mebibytes, many.mebibytes],
    theirsRange: [few.mebibytes, few.mebibytes],
    note,
  };
}

/** Has each isolate take what it will take from the system, by a migration like the one that is measured. */
async function grow(stage: Stage): Promise<void> {
  const { name } = MEMORY_BEFORE;
  await stage.register(name, name, `${name}/`);
  await stage.migrate(name, "straight");
  await stage.empty(`${name}/`);
}
