/** Programs of the machine as people use them: curl, jq, sha256sum, and lines of a shell. */
import { startProgram } from "../../harness/process-group.ts";

interface Ran {
  /** Its exit code, or what else ended it. */
  exit: number | string | null;
  out: Buffer;
  /** The end of what it printed as errors. */
  errors: string;
}

interface Surroundings {
  cwd?: string;
  env?: Record<string, string>;
  input?: string;
}

const DEADLINE_MS = 5 * 60_000;

/** Runs a program to its end, whatever it ends with. Throws where there is none: what it takes is then not tested. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { cwd, env = {}, input = "" }: Surroundings = {},
): Promise<Ran> {
  const { child, ended } = startProgram(program, args, {
    ...{ deadlineMs: DEADLINE_MS, cwd, input },
    // This machine only: a proxy of the machine's would not reach it. Messages that are looked at are in English.
    env: { ...process.env, NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1", LC_ALL: "C.UTF-8", ...env },
  });
  const out: Buffer[] = [];
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-2_000)));
  const exit = await ended.catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new Error(`There is no "${program}" on the PATH. Install it.`, { cause: error });
    throw error;
  });
  return { exit, out: Buffer.concat(out), errors };
}

/** Lines of bash, of which every command of a pipe must succeed. */
export const runShell = (lines: string, surroundings: Surroundings = {}): Promise<Ran> =>
  runProgram("bash", ["-c", `set -o pipefail\n${lines}`], surroundings);

/** The programs that a section needs, each with what installs it where there is none. */
export async function needPrograms(...names: string[]): Promise<void> {
  for (const name of names) {
    const { exit } = await runShell('command -v "$NAME" > /dev/null', { env: { NAME: name } });
    if (exit === 0) continue;
    throw new Error(`There is no "${name}" on the PATH. On Debian and Ubuntu: apt-get install ${name}.`);
  }
}
