import { type Measurement, median, tidy } from "../measure.ts";
import { type Corpus, LISTS_PER_1000_KEYS_MAX, SECOND_RUN_LEAST_RATIO } from "./cases.ts";
import { listsOf } from "./operations.ts";
import type { BenchSource } from "./source.ts";
import { startStage } from "./stage.ts";

/** A run over what has not changed since, beside the first. */
export async function* measureSecondRun(
  source: BenchSource,
  corpus: Corpus,
  rounds: number,
  faults: string[],
): AsyncGenerator<Measurement> {
  const stage = await startStage(source, { observed: true });
  try {
    const { length } = await source.fill(corpus);
    await stage.register(corpus.name, corpus.name, `${corpus.name}/`);
    const first = await stage.migrate(corpus.name, "straight");
    const seconds: number[] = [];
    const lists: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await stage.counts();
      const second = await stage.migrate(corpus.name, "straight");
      if (second.status.skipped.objects !== length) throw new Error("The second run found something to copy.");
      seconds.push(second.seconds);
      lists.push((listsOf(await stage.counts()) / length) * 1000);
    }
    const ours = median(seconds);
    const ratio = tidy(first.seconds / ours, 1);
    const listed = tidy(median(lists), 2);
    if (ratio < SECOND_RUN_LEAST_RATIO) {
      faults.push(`${corpus.name}: ${ratio} times faster than the first, where ${SECOND_RUN_LEAST_RATIO} is the least`);
    }
    if (listed > LISTS_PER_1000_KEYS_MAX) {
      faults.push(`${corpus.name}: ${listed} list requests a thousand keys, of at most ${LISTS_PER_1000_KEYS_MAX}`);
    }
    yield {
      suite: "migrate",
      case: corpus.name,
      peer: "first run",
      unit: "s",
      ours: tidy(ours, 3),
      theirs: tidy(first.seconds, 3),
      ratio,
      oursRange: [tidy(Math.min(...seconds), 3), tidy(Math.max(...seconds), 3)],
      theirsRange: [tidy(first.seconds, 3), tidy(first.seconds, 3)],
      oursFigures: { "lists/1000 keys": listed },
      note: `${length} objects`,
    };
  } finally {
    await stage.stop();
  }
}
