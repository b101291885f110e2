/** The Python clients: a virtual environment with pinned packages, and their scripts, whose lines are counted. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Checks } from "../harness/checks.ts";
import { startProgram } from "../harness/process-group.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "../sources/install.ts";

const VENV = join(PENSTOCK_FOLDER, "venv-clients");
const REQUIREMENTS = join(import.meta.dirname, "requirements.txt");
const SCRIPT_DEADLINE_MS = 30 * 60_000;

const PYTHON_ENV = {
  // What it compiles is kept, wherever the machine says otherwise, and outside the sources.
  PYTHONDONTWRITEBYTECODE: "",
  PYTHONPYCACHEPREFIX: join(VENV, "pycache"),
  // The clients talk to this machine only: a proxy of the machine's would not reach it.
  NO_PROXY: "127.0.0.1",
  no_proxy: "127.0.0.1",
};

/** Succeeds where Python is fit for it. ensurepip is what Debian leaves out, and a venv has no pip without. */
const IS_FIT =
  "import sys, venv, ensurepip; sys.exit('it is %d.%d' % sys.version_info[:2] if sys.version_info < (3, 11) else 0)";
const CANDIDATES = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/** Returns the environment's interpreter. */
export function installClients(): Promise<string> {
  const python = join(VENV, "bin", "python");
  const digest = createHash("sha256").update(readFileSync(REQUIREMENTS)).digest("hex").slice(0, 12);
  return installOnce({
    what: `the Python clients of requirements.txt (${digest})`,
    program: python,
    install: async () => {
      await run(await fitPython(), ["-m", "venv", "--clear", VENV], "Python has gone");
      const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"];
      await run(python, [...pip, "--requirement", REQUIREMENTS], `There is no ${python}, though the venv was made`);
    },
  });
}

async function fitPython(): Promise<string> {
  const reasons: string[] = [];
  for (const python of CANDIDATES) {
    try {
      await run(python, ["-c", IS_FIT], "not on the PATH");
      return python;
    } catch (error) {
      const reason = error instanceof Error ? error.message.trim() : String(error);
      reasons.push(`${python}: ${reason.split("\n").at(-1) ?? ""}`);
    }
  }
  throw new Error(
    "The client tests need Python 3.11 or newer with the modules venv and ensurepip. On Debian and Ubuntu: " +
      `apt-get install python3 python3-venv. What was tried:\n  ${reasons.join("\n  ")}`,
  );
}

export interface Script {
  python: string;
  /** Beside this file. */
  name: string;
  /** What the script reads as `given`. */
  given: unknown;
}

/** Runs a script to its end. Each of its checks counts; a script that ends badly, or checks nothing, is a failure. */
export async function runScript(checks: Checks, { python, name, given }: Script): Promise<void> {
  const { code, out, errors } = await spawnScript(python, name, given);
  let lines = 0;
  for (const line of out.split("\n").filter((text) => text !== "")) {
    const [verdict, sentence = "", detail] = line.split("\t");
    const isCheck = verdict === "ok" || verdict === "FAIL";
    if (isCheck) checks.that(sentence, verdict === "ok", detail);
    else checks.note(line);
    if (isCheck) lines++;
  }
  if (code !== 0 || lines === 0) checks.that(`${name} runs to its end, with checks`, false, `${code}: ${errors}`);
}

/** Runs a script that prepares something. */
export async function runPreparation({ python, name, given }: Script): Promise<void> {
  const { code, errors } = await spawnScript(python, name, given);
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${errors}`);
}

async function spawnScript(python: string, name: string, given: unknown) {
  const args = ["-W", "ignore", join(import.meta.dirname, name)];
  const { child, ended } = startProgram(python, args, {
    deadlineMs: SCRIPT_DEADLINE_MS,
    input: JSON.stringify(given),
    env: { ...process.env, ...PYTHON_ENV },
  });
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const code = await ended;
  return { code, out, errors: errors.slice(-2_000) };
}
