import { type Measurement, tidy } from "../measure.ts";
import { type Corpus, OPS_BUDGETS } from "./cases.ts";
import { classA, classB, sumOf } from "../stage/counts.ts";
import type { Counts } from "../stage/observing.ts";
import type { BenchSource } from "./source.ts";
import { startStage } from "./stage.ts";

const MILLION = 1_000_000;
/** The last acknowledgements come after the end. */
const SETTLE_MS = 1000;
/** Rows of the manifest, which are not the migration's own. */
const MANIFEST = "rows.Dataset";

/**
 * What small objects cost, as it was called, per million: nothing is taken off for what a run costs but once. What the
 * Worker says of itself must be the same.
 */
export async function* measureOperations(
  source: BenchSource,
  corpus: Corpus,
  faults: string[],
): AsyncGenerator<Measurement> {
  const stage = await startStage(source, { observed: true });
  try {
    const { length } = await source.fill(corpus);
    await stage.register(corpus.name, corpus.name, `${corpus.name}/`);
    await stage.counts();
    const { status } = await stage.migrate(corpus.name, "straight");
    await new Promise((done) => setTimeout(done, SETTLE_MS));
    const counts = await stage.counts();
    const { total, rows } = { total: totalsOf(counts), rows: rowsOf(counts) };
    const own = status.operations;
    for (const name of Object.keys(total) as (keyof typeof total)[]) {
      if (total[name] !== own[name]) {
        faults.push(`${corpus.name}: ${total[name]} ${name} were called, and the status says ${own[name]}`);
      }
    }
    const values = { "class A": total.classA, "queue operations": total.queue, "rows written": rows.own };
    const note = `${length} objects, times ${MILLION / length}. Counted: ${JSON.stringify(counts)}`;
    for (const [name, budget] of Object.entries(OPS_BUDGETS)) {
      const value = tidy((values[name as keyof typeof values] / length) * MILLION, 0);
      if (value > budget) faults.push(`${corpus.name}: ${value} ${name} per million objects, of at most ${budget}`);
      yield {
        suite: "migrate",
        case: `ops: ${name} per million`,
        peer: "budget",
        unit: "operations",
        ours: value,
        theirs: budget,
        ratio: tidy(budget / value, 2),
        oursRange: [value, value],
        theirsRange: [budget, budget],
        ...(name === "rows written"
          ? { oursFigures: { "rows of the manifest": tidy((rows.manifest / length) * MILLION, 0) } }
          : {}),
        note,
      };
    }
  } finally {
    await stage.stop();
  }
}

const totalsOf = (counts: Counts) => ({
  classA: classA(counts),
  classB: classB(counts),
  queue: sumOf(counts, ["queue.write", "queue.read", "queue.delete"]),
  sourceGet: sumOf(counts, ["source.get"]),
  sourceList: sumOf(counts, ["source.list"]),
});

function rowsOf(counts: Counts): { own: number; manifest: number } {
  const all = Object.keys(counts).filter((name) => name.startsWith("rows."));
  return {
    own: sumOf(
      counts,
      all.filter((name) => name !== MANIFEST),
    ),
    manifest: sumOf(counts, [MANIFEST]),
  };
}

/** Requests for a page of a listing, of the source and of R2. */
export const listsOf = (counts: Counts): number => sumOf(counts, ["source.list", "r2.list"]);
