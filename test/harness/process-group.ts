/** Programs with whatever they start: ended together, by whoever waits or by a deadline. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";

interface Given {
  deadlineMs: number;
  /** What its standard input has. */
  input?: string;
  cwd?: string | undefined;
  env?: NodeJS.ProcessEnv;
}

export interface ProgramGroup {
  child: ChildProcessWithoutNullStreams;
  /**
   * How it ended, once nothing holds its output any more: its exit code, a signal, or that its time was over. Rejects where it
   * cannot be started, with ENOENT where there is no such program.
   */
  ended: Promise<number | string | null>;
}

/** Starts a program. What it started, and left behind, is killed with it, so that nobody waits for the pipes that it holds. */
export function startProgram(
  program: string,
  args: readonly string[],
  { deadlineMs, input = "", cwd, env = process.env }: Given,
): ProgramGroup {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"], detached: true, cwd, env });
  // What ends before it has read its input says why.
  child.stdin.once("error", () => undefined).end(input);
  const kill = () => signalGroup(child, "SIGKILL");
  process.once("exit", kill);
  exitOnSignals();
  let isLate = false;
  const deadline = setTimeout(() => {
    isLate = true;
    kill();
  }, deadlineMs);
  child.once("exit", kill);
  const ended = new Promise<number | string | null>((settle, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => settle(isLate ? `no end within ${deadlineMs / 1000} s` : (code ?? signal)));
  }).finally(() => {
    clearTimeout(deadline);
    process.off("exit", kill);
  });
  return { child, ended };
}

/** A group of its own is not reached by a Ctrl-C in the terminal: with this, the handlers of "exit" end it. */
export function exitOnSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    if (process.listenerCount(signal) === 0) process.once(signal, () => process.exit(1));
  }
}

/** Signals a process that was started `detached`, with what it started, unless it has ended. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.exitCode === null && child.signalCode === null) signalGroup(child, signal);
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // All of it has ended.
  }
}
