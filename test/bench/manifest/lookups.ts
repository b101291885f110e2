import { hashKey } from "../../../workers/adapters/key-hash.ts";
import { INDEX_MEMORY_BYTES } from "../../../workers/core/limits.ts";
import { INDEX_PAGE_BYTES, pageOfHash } from "../../../workers/core/manifest/version-index.ts";
import { type Measurement, median } from "../measure.ts";
import { randomFrom } from "../read/content.ts";
import type { Corpus } from "./corpus.ts";
import { type Contestant, measureInTurn, rowOf, type Series } from "./in-turn.ts";
import { missedGrowth, someKeys } from "./queries.ts";
import type { Stage } from "./stage.ts";

/** Keys that are looked up again and again, as many there as missing: their pages are few enough for the isolate. */
const HOT_KEYS = 16;
const HOT_TIMES = 20_000;
const HOT_CPU_MAX_MS = 0.1;
/** Cold lookups of a round, each of a page that nobody has read: fewer are lost in what the request costs. */
const COLD_PAGES = { most: 100, least: 8 };
/** Pages that an isolate keeps. */
const KEPT_PAGES = INDEX_MEMORY_BYTES / INDEX_PAGE_BYTES;
/** Lookups of the peer, which takes longer. */
const PARQUET_TIMES = 20;

/** Keys that nobody has put, each just behind one that is there. */
const missingKeys = (corpus: Corpus, count: number, random: () => number): string[] =>
  someKeys(corpus, count, random).map((key) => `${key}.missing`);

/** Of keys by turns there and missing, how many of so many lookups find one. */
const expectHalf = (found: number, times: number, who: string): void => {
  if (found !== Math.ceil(times / 2))
    throw new Error(`${who} found ${found} of ${times} keys, of which half are there.`);
};

function keysByTurns(corpus: Corpus, pairs: number, seed: number): string[] {
  const random = randomFrom(seed);
  const missing = missingKeys(corpus, pairs, random);
  return someKeys(corpus, pairs, random).flatMap((key, at) => [key, missing[at] ?? ""]);
}

/** In the isolate's pages, beside the same by Parquet with everything that it reads in memory. */
export async function* measureCachedLookups(
  stage: Stage,
  corpora: readonly Corpus[],
  rounds: number,
): AsyncGenerator<Measurement> {
  const hot = corpora.map((corpus) => {
    return { corpus, order: { ...corpus, version: 1, keys: keysByTurns(corpus, HOT_KEYS, 1) } };
  });
  const contestants = hot.map(({ corpus, order }): Contestant => ({
    label: `${corpus.label} rows`,
    async run() {
      expectHalf(await stage.drive("resolve", { ...order, times: HOT_TIMES }), HOT_TIMES, "The index");
      return HOT_TIMES;
    },
  }));
  const most = hot.at(-1);
  const parquet: Contestant[] = most === undefined ? [] : [parquetContestant(stage, most.order, true)];
  const series = await measureInTurn(stage, [...contestants, ...parquet], rounds);
  yield* rowsOf("lookup-version", "us", corpora, series, ({ cpu, operations }) => [
    ...(median(cpu) < HOT_CPU_MAX_MS ? [] : [`missed: ${median(cpu).toFixed(3)} ms of processor time`]),
    ...(operations.every((each) => each === 0) ? [] : ["missed: reads of R2, where none was due"]),
  ]);
}

/**
 * In pages that no memory and no cache holds, as many of each size, beside Parquet whose footers nobody holds. Sizes with too
 * few pages are left out.
 */
