/**
 * Installs what the tests need into the git-ignored `.penstock/`, once per work tree, by the ordinary clients of the
 * package registries as the machine has them set up. No registry is named here.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { startProgram } from "../harness/process-group.ts";

/** `.penstock/` at the root of the work tree. */
export const PENSTOCK_FOLDER = resolve(import.meta.dirname, "../../.penstock");

const INSTALL_DEADLINE_MS = 20 * 60_000;
const LOCK_POLL_MS = 200;
const OUTPUT_TAIL_CHARACTERS = 4_000;

export interface Installation {
  /** What is installed, with its version. A change of this text installs anew. */
  readonly what: string;
  /** The file that is run afterwards; it must exist when `install` has ended. */
  readonly program: string;
  readonly install: () => Promise<void>;
}

/**
 * Runs `install` unless it has already succeeded for the same `what`. A marker beside the program is written last, so
 * an install that was cut short is done again. Test runners start many processes at once: the first one installs, the
 * others wait for it. Returns the program.
 */
export async function installOnce({ what, program, install }: Installation): Promise<string> {
  const marker = `${program}.installed`;
  const isInstalled = () => existsSync(program) && existsSync(marker) && readFileSync(marker, "utf8") === what;

  if (isInstalled()) return program;
  mkdirSync(PENSTOCK_FOLDER, { recursive: true });
  await underLock(resolve(PENSTOCK_FOLDER, `${basename(program)}.lock`), async () => {
    if (isInstalled()) return;
    rmSync(marker, { force: true });
    console.error(`penstock: installing ${what}; a new machine takes minutes, once`);
    await install();
    if (!existsSync(program)) throw new Error(`Installing ${what} succeeded, yet there is no ${program}`);
    writeFileSync(marker, what);
  });
  return program;
}

/**
 * An empty SQLite database serves as the lock, because the operating system frees it when its holder dies, however it
 * dies. A lock file of our own would have to guess whether it is stale.
 */
async function underLock(file: string, work: () => Promise<void>): Promise<void> {
  const lock = new DatabaseSync(file, { timeout: 0 });
  try {
    const deadline = Date.now() + INSTALL_DEADLINE_MS;
    for (;;) {
      try {
        lock.exec("BEGIN EXCLUSIVE");
        break;
      } catch (error) {
        if (!/locked/.test(String(error))) throw error;
        if (Date.now() > deadline)
          throw new Error(`Another process has held ${file} for too long; end it`, { cause: error });
      }
      await sleep(LOCK_POLL_MS);
    }
    await work();
  } finally {
    lock.close();
  }
}

/** Runs a program to its end. Throws with the end of what it printed; `missing` is thrown where there is no such program. */
export async function run(
  program: string,
  args: readonly string[],
  missing: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const { child, ended } = startProgram(program, args, { deadlineMs: INSTALL_DEADLINE_MS, env });
  let tail = "";
  const keepTail = (chunk: Buffer) => {
    tail = (tail + chunk.toString()).slice(-OUTPUT_TAIL_CHARACTERS);
  };
  child.stdout.on("data", keepTail);
  child.stderr.on("data", keepTail);

  const status = await ended.catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT" ? new Error(missing, { cause: error }) : error;
  });
  if (status !== 0) throw new Error(`${[program, ...args].join(" ")} ended with ${status}:\n${tail}`);
}
