import { sleep } from "../../harness/instance.ts";
import { classA, classB, sumOf } from "../stage/counts.ts";
import { peakMiB, resetPeak } from "../stage/peak.ts";
import { cpuSeconds, residentMiB } from "../stage/usage.ts";
import { changesIn } from "./rows.ts";
import type { Stage } from "./stage.ts";

/** How far a dataset is made ready: with its rows, sealed once, or changed since and sealed again. */
export const DEPTHS = ["rows", "version", "change"] as const;
export type Depth = (typeof DEPTHS)[number];

/** One dataset of made up rows, whose objects nobody ever puts. */
export interface Corpus {
  /** As it stands in the figures: "10k". */
  readonly label: string;
  readonly rows: number;
  readonly name: string;
  readonly id: string;
}

/** What it cost to write rows, a request's worth at a time. */
export interface Ingest {
  readonly rowsPerSecond: number[];
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** As SQLite counts them: rows of tables and of their indexes. */
  readonly rowsWritten: number;
}

export interface Sealing {
  readonly rows: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly classA: number;
  readonly classB: number;
  readonly rowsWritten: number;
  /** Of the whole of workerd: before, and at the most. */
  readonly residentMiB: number;
  readonly peakMiB: number;
}

export interface Prepared {
  readonly corpus: Corpus;
  readonly ingest: Ingest;
  readonly sealings: readonly Sealing[];
}

/** Rows of one request; more of them are more samples. */
const REQUEST_ROWS = { most: 100_000, least: 10_000 };
const LOOK_MS = 200;
/** For what is cleared away once a version is sealed. */
const CLEAR_MS = 300;
const SEALING_MAX_MS = 1_800_000;
const ROWS_WRITTEN = ["rows.Dataset"];

/** Registers a dataset, fills it through the call that the manifest's queue makes, and seals it as far as is wanted. */
export async function prepareCorpus(stage: Stage, name: string, rows: number, depth: Depth): Promise<Prepared> {
  const definition = { kind: "files", prefix: `${name}/` };
  const { id } = await stage.client.call<{ id: string }>("PUT", `/v1/datasets/${name}`, definition);
  const corpus = { label: shortOf(rows), rows, name, id };
  const ingest = await fill(stage, corpus);
  const sealings: Sealing[] = [];
  if (depth !== "rows") sealings.push(await seal(stage, corpus, 1));
  if (depth === "change") {
    const changed = await stage.drive("change", { name, id, rows });
    if (changed !== changesIn(rows)) throw new Error(`${changed} rows were changed of ${changesIn(rows)}.`);
    sealings.push(await seal(stage, corpus, 2));
  }
  return { corpus, ingest, sealings };
}

async function fill(stage: Stage, { name, id, rows }: Corpus): Promise<Ingest> {
  const each = Math.min(REQUEST_ROWS.most, Math.max(REQUEST_ROWS.least, Math.ceil(rows / 10)));
  await stage.counts();
  const before = cpuSeconds(stage.pid);
  const begun = performance.now();
  const rowsPerSecond: number[] = [];
  let written = 0;
  for (let from = 0; from < rows; from += each) {
    const upTo = Math.min(rows, from + each);
    const started = performance.now();
    written += await stage.drive("apply", { name, id, from, upTo, rows });
    rowsPerSecond.push((upTo - from) / secondsSince(started));
  }
  if (written !== rows) throw new Error(`${written} of ${rows} rows were written.`);
  const seconds = secondsSince(begun);
  const used = cpuSeconds(stage.pid) - before;
  return { rowsPerSecond, seconds, cpuSeconds: used, rowsWritten: sumOf(await stage.counts(), ROWS_WRITTEN) };
}

interface Version {
  readonly number: number;
  readonly state: string;
  readonly problem: string | null;
  readonly objects: number;
  readonly createdAt: string;
  readonly sealedAt: string | null;
}

/** By the version's own times: each look is work for the process that is measured. */
async function seal({ pid, client, counts }: Stage, { name }: Corpus, number: number): Promise<Sealing> {
  await counts();
  resetPeak(pid);
  const [resident, before] = [residentMiB(pid), cpuSeconds(pid)];
  const begun = performance.now();
  await client.call("POST", `/v1/datasets/${name}/versions`, {});
  for (;;) {
    await sleep(LOOK_MS);
    const version = await client.call<Version>("GET", `/v1/datasets/${name}/versions/${number}`);
    if (version.state === "failed" || secondsSince(begun) * 1000 > SEALING_MAX_MS) {
      throw new Error(`Version ${number} of ${name} is ${version.state}: ${version.problem ?? "it does not end"}`);
    }
    if (version.sealedAt === null) continue;
    await sleep(CLEAR_MS);
    const counted = await counts();
    return {
      rows: version.objects,
      seconds: (Date.parse(version.sealedAt) - Date.parse(version.createdAt)) / 1000,
      cpuSeconds: cpuSeconds(pid) - before,
      classA: classA(counted),
      classB: classB(counted),
      rowsWritten: sumOf(counted, ROWS_WRITTEN),
      residentMiB: resident,
      peakMiB: peakMiB(pid),
    };
  }
}

const secondsSince = (started: number): number => (performance.now() - started) / 1000;

function shortOf(rows: number): string {
  if (rows >= 1_000_000) return `${rows / 1_000_000}M`;
  return rows >= 1000 ? `${rows / 1000}k` : String(rows);
}
