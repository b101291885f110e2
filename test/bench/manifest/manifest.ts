/**
 * The manifest at three sizes: what is asked must cost no more among a million rows than among ten thousand, and what is
 * made no more a row. All sizes are in one workerd with the simulated R2 and SQLite; each round asks all of them in turn.
 * What is not kept is said in a note; nothing is thrown, for the figures are worth having.
 */
import { type BenchOptions, type Measurement, measuredRates, median, tidy } from "../measure.ts";
import { DEPTHS, type Depth, type Ingest, type Prepared, prepareCorpus, type Sealing } from "./corpus.ts";
import { measureCachedLookups, measureColdLookups } from "./lookups.ts";
import { measureQuery, QUERY_CASES } from "./queries.ts";
import { type Stage, startStage } from "./stage.ts";

const SIZES = [10_000, 100_000, 1_000_000];
const ROUNDS = 5;
/** Datasets of the least size that are made where making is measured: one is made too fast to be told from noise. */
const LEAST_AGAIN = 5;
const WARM_UP_ROWS = 5000;
/** Times slower a row than at the least size that making may be. */
const SLOWER_MAX = 1.5;

const MAKING: Readonly<Record<string, Depth>> = { ingest: "rows", seal: "change" };
const LOOKUPS = { "lookup-version": measureCachedLookups, "lookup-version-cold": measureColdLookups } as const;
const LOOKUP_DEPTHS: Readonly<Record<keyof typeof LOOKUPS, Depth>> = {
  "lookup-version": "version",
  "lookup-version-cold": "change",
};

export async function* benchManifest({ cases, rounds, scale = 1 }: BenchOptions): AsyncGenerator<Measurement> {
  const queryDepths = Object.fromEntries(QUERY_CASES.map(({ name, depth }) => [name, depth]));
  const depths: Readonly<Record<string, Depth>> = { ...MAKING, ...queryDepths, ...LOOKUP_DEPTHS };
  const unknown = cases.filter((name) => !(name in depths));
  if (unknown.length > 0) {
    throw new Error(`No case is called ${unknown.join(", ")}; there are ${Object.keys(depths).join(", ")}`);
  }
  const asked = (name: string) => cases.length === 0 || cases.includes(name);
  const chosen = Object.keys(depths).filter(asked);
  const depth = DEPTHS.findLast((each) => chosen.some((name) => depths[name] === each)) ?? "rows";
  const again = chosen.some((name) => name in MAKING) ? LEAST_AGAIN : 1;
  const stage = await startStage();
  try {
    // Whoever runs for the first time compiles meanwhile.
    await prepareCorpus(stage, "warm-up", WARM_UP_ROWS, depth);
    const sizes = SIZES.map((size) => Math.max(20, Math.round(size * scale)));
    const made = await prepareAll(stage, sizes, again, depth);
    for (const name of Object.keys(MAKING).filter(asked)) {
      yield* name === "ingest" ? ingestRows(made) : sealRows(made);
    }
    const corpora = made.flatMap(([first]) => first?.corpus ?? []);
    for (const each of QUERY_CASES) {
      if (asked(each.name)) yield* measureQuery(stage, each, corpora, rounds ?? ROUNDS);
    }
    for (const [name, measure] of Object.entries(LOOKUPS)) {
      if (asked(name)) yield* measure(stage, corpora, rounds ?? ROUNDS);
    }
  } finally {
    await stage.stop();
  }
}

/** By size, the least first, and of that several. */
async function prepareAll(stage: Stage, sizes: readonly number[], again: number, depth: Depth): Promise<Prepared[][]> {
  const made: Prepared[][] = [];
  for (const [index, rows] of sizes.entries()) {
    const some: Prepared[] = [];
    for (let number = 0; number < (index === 0 ? again : 1); number++) {
      some.push(await prepareCorpus(stage, `rows-${rows}-${number}`, rows, depth));
    }
    made.push(some);
  }
  return made;
}

function* ingestRows(made: readonly Prepared[][]): Generator<Measurement> {
  const figures = (some: readonly Ingest[], rows: number) => ({
    "s in all": tidy(median(some.map(({ seconds }) => seconds)), 2),
    "CPU us/row": tidy(median(some.map(({ cpuSeconds }) => (cpuSeconds / rows) * 1e6)), 1),
    "written/row": tidy(median(some.map(({ rowsWritten }) => rowsWritten / rows)), 3),
  });
  const [few = []] = made;
  for (const many of made.slice(1)) {
    const [ours, theirs] = [many, few].map((some) => some.map(({ ingest }) => ingest));
    const [label, rows] = [many[0]?.corpus.label ?? "", many[0]?.corpus.rows ?? 0];
    yield rateRow("ingest", label, few, [
      (ours ?? []).flatMap(({ rowsPerSecond }) => rowsPerSecond),
      (theirs ?? []).flatMap(({ rowsPerSecond }) => rowsPerSecond),
      figures(ours ?? [], rows),
      figures(theirs ?? [], few[0]?.corpus.rows ?? 0),
      `from the first tenth to the last: ${(ours?.[0]?.rowsPerSecond ?? []).map((rate) => rate.toFixed(0)).join(", ")}`,
    ]);
  }
}

function* sealRows(made: readonly Prepared[][]): Generator<Measurement> {
  const figures = (some: readonly Sealing[]) => {
    const of = (value: (sealing: Sealing) => number, digits: number) => tidy(median(some.map(value)), digits);
    return {
      "s in all": of(({ seconds }) => seconds, 2),
      "CPU us/row": of(({ cpuSeconds, rows }) => (cpuSeconds / rows) * 1e6, 1),
      "class A": of((each) => each.classA, 0),
      "class B": of((each) => each.classB, 0),
      "rows written": of(({ rowsWritten }) => rowsWritten, 0),
      "MiB before": of(({ residentMiB }) => residentMiB, 0),
      "MiB peak": of(({ peakMiB }) => peakMiB, 0),
    };
  };
  const rates = (some: readonly Sealing[]) => some.map(({ rows, seconds }) => rows / seconds);
  const [few = []] = made;
  for (const many of made.slice(1)) {
    const [ours, theirs] = [many, few].map((some) => some.flatMap(({ sealings }) => sealings));
    yield rateRow("seal", many[0]?.corpus.label ?? "", few, [
      rates(ours ?? []),
      rates(theirs ?? []),
      figures(ours ?? []),
      figures(theirs ?? []),
      "the first version, and the second after a page of changes; the peak is all of workerd's, R2 and SQLite included",
    ]);
  }
}

type Rates = readonly [number[], number[], Record<string, number>, Record<string, number>, string];

function rateRow(
  name: string,
  label: string,
  few: readonly Prepared[],
  [ours, theirs, oursFigures, theirsFigures, note]: Rates,
): Measurement {
  const peer = `${few[0]?.corpus.label ?? ""} rows`;
  const row = measuredRates({ suite: "manifest", case: `${name} at ${label}`, peer, unit: "rows/s" }, ours, theirs);
  const cpuRatio = tidy((theirsFigures["CPU us/row"] ?? 0) / (oursFigures["CPU us/row"] ?? 0), 2);
  const slower = 1 / Math.max(row.ratio, cpuRatio);
  const missed = slower > SLOWER_MAX ? `missed: ${slower.toFixed(1)} times as slow a row; ` : "";
  return { ...row, oursFigures, theirsFigures, cpuRatio, note: missed + note };
}
