/** Each example that a node may copy, run as it is. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { RASTER } from "../../../examples/demo/data.ts";
import type { Checks } from "../../harness/checks.ts";
import { JSONL, type Stage } from "../stage.ts";
import { needPrograms, runShell } from "../versions/program.ts";
import { type CreatedJob, EXAMPLES, startNode } from "./node-process.ts";

const jobOf = (stage: Stage, body: object) => stage.client.call<CreatedJob>("POST", "/v1/jobs", body);

/** penstock_dataset.py with two workers over records: each line once, by number and byte for byte. */
export async function checkDataset(checks: Checks, stage: Stage, python: string): Promise<void> {
  const job = await jobOf(stage, {
    name: "records",
    dataset: "records",
    input: { records: [JSONL] },
    units: { targetBytes: 1024 * 1024 },
  });
  const { bytes } = stage.objectsOf("records").get(JSONL) ?? { bytes: new Uint8Array() };
  const text = new TextDecoder().decode(bytes);
  const count = text.trimEnd().split("\n").length;
  checks.that(`a file of ${bytes.length} bytes is cut into units of records`, job.units.count > 5, job.units);
  const node = startNode({ python, script: "records_node.py", url: stage.url, job, given: { examples: EXAMPLES } });
  const read = (await node.result) as { left: { leased: number; done: number }; numbers: number[]; text: string };
  checks.equal("whoever leaves in the middle gives all back", [read.left.leased, read.left.done], [0, 0]);
  checks.that(
    `two workers are given each of ${count} records once`,
    read.numbers.length === count && read.numbers.every((number, at) => number === at),
    read.numbers.length,
  );
  checks.that("and in all the file, byte for byte", read.text === text, read.text.length);
  const { nodes } = await stage.client.call<{ nodes: { name: string; step: number | null }[] }>(
    "GET",
    `/v1/jobs/${job.id}`,
  );
  checks.that("and the node is heard with what the training says", (nodes[0]?.step ?? 0) > 0, nodes);
}

/** penstock_zarr.py over a sharded array and one of Zarr 2. */
export async function checkZarrUnits(checks: Checks, stage: Stage, python: string): Promise<void> {
  for (const dataset of ["precip-v3", "precip-v2"]) {
    for (const [select, values] of [
      [[":", ":"], 168 * 360],
      [["42:84", "100:"], 42 * 260],
    ] as const) {
      const input = { zarr: [{ path: "precip", select }] };
      const job = await jobOf(stage, { name: "chunks", dataset, input, units: { targetBytes: 4096 } });
      const given = { examples: EXAMPLES, raster: RASTER };
      const node = startNode({ python, script: "zarr_node.py", url: stage.url, job, given });
      const read = (await node.result) as { chunks: number; wrong: number; once: number; more: number };
      checks.equal(
        `${dataset} [${select.join(", ")}]: no value is wrong, none is read twice`,
        [read.wrong, read.more],
        [0, 0],
      );
      const sentence = `${dataset} [${select.join(", ")}]: ${read.chunks} chunks, all that is selected and nothing else`;
      checks.that(sentence, read.once === values, read);
    }
  }
}

/** penstock_checkpoint.py, small and in parts, with one checkpoint kept. */
export async function checkCheckpoint(checks: Checks, stage: Stage, python: string): Promise<void> {
  const outputPrefix = "runs/saved/";
  const job = await jobOf(stage, {
    name: "saved",
    dataset: "precip-v2",
    input: { prefixes: ["precip/"] },
    outputPrefix,
    checkpoints: { keep: 1 },
  });
  // Above 100 MiB an output goes up in parts.
  const given = { examples: EXAMPLES, outputPrefix, floats: 28_000_000 };
  const node = startNode({ python, script: "checkpoint_node.py", url: stage.url, job, given });
  checks.equal(
    "a checkpoint comes back as it was saved, also in parts; of one kept, the older is gone",
    await node.result,
    {
      before: null,
      first: true,
      last: true,
      state: true,
      older: null,
    },
  );
}

/** node.sh with curl and jq alone: the bytes of every object, by their checksums. */
export async function checkShellNode(checks: Checks, stage: Stage, folder: string): Promise<void> {
  await needPrograms("curl", "jq");
  const objects = [...stage.objectsOf("precip-v2")].filter(([key]) => key.startsWith("precip/"));
  const job = await jobOf(stage, {
    name: "shell",
    dataset: "precip-v2",
    input: { prefixes: ["precip/"] },
    units: { targetBytes: 5000 },
  });
  const env = {
    ...{ PENSTOCK_URL: stage.url, PENSTOCK_JOB: job.id, PENSTOCK_TOKEN: job.token, PENSTOCK_NODE: "shell" },
    SUMS: join(folder, "sums"),
  };
  const command = `sh '${join(EXAMPLES, "node.sh")}' sh -c 'sha256sum "$1"/* | cut -c 1-64 >>"$SUMS"' unit`;
  const ran = await runShell(`${command} && sort "$SUMS"`, { cwd: folder, env });
  const found = ran.out
    .toString()
    .split("\n")
    .filter((line) => /^[0-9a-f]{64}$/.test(line));
  const sums = objects.map(([, { bytes }]) => createHash("sha256").update(bytes).digest("hex"));
  checks.that("the shell node ends well", ran.exit === 0, ran.errors);
  checks.equal(`the shell node had each of ${sums.length} objects, byte for byte`, found, sums.sort());
  const status = await stage.client.call<{ progress: { done: number; units: number } }>("GET", `/v1/jobs/${job.id}`);
  checks.equal("and acknowledged every unit", status.progress.done, job.units.count);
}
