import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "smol-toml";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { runTool } from "../check/command.ts";
import { type Client, createClient } from "../harness/client.ts";
import { ROOT } from "../harness/instance.ts";
import type { Source } from "../harness/local-source.ts";
import { freePort } from "../harness/ports.ts";
import { killGroup } from "../harness/process-group.ts";

const PROGRAM = fileURLToPath(new URL("./runtime-process.ts", import.meta.url));
const STARTS_WITHIN_MS = 300_000;
const BUCKETS = { DATASETS: "penstock-datasets", SYSTEM: "penstock-system" };

/** What one Worker runs with. */
export interface RuntimeOptions {
  /** Names its folder under `.penstock/faults/`. */
  name: string;
  sources: Readonly<Record<string, Source>>;
  /** Variables that replace those of wrangler.toml. */
  vars: Readonly<Record<string, unknown>>;
}

/**
 * The Worker as it is deployed, in Miniflare itself: it starts in a second, where `wrangler dev` takes three, and can
 * be killed and started again on what it has stored. Queues are in memory, and are lost with it.
 *
 * Known differences: a queue hands over one batch after the other; the cron never ticks.
 */
export interface Runtime {
  url: string;
  admin: Client;
  /** What R2 and the Durable Objects have stored, and what the Worker has logged. */
  folder: string;
  /** The dataset bucket, at R2's own S3 endpoint. */
  bucket: Source;
  /** Starts it, from what was stored before. */
  start(): Promise<void>;
  /** SIGKILL to its process group, also while it is starting. */
  kill(): Promise<void>;
  /** A process is started ahead of time, in which the next `start` will be quicker. */
  prepare(): void;
}

export async function createRuntime({ name, sources, vars }: RuntimeOptions): Promise<Runtime> {
  const folder = join(ROOT, ".penstock/faults", name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const token = newSecret();
  const s3Credentials = {
    accessKeyId: randomBytes(16).toString("hex"),
    secretAccessKey: randomBytes(32).toString("hex"),
  };
  const worker = await workerOptions(folder, {
    ...vars,
    ...secretsOf(token, s3Credentials, sources),
    R2_ENDPOINT: `${url}/cdn-cgi/local/r2/s3`,
    SOURCES: Object.fromEntries(
      Object.entries(sources).map(([id, { endpoint, region, bucket }]) => [
        id,
        { endpoint, region, bucket, addressing: "path" },
      ]),
    ),
  });
  const r2Buckets = Object.fromEntries(
    Object.entries(BUCKETS).map(([binding, id]) => [binding, { id, s3Credentials }]),
  );
  const options = JSON.stringify({
    ...{ host: "127.0.0.1", port, cf: false },
    resourcePersistencePath: join(folder, "state"),
    logFile: join(folder, "worker.log"),
    workers: [{ ...worker, r2Buckets }],
  });

  let spare: ChildProcess | null = null;
  let running: ChildProcess | null = null;
  const prepare = () => {
    if (spare !== null) return;
    spare = spawn(process.execPath, [PROGRAM], { cwd: ROOT, detached: true, stdio: ["pipe", "pipe", "inherit"] });
    spare.stdin?.on("error", () => undefined); // It was killed before it could read its options.
  };
  const endBoth = () => {
    for (const child of [spare, running]) if (child !== null) killGroup(child, "SIGKILL");
  };
  process.once("exit", endBoth);
  return {
    url,
    admin: createClient(url, token),
    folder,
    bucket: { endpoint: `${url}/cdn-cgi/local/r2/s3`, region: "auto", bucket: BUCKETS.DATASETS, ...s3Credentials },
    prepare,
    async start() {
      prepare();
      const child = spare;
      if (child === null || running !== null) throw new Error(`The runtime "${name}" is running.`);
      spare = null;
      running = child;
      child.stdin?.write(`${options}\n`);
      await ready(child);
    },
    async kill() {
      for (const child of [running, spare]) if (child !== null) await killed(child);
      running = null;
      spare = null;
    },
  };
}

let bundled: Promise<string> | null = null;

/** What wrangler.toml says, as it would be started, and the Worker as it would be deployed, bundled once. */
async function workerOptions(folder: string, vars: Readonly<Record<string, unknown>>): Promise<object> {
  const configPath = join(folder, "wrangler.json");
  const whole = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8")) as Record<string, unknown>;
  const { secrets: _, main, vars: ownVars, ...rest } = whole;
  const config = { ...rest, main: join(ROOT, String(main)), vars: { ...(ownVars as object), ...vars } };
  writeFileSync(configPath, JSON.stringify(config), { mode: 0o600 });
  bundled ??= bundle(configPath, join(folder, "bundle"));
  const script = await bundled;
  const options: Record<string, unknown> = unstable_getMiniflareWorkerOptions(configPath).workerOptions;
  delete options["modulesRules"]; // They are for the bundler.
  return { ...options, name: "penstock", modules: true, script };
}

async function bundle(configPath: string, outdir: string): Promise<string> {
  const { ok, output } = await runTool("wrangler", ["deploy", "--dry-run", "--config", configPath, "--outdir", outdir]);
  if (!ok) throw new Error(`wrangler could not bundle the Worker:\n${output}`);
  return readFileSync(join(outdir, "index.js"), "utf8");
}

const newSecret = () => `pst_${randomBytes(24).toString("base64url")}`;

/** Secrets that protect nothing. */
function secretsOf(
  token: string,
  r2: { accessKeyId: string; secretAccessKey: string },
  sources: Readonly<Record<string, Source>>,
): Record<string, string> {
  const sha256 = createHash("sha256").update(token).digest("hex");
  const ofSources = Object.entries(sources).flatMap(([name, { accessKeyId, secretAccessKey }]) => {
    const base = `SOURCE_${name.toUpperCase().replaceAll("-", "_")}`;
    return [
      [`${base}_ACCESS_KEY_ID`, accessKeyId],
      [`${base}_SECRET_ACCESS_KEY`, secretAccessKey],
    ];
  });
  return {
    MASTER_KEYS: `faults:${randomBytes(32).toString("base64url")}`,
    API_TOKENS: JSON.stringify([{ sha256, role: "admin" }]),
    R2_ACCESS_KEY_ID: r2.accessKeyId,
    R2_SECRET_ACCESS_KEY: r2.secretAccessKey,
    ...(Object.fromEntries(ofSources) as Record<string, string>),
  };
}

/** Settles when the Worker answers, or when its process has ended: it was killed while it started. */
function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("The runtime did not start in time.")), STARTS_WITHIN_MS);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    child.once("exit", () => settle(resolve));
    child.stdout?.once("data", (chunk: Buffer) => {
      const said = chunk.toString().trim();
      settle(() => (said === "ready" ? resolve() : reject(new Error(said))));
    });
  });
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  if (child.exitCode !== null || child.signalCode !== null) return;
  killGroup(child, "SIGKILL");
  await ended;
}
