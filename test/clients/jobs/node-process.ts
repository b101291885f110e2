/** Processes that are nodes of a job: what a rented machine would run, and how it ends. */
import type { ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../harness/instance.ts";
import { sleep } from "../../harness/instance.ts";
import { startProgram } from "../../harness/process-group.ts";

export const EXAMPLES = join(ROOT, "examples");
const DEADLINE_MS = 5 * 60_000;

/** A job as its creator gets it. */
export interface CreatedJob {
  id: string;
  token: string;
  read: { rootUrl: string };
  readOutputs: { rootUrl: string };
  units: { count: number; bytes: number };
}

export interface NodeProcess {
  child: ChildProcess;
  /** What it printed last, as JSON; rejects where it ended otherwise than with 0. */
  result: Promise<unknown>;
  /** How it ended: its exit code, or the signal. */
  ended: Promise<number | string | null>;
}

export interface NodeInput {
  python: string;
  /** Beside this file. */
  script: string;
  /** The API's origin. */
  url: string;
  job: Pick<CreatedJob, "id" | "token">;
  given: unknown;
}

export function startNode({ python, script, url, job, given }: NodeInput): NodeProcess {
  const { child, ended } = startProgram(python, ["-W", "ignore", join(import.meta.dirname, script)], {
    deadlineMs: DEADLINE_MS,
    input: JSON.stringify(given),
    env: {
      ...process.env,
      ...{ PENSTOCK_URL: url, PENSTOCK_JOB: job.id, PENSTOCK_TOKEN: job.token },
      // The examples' folder stays clean, and a proxy of the machine's would not reach this Worker.
      ...{ PYTHONDONTWRITEBYTECODE: "1", NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1" },
    },
  });
  let [out, errors] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const result = ended.then((how) => {
    if (how !== 0) throw new Error(`${script} ended with ${how}: ${errors.slice(-2000)}`);
    return JSON.parse(out.trimEnd().split("\n").at(-1) || "null") as unknown;
  });
  // Who is killed has no result, and nobody may wait for it.
  result.catch(() => undefined);
  return { child, result, ended };
}

/** The lines that nodes have written so far. */
export function logOf<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  // The last one may be half written.
  return lines.slice(0, -1).map((line) => JSON.parse(line) as T);
}

/** Waits until something is so of what nodes have written. */
export async function untilLog(file: string, holds: (lines: unknown[]) => boolean, what: string): Promise<void> {
  const until = Date.now() + DEADLINE_MS;
  while (!holds(logOf<unknown>(file))) {
    if (Date.now() > until) throw new Error(`The nodes' log never had: ${what}`);
    await sleep(20);
  }
}
