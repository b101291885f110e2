import { spawn } from "node:child_process";
import { type Check, ROOT } from "./outcome.ts";

export interface Ended {
  readonly ok: boolean;
  /** What it printed, on both of its streams. */
  readonly output: string;
}

/** Runs one of the development dependencies' programs at the root. */
export function runTool(program: string, args: readonly string[]): Promise<Ended> {
  // WRANGLER_LOG_PATH: wrangler writes its log below the home folder otherwise.
  const quiet = {
    CI: "true",
    NO_COLOR: "1",
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_LOG_PATH: `${ROOT}/.wrangler/logs`,
  };
  const env = { ...process.env, ...quiet };
  const child = spawn(`${ROOT}/node_modules/.bin/${program}`, args, {
    cwd: ROOT,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (chunk: Buffer) => {
    output += chunk.toString();
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ ok: code === 0, output: output.trim() }));
  });
}

/** A check that is a program of its own: what it prints is the problem when it fails. */
export const tool = (program: string, ...args: string[]): Check => {
  return async () => {
    const { ok, output } = await runTool(program, args);
    return { problems: ok ? [] : [output === "" ? `${program} failed and said nothing` : output] };
  };
};
