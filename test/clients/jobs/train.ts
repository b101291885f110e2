/**
 * Three node processes train a small model on the demo's array for two epochs. One is killed, another joins later, a URL
 * expires; what comes out is what an undisturbed node has, also from a checkpoint in the middle.
 */
import { join } from "node:path";
import type { Checks } from "../../harness/checks.ts";
import { createClient } from "../../harness/client.ts";
import type { Stage } from "../stage.ts";
import { type CreatedJob, EXAMPLES, logOf, type NodeProcess, startNode, untilLog } from "./node-process.ts";

const EPOCHS = 2;
const TOLERANCE = 1e-6;

interface Line {
  node: string;
  event: string;
  epoch?: number;
  unit?: number;
  key?: string;
  attempt?: number;
  refreshed?: boolean;
  cache?: string;
  state?: string;
}
interface Learnt {
  losses: number[];
}

interface TrainInput {
  python: string;
  stage: Stage;
  /** Empty, to write into. */
  folder: string;
}

export async function checkTraining(checks: Checks, input: TrainInput): Promise<void> {
  const { stage } = input;
  const chunks = [...stage.objectsOf("precip-v2").keys()].filter((key) => /^precip\/\d+\.\d+$/.test(key)).sort();
  const alone = await trainAlone(checks, input, chunks);
  await trainDisturbed(checks, input, chunks, alone);
  await trainResumed(checks, input, chunks, alone);
}

/** A run by one node, with nothing in its way: the losses that all others are held against. */
async function trainAlone(checks: Checks, input: TrainInput, chunks: string[]): Promise<number[]> {
  const run = await startRun(input, "alone", chunks);
  const { losses } = (await run.start("node-0").result) as Learnt;
  checks.that(
    `undisturbed: ${chunks.length} units an epoch, the loss falls (${losses.join(", ")})`,
    run.job.units.count === chunks.length && losses.every((loss, at) => at === 0 || loss < (losses[at - 1] ?? 0)),
    losses,
  );
  await checkEpochs(checks, "undisturbed", run.log, chunks, 0);
  await run.finish(checks, "undisturbed");
  return losses;
}

async function trainDisturbed(checks: Checks, input: TrainInput, chunks: string[], alone: number[]): Promise<void> {
  const run = await startRun(input, "disturbed", chunks);
  const nodes = new Map<string, NodeProcess>();
  for (const node of ["node-0", "node-1", "node-2"]) {
    nodes.set(node, run.start(node, { slowSeconds: 0.4, stale: node === "node-2" }));
  }
  const victim = nodes.get("node-1");
  const isHolding = (all: unknown[]) => {
    const lines = all as Line[];
    const of = (event: string) => lines.filter((line) => line.node === "node-1" && line.event === event).length;
    return of("done") >= 1 && of("read") > of("done");
  };
  await untilLog(run.log, isHolding, "node-1 with a unit done and another one read");
  victim?.child.kill("SIGKILL");
  checks.equal("node-1 is killed in the middle of the first epoch", await victim?.ended, "SIGKILL");
  const killedAt = logOf<Line>(run.log);
  nodes.delete("node-1");
  nodes.set("node-3", run.start("node-3"));
  const all = await Promise.all(
    [...nodes].map(async ([node, { result }]) => [node, (await result) as Learnt] as const),
  );
  for (const [node, { losses }] of all) {
    const off = Math.max(...losses.map((loss, at) => Math.abs(loss - (alone[at] ?? Number.NaN))));
    checks.that(`${node}: the loss after each epoch is the undisturbed run's, within ${TOLERANCE}`, off < TOLERANCE, {
      losses,
      alone,
    });
  }
  const lines = logOf<Line>(run.log);
  const lost = killedAt.filter((line) => line.node === "node-1" && line.event === "read").length;
  const did = killedAt.filter((line) => line.node === "node-1" && line.event === "done").length;
  checks.that(
    "what node-1 held was read again by others",
    await checkEpochs(checks, "disturbed", run.log, chunks, lost - did),
  );
  checks.that(
    "node-3, which came later, did its part",
    lines.some((line) => line.node === "node-3" && line.event === "done"),
  );
  const refreshed = lines.filter((line) => line.refreshed === true);
  checks.equal(
    "a URL that expired in the middle of the epoch was refreshed, and its unit is done",
    refreshed.length,
    1,
  );
  checks.that(
    "no sample failed",
    lines.every(({ event }) => event !== "failed"),
  );
  const second = secondEpoch(lines);
  const hits = second.filter(({ cache }) => /;\s*hit/.test(cache ?? "")).length;
  checks.that(
    `the second epoch's reads hit the cache: ${hits} of ${second.length}`,
    hits >= 0.9 * second.length,
    second,
  );
  await run.finish(checks, "disturbed");
}

