/** A server as a child process on a free port of 127.0.0.1, which does not outlive this process. */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const START_DEADLINE_MS = 300_000;
const HEALTH_POLL_MS = 50;
const HEALTH_ANSWER_MS = 30_000;
const PORTS_TO_TRY = 5;
const LOG_TAIL_CHARACTERS = 4_000;

export interface ServerCommand {
  readonly name: string;
  readonly program: string;
  /** `folder` is empty and is removed at the end. */
  readonly args: (port: number, folder: string) => readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Answers GET with 200 as soon as the server serves. */
  readonly healthPath: string;
}

export interface ChildServer {
  readonly endpoint: string;
  /** Kills the server and removes its folder. Safe to call twice. */
  readonly stop: () => Promise<void>;
}

/** The server ended by itself before it was healthy. */
export class ServerEnded extends Error {
  override readonly name = "ServerEnded";
  readonly log: string;

  constructor(command: string, log: string) {
    super(`${command} ended before it answered:\n${log}`);
    this.log = log;
  }
}

/**
 * Starts the server and waits until it is healthy. A port that was free may be taken by somebody else before the
 * server binds it: then another one is tried.
 */
export async function startChildServer(command: ServerCommand): Promise<ChildServer> {
  for (let tries = 1; ; tries++) {
    try {
      return await startOnPort(command, await freePort());
    } catch (error) {
      const isPortTaken = error instanceof ServerEnded && /address already in use|in use by/i.test(error.log);
      if (!isPortTaken || tries === PORTS_TO_TRY) throw error;
    }
  }
}

async function startOnPort(command: ServerCommand, port: number): Promise<ChildServer> {
  const folder = mkdtempSync(join(tmpdir(), `penstock-${command.name}-`));
  const logFile = join(folder, "server.log");
  const log = openSync(logFile, "a");
  const server = spawn(command.program, command.args(port, folder), {
    // TMPDIR: what the server spills goes with its folder.
    env: { ...(command.env ?? process.env), TMPDIR: folder },
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  const ended = new Promise<string | undefined>((settle) => {
    server.once("error", (error) => settle(String(error)));
    server.once("exit", () => settle(undefined));
  });
  const tether = startTether(server, folder);

  const stop = async () => {
    // Nothing in it is worth a graceful end, which would wait for our own kept-alive connections.
    server.ref();
    server.kill("SIGKILL");
    await ended;
    tether?.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };

  const endpoint = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + START_DEADLINE_MS;
  let end: { readonly reason: string | undefined } | undefined;
  void ended.then((reason) => (end = { reason }));
  for (;;) {
    const isHealthy = await answersWell(endpoint + command.healthPath);
    // Asked in this order, another server that has taken the port is not mistaken for ours for long: ours has ended.
    if (end === undefined && isHealthy) return { endpoint, stop };
    if (end === undefined && Date.now() < deadline) {
      await sleep(HEALTH_POLL_MS);
      continue;
    }
    const tail = existsSync(logFile) ? readFileSync(logFile, "utf8").slice(-LOG_TAIL_CHARACTERS) : "";
    await stop();
    if (end !== undefined) throw new ServerEnded(command.program, end.reason ?? tail);
    throw new Error(`${command.program} did not answer ${command.healthPath} in ${START_DEADLINE_MS} ms:\n${tail}`);
  }
}

/**
 * Ends the server and removes its folder when this process ends in whatever way, SIGKILL included: the tether reads a
 * pipe that only this process holds open. It is let go as soon as the server has ended, so that it never kills a later
 * process with the same id. Neither child keeps this process from ending.
 */
function startTether(server: ChildProcess, folder: string): ChildProcess | undefined {
  if (server.pid === undefined) return undefined;
  const script = `trap "" INT TERM HUP; read -r _; kill -9 "$1"; sleep 0.2; rm -rf -- "$2"`;
  const tether = spawn("/bin/sh", ["-c", script, "penstock-tether", String(server.pid), folder], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  server.once("exit", () => tether.kill("SIGKILL"));
  server.unref();
  tether.unref();
  if (tether.stdin instanceof Socket) tether.stdin.unref();
  return tether;
}

async function answersWell(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(HEALTH_ANSWER_MS) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

function freePort(): Promise<number> {
  return new Promise((settle, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => {
        if (address === null || typeof address === "string") reject(new Error("No port was assigned"));
        else settle(address.port);
      });
    });
  });
}
