import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse } from "smol-toml";
import type { Source } from "./local-source.ts";
import { freePort } from "./ports.ts";
import { exitOnSignals, killGroup } from "./process-group.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
const STARTS_WITHIN_MS = 300_000;

/** A Worker running under `wrangler dev`, with everything it needs made up for it. */
export interface Instance {
  /** The API's and the data plane's origin. */
  url: string;
  /** API tokens by role. */
  tokens: Record<"admin" | "submit" | "read", string>;
  /** Everything that the Worker and wrangler printed. */
  logs(): string;
  /** Runs the Worker's cron as if it were this time (milliseconds since 1970). */
  cron(at: number): Promise<void>;
  /** Ends the Worker and all of its processes; what it stored stays in the instance's folder. */
  stop(): Promise<void>;
  /** Ends them as a power cut does: no process is asked, and what was not stored is lost. */
  kill(): Promise<void>;
  /** Settles when the Worker has ended by itself. */
  ended: Promise<void>;
}

export interface InstanceOptions {
  /** Names the folder under `.penstock/`, which git ignores. */
  name: string;
  /** Sources by name. */
  sources?: Record<string, Source>;
  /** Variables that replace those of wrangler.toml. */
  vars?: Record<string, string>;
  /** API tokens beside the three: such that are limited to some datasets. */
  apiTokens?: readonly { token: string; role: string; datasets: string[] }[];
  port?: number;
  /** Show what the Worker prints. */
  verbose?: boolean;
}

interface Secrets {
  masterKeys: string;
  tokens: Instance["tokens"];
  r2: { accessKeyId: string; secretAccessKey: string };
}

/**
 * Starts an instance of its own: a folder with a configuration derived from wrangler.toml, secrets that are generated
 * once and kept there, and the simulator's state.
 */
export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const folder = join(ROOT, ".penstock", options.name);
  mkdirSync(folder, { recursive: true });
  const secrets = keptSecrets(folder);
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  writeFileSync(join(folder, "wrangler.json"), JSON.stringify(configuration(secrets, url, options), null, 2));
  writeFileSync(join(folder, ".dev.vars"), devVars(secrets, options), { mode: 0o600 });

  const args = ["dev", "--config", join(folder, "wrangler.json"), "--ip", "127.0.0.1", "--port", String(port)];
  const quiet = [
    "--inspector-port",
    "0",
    "--show-interactive-dev-session=false",
    "--persist-to",
    join(folder, "state"),
  ];
  // The registry that instances share has them reload one another, and what is in their queues is lost.
  const alone = { WRANGLER_REGISTRY_PATH: join(folder, "registry") };
  const env = { ...process.env, ...alone, WRANGLER_SEND_METRICS: "false", CI: "true", NO_COLOR: "1" };
  const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js");
  const child = spawn(process.execPath, [wrangler, ...args, ...quiet], { cwd: ROOT, env, detached: true });
  let printed = "";
  const print = (chunk: Buffer) => {
    printed += chunk.toString();
    if (options.verbose === true) process.stderr.write(chunk);
  };
  child.stdout.on("data", print);
  child.stderr.on("data", print);
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  const kill = () => killGroup(child, "SIGKILL");
  process.once("exit", kill);
  exitOnSignals();
  const stop = async () => {
    process.off("exit", kill);
    killGroup(child, "SIGTERM");
    const tooLong = setTimeout(kill, 60_000);
    await ended;
    clearTimeout(tooLong);
  };
  await ready(child, () => printed).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return {
    url,
    tokens: secrets.tokens,
    logs: () => printed,
    async cron(at) {
      const answer = await fetch(`${url}/cdn-cgi/local/scheduled?cron=*+*+*+*+*&time=${at}`);
      if (!answer.ok) throw new Error(`The cron answered ${answer.status}: ${await answer.text()}`);
    },
    stop,
    async kill() {
      process.off("exit", kill);
      kill();
      await ended;
    },
    ended,
  };
}

/** wrangler.toml as it is, but for local names: where presigned URLs point to, and the local S3 endpoint's keys. */
function configuration(secrets: Secrets, url: string, options: InstanceOptions): unknown {
  const config = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8")) as {
    main: string;
    vars: Record<string, unknown>;
    r2_buckets: Record<string, unknown>[];
    secrets: { required: string[] };
  };
  const sourceSecrets = Object.keys(options.sources ?? {}).flatMap((name) => Object.values(secretNames(name)));
  const sources = Object.entries(options.sources ?? {}).map(([name, { endpoint, region, bucket }]) => [
    name,
    { endpoint, region, bucket, addressing: "path" },
  ]);
  return {
    ...config,
    main: join(ROOT, config.main),
    vars: {
      ...config.vars,
      R2_ENDPOINT: `${url}/cdn-cgi/local/r2/s3`,
      ...options.vars,
      SOURCES: Object.fromEntries(sources) as unknown,
    },
    // Locally only secrets that are listed here reach the Worker.
    secrets: { required: [...config.secrets.required, ...sourceSecrets] },
    r2_buckets: config.r2_buckets.map((bucket) => ({
      ...bucket,
      local_dev: { experimental_s3_credentials: secrets.r2 },
    })),
  };
}

function keptSecrets(folder: string): Secrets {
  const file = join(folder, "secrets.json");
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as Secrets;
  const secrets: Secrets = {
    masterKeys: `local:${randomBytes(32).toString("base64url")}`,
    tokens: { admin: newToken(), submit: newToken(), read: newToken() },
    r2: { accessKeyId: randomBytes(16).toString("hex"), secretAccessKey: randomBytes(32).toString("hex") },
  };
  writeFileSync(file, JSON.stringify(secrets, null, 2), { mode: 0o600 });
  return secrets;
}

const secretNames = (source: string) => {
  const base = `SOURCE_${source.toUpperCase().replaceAll("-", "_")}`;
  return { accessKeyId: `${base}_ACCESS_KEY_ID`, secretAccessKey: `${base}_SECRET_ACCESS_KEY` };
};

const newToken = () => `pst_${randomBytes(24).toString("base64url")}`;

function devVars(secrets: Secrets, { sources = {}, apiTokens = [] }: InstanceOptions): string {
  const byRole = Object.entries(secrets.tokens).map(([role, token]) => ({ token, role }));
  const tokens = [...byRole, ...apiTokens].map(({ token, ...rest }) => ({
    sha256: createHash("sha256").update(token).digest("hex"),
    ...rest,
  }));
  const vars: Record<string, string> = {
    MASTER_KEYS: secrets.masterKeys,
    API_TOKENS: JSON.stringify(tokens),
    R2_ACCESS_KEY_ID: secrets.r2.accessKeyId,
    R2_SECRET_ACCESS_KEY: secrets.r2.secretAccessKey,
  };
  for (const [name, source] of Object.entries(sources)) {
    const names = secretNames(name);
    vars[names.accessKeyId] = source.accessKeyId;
    vars[names.secretAccessKey] = source.secretAccessKey;
  }
  return Object.entries(vars)
    .map(([name, value]) => `${name}='${value}'\n`)
    .join("");
}

async function ready(child: ChildProcess, printed: () => string): Promise<void> {
  const until = Date.now() + STARTS_WITHIN_MS;
  while (!printed().includes("Ready on")) {
    if (child.exitCode !== null) throw new Error(`wrangler dev ended:\n${printed()}`);
    if (Date.now() > until) throw new Error(`wrangler dev did not start in time:\n${printed()}`);
    await sleep(50);
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
