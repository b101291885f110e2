/** GPU jobs as their nodes live them: a training that is disturbed, and each example that a node may copy. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../harness/checks.ts";
import { checkBrokenAnswers, checkBrokenShell } from "./jobs/broken.ts";
import { checkCheckpoint, checkDataset, checkShellNode, checkZarrUnits } from "./jobs/examples.ts";
import { torchPython } from "./jobs/torch-python.ts";
import { checkTraining } from "./jobs/train.ts";
import type { Stage } from "./stage.ts";

interface JobsInput {
  /** The environment of the Python clients; PyTorch is the machine's own. */
  python: string;
  stage: Stage;
  /** Empty, to write into. */
  folder: string;
}

export async function runJobs(checks: Checks, { python, stage, folder }: JobsInput): Promise<void> {
  const made = (name: string) => {
    mkdirSync(join(folder, name), { recursive: true });
    return join(folder, name);
  };
  await checks.section("three nodes train, one is killed, one comes later", async () => {
    await checkTraining(checks, { python: await torchPython(), stage, folder: made("training") });
  });
  await checks.section("examples: the IterableDataset", async () => checkDataset(checks, stage, await torchPython()));
  await checks.section("examples: answers that break off", async () => {
    await checkBrokenAnswers(checks, python);
    await checkBrokenShell(checks);
  });
  await checks.section("examples: checkpoints", async () => checkCheckpoint(checks, stage, await torchPython()));
  await checks.section("examples: Zarr on obstore", () => checkZarrUnits(checks, stage, python));
  await checks.section("examples: a node with curl and jq", () => checkShellNode(checks, stage, made("shell")));
}
