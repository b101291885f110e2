/**
 * Reads over HTTP, beside a bare Worker that does nothing but `get` on the same bucket, and beside one that answers a
 * constant. All run in one workerd, at ports of their own with no proxy before them, in turn and never at once; the
 * processor time, cache and simulated R2 of each are in that one process. What it shows is our code beside the least code
 * there can be, not the speed of Cloudflare's network.
 *
 * Beside the figures it holds us to what cannot be noise: right bytes, no R2 operation on a hot read, exactly one on a
 * cold read, and memory that does not grow.
 */
import { type BenchOptions, type Figures, type Measurement, median, measuredRates, tidy } from "../measure.ts";
import { CASES, type ReadCase } from "./cases.ts";
import { load } from "./load.ts";
import type { Loaded } from "./load-thread.ts";
import { MEMORY_CASE, measureMemory } from "./memory.ts";
import { type Server, type Stage, startStage } from "./stage.ts";
import { cpuSeconds } from "../stage/usage.ts";

const ROUNDS = 5;
/** Milliseconds for what goes on after an answer: a block's way into the cache counts as the read's own work. */
const SETTLE_MS = 60;
const WARM_UPS_MAX = 10;
/** Seconds of a run, on a machine that is slow or busy; otherwise it ends with the last of its requests. */
const RUN_SECONDS = 1.2;

/** Yields a row for each case and peer, and throws at the end if anything was not as it must be. */
export async function* benchRead({ cases, rounds }: BenchOptions): AsyncGenerator<Measurement> {
  const names = [...CASES.map(({ name }) => name), MEMORY_CASE];
  const unknown = cases.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`No case is called ${unknown.join(", ")}; there are ${names.join(", ")}`);
  const asked = (name: string) => cases.length === 0 || cases.includes(name);
  const faults: string[] = [];
  const chosen = CASES.filter(({ name }) => asked(name));
  if (chosen.length > 0) {
    yield* onStage(async function* (stage) {
      for (const each of chosen) yield* await measure(stage, each, rounds ?? ROUNDS, faults);
    });
  }
  // In a process of its own: what the cases left behind would blur it.
  if (asked(MEMORY_CASE)) {
    yield* onStage(async function* (stage) {
      yield await measureMemory(stage, faults);
    });
  }
  if (faults.length > 0) throw new Error(`read: ${faults.length} faults\n${faults.join("\n")}`);
}

async function* onStage(run: (stage: Stage) => AsyncGenerator<Measurement>): AsyncGenerator<Measurement> {
  const stage = await startStage();
  try {
    yield* run(stage);
  } finally {
    await stage.stop();
  }
}

interface Run extends Loaded {
  readonly cpuSeconds: number;
  /** Of R2; null for a peer, which is not counted. */
  readonly operations: number | null;
}

async function measure(stage: Stage, each: ReadCase, rounds: number, faults: string[]): Promise<Measurement[]> {
  const { servers } = stage;
  const peers = each.peers.map((name) => servers[name]);
  const ours = each.temperature === "hot" ? [servers.penstock, servers["penstock-no-memory"]] : [servers.penstock];
  const runs = new Map<Server, Run[]>([...ours, ...peers].map((server) => [server, []]));
  const fresh = each.temperature === "cold";

  if (!fresh) await stage.put(each.objects(0));
  // The first round is not measured: whoever is read for the first time compiles meanwhile.
  for (let round = 0; round <= rounds; round++) {
    if (fresh) await stage.put(each.objects(round));
    if (each.headed === true) await head(servers.penstock, each, round);
    const inTurn = round % 2 === 0 ? [...ours, ...peers] : [...peers.toReversed(), ...ours.toReversed()];
    for (const server of inTurn) {
      if (round === 0 && each.warmUp !== undefined) await heat(stage, server, each, each.warmUp, faults);
      const run = await measureRun(stage, server, each, round);
      if (round > 0) runs.get(server)?.push(run);
    }
    if (fresh) await stage.delete(each.objects(round));
  }
  if (!fresh) await stage.delete(each.objects(0));

  return ours.flatMap((server) => {
    const name = server === servers.penstock ? each.name : `${each.name}-no-memory`;
    faults.push(...faultsOf(name, each, runs.get(server) ?? []));
    return peers.map((peer) => row(name, each, runs.get(server) ?? [], peer.name, runs.get(peer) ?? []));
  });
}