export async function* measureColdLookups(
  stage: Stage,
  all: readonly Corpus[],
  rounds: number,
): AsyncGenerator<Measurement> {
  const opened = await Promise.all(all.map((corpus) => openIndex(stage, corpus, 2)));
  const large = opened.filter(({ pages }) => pages >= COLD_PAGES.least * (rounds + 1));
  const fewest = Math.min(...large.map(({ pages }) => pages));
  const each = Math.min(COLD_PAGES.most, Math.floor(fewest / (rounds + 1)));
  const contestants = large.map((index): Contestant => {
    const keys = keysOfPages(index, each * (rounds + 1));
    return {
      label: `${index.corpus.label} rows`,
      run: (round) => lookUp(stage, index, keys.slice(round * each, (round + 1) * each)),
    };
  });
  const corpora = large.map(({ corpus }) => corpus);
  const most = corpora.at(-1);
  if (most === undefined) return;
  const order = { ...most, version: 2, keys: keysByTurns(most, PARQUET_TIMES, 2) };
  const parquet = parquetContestant(stage, order, false);
  const series = await measureInTurn(stage, [...contestants, parquet], rounds);
  const title = "lookup-version-cold";
  yield* rowsOf(title, "us", corpora, series, ({ operations }) =>
    operations.every((reads) => reads === 1) ? [] : ["missed: not one read of R2 for each lookup"],
  );
  const cold = series[corpora.length - 1];
  if (cold !== undefined) yield* measureEdge(stage, most, cold, rounds);
}

/** In pages that the isolate has forgotten and the data centre's cache has, since there are more than an isolate keeps. */
async function* measureEdge(stage: Stage, corpus: Corpus, cold: Series, rounds: number): AsyncGenerator<Measurement> {
  const index = await openIndex(stage, corpus, 1);
  if (index.pages < 2 * KEPT_PAGES) return;
  const keys = keysOfPages(index, index.pages);
  const edge = { label: "cache", run: () => lookUp(stage, index, keys) };
  const [ours] = await measureInTurn(stage, [edge], rounds);
  if (ours !== undefined) yield rowOf(`lookup-version-edge at ${corpus.label}`, "us", ours, { ...cold, label: "cold" });
}

async function lookUp(stage: Stage, { corpus, version }: Index, keys: readonly string[]): Promise<number> {
  await stage.drive("resolve", { ...corpus, version, keys, times: keys.length });
  return keys.length;
}

function parquetContestant(
  stage: Stage,
  order: { name: string; id: string; version: number; keys: readonly string[] },
  isWarm: boolean,
): Contestant {
  return {
    label: "hyparquet",
    async run() {
      const found = await stage.drive("parquet", { ...order, times: PARQUET_TIMES, isWarm });
      expectHalf(found, PARQUET_TIMES, "hyparquet");
      return PARQUET_TIMES;
    },
  };
}

/** Each size beside the least, and the most beside the last of the series. */
function* rowsOf(
  name: string,
  unit: "us",
  corpora: readonly Corpus[],
  series: readonly Series[],
  missed: (ours: Series) => string[],
): Generator<Measurement> {
  const [least] = series;
  const peer = series.at(-1);
  if (least === undefined || peer === undefined) return;
  for (const [index, corpus] of corpora.entries()) {
    const ours = series[index];
    if (index === 0 || ours === undefined) continue;
    const title = `${name} at ${corpus.label}`;
    const row = rowOf(title, unit, ours, least);
    const notes = [...missed(ours), ...missedGrowth(row)];
    yield notes.length === 0 ? row : { ...row, note: notes.join("; ") };
    if (index === corpora.length - 1) yield rowOf(title, unit, ours, peer);
  }
}

interface Index {
  readonly corpus: Corpus;
  readonly version: number;
  readonly salt: Uint8Array;
  readonly pages: number;
}

async function openIndex(stage: Stage, corpus: Corpus, version: number): Promise<Index> {
  const { salt, pages } = await stage.drive("index", { ...corpus, version });
  return { corpus, version, salt: Buffer.from(salt, "hex"), pages };
}

/** So many keys of which no two are in one page, by turns there and missing. */
function keysOfPages({ corpus, salt, pages }: Index, count: number): string[] {
  const ofPage = new Map<number, string>();
  const random = randomFrom(3);
  for (let tries = 0; ofPage.size < Math.min(pages, count); tries++) {
    const [key = ""] = tries % 2 === 0 ? someKeys(corpus, 1, random) : missingKeys(corpus, 1, random);
    const page = pageOfHash(hashKey(salt, key), pages);
    if (!ofPage.has(page)) ofPage.set(page, key);
  }
  return [...ofPage.values()];
}
