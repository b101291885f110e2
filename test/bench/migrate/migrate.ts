import type { BenchOptions, Measurement } from "../measure.ts";
import { MEMORY, OPS, SECOND_RUN, SPEED_CASES } from "./cases.ts";
import { measureMemory } from "./memory.ts";
import { measureOperations } from "./operations.ts";
import { measureSecondRun } from "./second-run.ts";
import { type BenchSource, startSource } from "./source.ts";
import { measureSpeed } from "./speed.ts";

const ROUNDS = 3;
const MEMORY_CASE = "memory";
const PEERS = ["bare-loop", "rclone"];

/**
 * Migrations from versitygw, a server by others in a process of its own, on the Miniflare that everybody else's numbers are
 * taken on. All of the simulator runs on one core, and dispatches one message of a queue at a time: so one consumer with
 * its six connections is what we are, and what the bare loop is given.
 *
 * @throws at the end, with what was promised and not kept
 */
export async function* benchMigrate(options: BenchOptions): AsyncGenerator<Measurement> {
  const { cases, rounds, scale = 1, peers = [] } = options;
  const names = [...SPEED_CASES.map(({ name }) => name), SECOND_RUN.name, MEMORY_CASE, OPS.name];
  expectKnown("case", cases, names);
  expectKnown("peer", peers, PEERS);
  const asked = (name: string) => cases.length === 0 || cases.includes(name);
  const scaled = <T extends { objects: number }>(corpus: T): T => {
    return { ...corpus, objects: Math.max(1, Math.round(corpus.objects * scale)) };
  };
  const faults: string[] = [];

  for (const each of SPEED_CASES) {
    if (!asked(each.name)) continue;
    const chosen = each.peers.filter((peer) => peers.length === 0 || peers.includes(peer));
    const small = scaled({ ...each, peers: chosen });
    yield* fromSource((source) => measureSpeed(source, small, rounds ?? ROUNDS, faults));
  }
  if (asked(SECOND_RUN.name)) {
    yield* fromSource((source) => measureSecondRun(source, scaled(SECOND_RUN), rounds ?? ROUNDS, faults));
  }
  if (asked(OPS.name)) yield* fromSource((source) => measureOperations(source, scaled(OPS), faults));
  if (asked(MEMORY_CASE)) yield* fromSource((source) => measureMemory(source, MEMORY.map(scaled), faults));
  if (faults.length > 0) throw new Error(`migrate: ${faults.length} faults\n${faults.join("\n")}`);
}

/** A server for each case: what it holds goes with it. */
async function* fromSource(run: (source: BenchSource) => AsyncGenerator<Measurement>): AsyncGenerator<Measurement> {
  const source = await startSource();
  try {
    yield* run(source);
  } finally {
    await source.stop();
  }
}

function expectKnown(what: string, asked: readonly string[], names: readonly string[]): void {
  const unknown = asked.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`No ${what} is called ${unknown.join(", ")}; there are ${names.join(", ")}`);
}