async function measureRun(stage: Stage, server: Server, each: ReadCase, round: number): Promise<Run> {
  if (server.counted) await stage.operations(server);
  const before = cpuSeconds(stage.pid);
  const loaded = await load(server, each.requests(round), each.connections, RUN_SECONDS);
  await settle();
  const used = cpuSeconds(stage.pid) - before;
  const operations = server.counted ? await stage.operations(server) : null;
  return {
    ...loaded,
    cpuSeconds: used,
    operations: operations === null ? null : operations.classA + operations.classB,
  };
}

/** Reads until it is all hot: what goes into the cache goes there in the background, and within a budget. */
async function heat(
  stage: Stage,
  server: Server,
  each: ReadCase,
  requests: ReadCase["warmUp"] & object,
  faults: string[],
): Promise<void> {
  for (let pass = 0; pass < WARM_UPS_MAX; pass++) {
    if (server.counted) await stage.operations(server);
    await load(server, requests, each.connections);
    await settle();
    if (!server.counted) return;
    const { classA, classB } = await stage.operations(server);
    if (classA + classB === 0) return;
  }
  faults.push(`${each.name}: ${server.name} still reads from R2 after everything was read ${WARM_UPS_MAX} times`);
}

async function head({ port, root }: Server, each: ReadCase, round: number): Promise<void> {
  for (const { key } of each.objects(round)) {
    const answer = await fetch(`http://127.0.0.1:${port}${root}${key}`, { method: "HEAD" });
    if (!answer.ok) throw new Error(`HEAD of ${key} was answered ${answer.status}`);
  }
  await settle();
}

/** What is not a matter of speed. */
function faultsOf(name: string, { temperature }: ReadCase, runs: readonly Run[]): string[] {
  if (temperature === "any") return [];
  return runs.flatMap(({ operations, requests }, round) => {
    const due = temperature === "hot" ? 0 : requests;
    return operations === due
      ? []
      : [`${name}, round ${round + 1}: ${operations} R2 operations for ${requests} reads, where ${due} were due`];
  });
}

function row(
  name: string,
  { unit }: ReadCase,
  ours: readonly Run[],
  peer: string,
  theirs: readonly Run[],
): Measurement {
  const rate = ({ requests, bytes, seconds }: Run) => (unit === "MB/s" ? bytes / 1e6 : requests) / seconds;
  return {
    ...measuredRates({ suite: "read", case: name, peer, unit }, ours.map(rate), theirs.map(rate)),
    oursFigures: figures(ours),
    theirsFigures: figures(theirs),
    cpuRatio: tidy(median(theirs.map(cpuPerRead)) / median(ours.map(cpuPerRead)), 2),
  };
}

function figures(runs: readonly Run[]): Figures {
  const of = (value: (run: Run) => number) => tidy(median(runs.map(value)), 3);
  const counted = runs.flatMap(({ operations, requests }) => (operations === null ? [] : [operations / requests]));
  return {
    "requests/s": of(({ requests, seconds }) => requests / seconds),
    "MB/s": of(({ bytes, seconds }) => bytes / 1e6 / seconds),
    "p50 ms": of(({ p50 }) => p50),
    "p99 ms": of(({ p99 }) => p99),
    "CPU s/1000": of((run) => cpuPerRead(run) * 1000),
    ...(counted.length === 0 ? {} : { "R2 ops/read": tidy(median(counted), 3) }),
  };
}

const cpuPerRead = (run: Run) => run.cpuSeconds / run.requests;

const settle = () => new Promise((done) => setTimeout(done, SETTLE_MS));