/** A run that is left in the middle of its second epoch, and gone on with by a new job with two nodes. */
async function trainResumed(checks: Checks, input: TrainInput, chunks: string[], alone: number[]): Promise<void> {
  const begun = await startRun(input, "begun", chunks);
  const saved = Math.floor(chunks.length / 3);
  await begun.start("node-0", { saveAt: [1, saved] }).ended;
  const state = logOf<Line>(begun.log).find(({ event }) => event === "saved")?.state;
  await input.stage.client.call("POST", `/v1/jobs/${begun.job.id}/cancel`);
  const restore = await input.stage.client.call("GET", `/v1/jobs/${begun.job.id}/checkpoints/latest`);
  const run = await startRun(input, "resumed", chunks, state);
  const nodes = ["node-7", "node-8"].map((node) => run.start(node, { restore }));
  for (const { result } of nodes) {
    const { losses } = (await result) as Learnt;
    const off = Math.max(...losses.map((loss, at) => Math.abs(loss - (alone[at] ?? Number.NaN))));
    const isSame = losses.length === alone.length && off < TOLERANCE;
    checks.that(`resumed from a checkpoint in the second epoch: the same losses`, isSame, { losses, alone });
  }
  const done = logOf<Line>(run.log).filter(({ event }) => event === "done");
  checks.equal(
    "resumed: exactly the units that were left are handed out",
    [done.length, new Set(done.map(({ unit }) => unit)).size],
    [chunks.length - saved, chunks.length - saved],
  );
  await run.finish(checks, "resumed");
}

/** That each epoch's samples are the input, each acknowledged once; prints how many were read more than once. */
async function checkEpochs(
  checks: Checks,
  run: string,
  log: string,
  chunks: string[],
  rereadAtLeast: number,
): Promise<boolean> {
  const lines = logOf<Line>(log);
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const done = lines.filter((line) => line.event === "done" && line.epoch === epoch);
    const keys = done.map(({ key }) => key ?? "").sort();
    checks.equal(`${run}: the samples of epoch ${epoch} are the input, each acknowledged once`, keys, chunks);
  }
  const reads = lines.filter(({ event }) => event === "read").length;
  const again = reads - EPOCHS * chunks.length;
  checks.note(`${run}: ${again} of ${reads} reads were of units that had been read before`);
  return again >= rereadAtLeast;
}

/** What each node has read since it was through with the first epoch. */
function secondEpoch(lines: Line[]): Line[] {
  const begun = new Set<string>();
  return lines.filter(({ node, event, epoch }) => {
    if (event === "epoch" && epoch === 0) begun.add(node);
    return event === "read" && begun.has(node);
  });
}

async function startRun({ python, stage, folder }: TrainInput, name: string, chunks: string[], resumeFrom?: string) {
  const outputPrefix = `runs/${name}/`;
  const job = await stage.client.call<CreatedJob>("POST", "/v1/jobs", {
    name,
    dataset: "precip-v2",
    input: { keys: chunks },
    outputPrefix,
    nodes: 3,
    units: { targetBytes: 1, epochs: EPOCHS, seed: 42 },
    heartbeatTimeoutSeconds: 5,
    lostAfterSeconds: 600,
    ...(resumeFrom === undefined ? {} : { resumeFrom }),
  });
  const log = join(folder, `${name}.ndjson`);
  const common = { examples: EXAMPLES, outputPrefix, log, epochs: EPOCHS, keys: chunks };
  const roots = { root: job.read.rootUrl, outputRoot: job.readOutputs.rootUrl };
  return {
    job,
    log,
    start: (node: string, more: object = {}) =>
      startNode({
        python,
        script: "train_node.py",
        url: stage.url,
        job,
        given: { ...common, ...roots, node, ...more },
      }),
    /** Every unit is acknowledged, as the job says it. */
    async finish(checks: Checks, run: string) {
      interface Status {
        state: string;
        progress: { epoch: number; done: number; leased: number; waiting: number; failed: number };
      }
      const { progress } = await stage.client.call<Status>("GET", `/v1/jobs/${job.id}`);
      const { leased, waiting, failed } = progress;
      checks.equal(`${run}: no unit is out, waits or was given up`, [leased, waiting, failed], [0, 0, 0]);
      const finished = await createClient(stage.url, job.token).call<Status>("POST", `/v1/jobs/${job.id}/finish`, {});
      checks.equal(`${run}: the job is done`, finished.state, "done");
    },
  };
}
