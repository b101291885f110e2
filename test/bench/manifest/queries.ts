import type { Measurement } from "../measure.ts";
import {
  chunksOf,
  categoriesOf,
  categoryAt,
  changesIn,
  FOLDER_ROWS,
  folderAt,
  isChanged,
  keyAt,
  NAMED,
} from "./rows.ts";
import type { Corpus, Depth } from "./corpus.ts";
import { type Contestant, measureInTurn, rowOf } from "./in-turn.ts";
import type { Stage } from "./stage.ts";
import { randomFrom } from "../read/content.ts";

/** One question, which costs the same however many rows there are. */
export interface QueryCase {
  readonly name: string;
  readonly depth: Depth;
  readonly unit: "ms" | "us";
  /** What is to be known of the figures. */
  readonly remark?: string;
  /** Times in a round. */
  readonly times: number;
  /** Asks so often. */
  ask(stage: Stage, corpus: Corpus, times: number, random: () => number): Promise<void>;
  /** Looks, before anything is measured, whether the answer is right; returns what is to be noted beside, if anything. */
  first?(stage: Stage, corpus: Corpus): Promise<string | null>;
}

const PAGE_ROWS = 1000;

/** A page that has this many of something, once; it is measured without reading JSON. */
async function expectItems(stage: Stage, path: string, list: "objects" | "changes", least: number): Promise<void> {
  const answer = await stage.client.call<Record<string, unknown[]>>("GET", path);
  const { length } = answer[list] ?? [];
  if (length < least) throw new Error(`${path} was answered with ${length} ${list}, where there should be ${least}.`);
}

const pathOfPage = ({ name }: Corpus, version: string, folder: number): string =>
  `/v1/datasets/${name}/manifest?version=${version}&prefix=${folderAt(folder)}&limit=${PAGE_ROWS}`;

const pageOf = (version: string): Pick<QueryCase, "ask" | "first" | "unit" | "times"> => ({
  unit: "ms",
  times: 20,
  async ask(stage, corpus, times, random) {
    const folders = Math.max(1, Math.floor(chunksOf(corpus.rows) / FOLDER_ROWS));
    for (let at = 0; at < times; at++) {
      await stage.get(pathOfPage(corpus, version, Math.floor(random() * folders)));
    }
  },
  async first(stage, corpus) {
    // A folder that was changed may have a row less.
    const least = Math.min(chunksOf(corpus.rows), PAGE_ROWS) - 1;
    await expectItems(stage, pathOfPage(corpus, version, 0), "objects", least);
    return null;
  },
});

/** Keys of rows that are as they were written first. */
export function someKeys({ rows }: Corpus, count: number, random: () => number): string[] {
  const keys: string[] = [];
  while (keys.length < count) {
    const index = Math.floor(random() * rows);
    if (!isChanged(index, rows)) keys.push(keyAt(index, rows));
  }
  return keys;
}

const pathOfKey = ({ name }: Corpus, key: string): string =>
  `/v1/datasets/${name}/manifest?prefix=${encodeURIComponent(key)}&limit=1`;
const diffOf = ({ name }: Corpus) => `/v1/datasets/${name}/versions/1..2?limit=${PAGE_ROWS}`;

export const QUERY_CASES: readonly QueryCase[] = [
  { name: "page", depth: "rows", ...pageOf("live") },
  {
    name: "lookup-live",
    depth: "rows",
    unit: "us",
    times: 1000,
    async ask(stage, corpus, times, random) {
      const found = await stage.drive("remember", { ...corpus, keys: someKeys(corpus, times, random), times });
      if (found !== times) throw new Error(`${found} of ${times} keys were found in the live manifest.`);
    },
    async first(stage, corpus) {
      const times = 1000;
      await stage.drive("call", { ...corpus, times });
      const started = performance.now();
      await stage.drive("call", { ...corpus, times });
      return `${(((performance.now() - started) / times) * 1000).toFixed(0)} us of it are a call to an object that does nothing`;
    },
  },
  {
    name: "lookup-live-http",
    depth: "rows",
    unit: "ms",
    times: 100,
    async ask(stage, corpus, times, random) {
      for (const key of someKeys(corpus, times, random)) await stage.get(pathOfKey(corpus, key));
    },
    async first(stage, corpus) {
      await expectItems(stage, pathOfKey(corpus, keyAt(0, corpus.rows)), "objects", 1);
      return null;
    },
  },
  {
    name: "resolve",
    depth: "rows",
    unit: "ms",
    times: 100,
    async ask(stage, corpus, times, random) {
      for (let at = 0; at < times; at++) {
        const category = categoryAt(Math.floor(random() * categoriesOf(corpus.rows)));
        await stage.get(`/v1/resolve?name=${NAMED}&category=${category}&dataset=${corpus.name}`);
      }
    },
  },
  {
    name: "page-version",
    depth: "version",
    ...pageOf("1"),
    remark:
      "the few groups of the least stay decoded; elsewhere a page decodes one of 5,000 rows, however many there are",
  },
  {
    name: "diff",
    depth: "change",
    unit: "ms",
    times: 10,
    async ask(stage, corpus, times) {
      for (let at = 0; at < times; at++) await stage.get(diffOf(corpus));
    },
    async first(stage, corpus) {
      await stage.counts();
      const started = performance.now();
      await expectItems(stage, diffOf(corpus), "changes", changesIn(corpus.rows));
      const milliseconds = performance.now() - started;
      const { "r2.get": reads = 0 } = await stage.counts();
      return `first, with no footer known: ${milliseconds.toFixed(0)} ms and ${reads} reads of R2`;
    },
  },
];

/** A row for each size beside the least. */
export async function* measureQuery(
  stage: Stage,
  each: QueryCase,
  corpora: readonly Corpus[],
  rounds: number,
): AsyncGenerator<Measurement> {
  const notes: string[] = [];
  for (const corpus of corpora) {
    const said = (await each.first?.(stage, corpus)) ?? null;
    if (said !== null) notes.push(`${corpus.label}: ${said}`);
  }
  const contestants = corpora.map((corpus): Contestant => ({
    label: `${corpus.label} rows`,
    async run(round) {
      await each.ask(stage, corpus, each.times, randomFrom(round));
      return each.times;
    },
  }));
  const series = await measureInTurn(stage, contestants, rounds);
  const [least] = series;
  if (least === undefined) return;
  for (const [index, ours] of series.entries()) {
    if (index === 0) continue;
    const row = rowOf(`${each.name} at ${corpora[index]?.label ?? ""}`, each.unit, ours, least);
    const said = [...missedGrowth(row), ...(each.remark === undefined ? [] : [each.remark]), ...notes];
    yield said.length === 0 ? row : { ...row, note: said.join("; ") };
  }
}

/** Times that a question may take longer among more rows: trees are deeper, and less of them is in the processor's caches. */
const GROWTH_MAX = 1.5;

/** By the clock and by processor time: one of them alone is what a busy machine does. */
export function missedGrowth({ ratio, cpuRatio = ratio }: Measurement): string[] {
  const times = 1 / Math.max(ratio, cpuRatio);
  return times > GROWTH_MAX ? [`missed: grows ${times.toFixed(1)} times, where the answer does not`] : [];
}
