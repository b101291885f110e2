import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  convertV4MiniflareOptions,
  Log,
  LogLevel,
  Miniflare,
  type V4WorkerOptions,
  type V4WorkerOptionsShape,
} from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import { createClient } from "../../harness/client.ts";
import { type Bundle, bundle } from "./bundle.ts";
import { contentOf } from "./content.ts";
import type { Operations } from "./counting.ts";
import { childNamed } from "./usage.ts";

const DATASET = "bench";
const PREFIX = "bench/";
const BUCKET = "penstock-datasets";
/** Puts at once: each is held in memory here. */
const PUTS = 4;

/** Someone who answers reads: a key is appended to `root`, which is a path at this port of 127.0.0.1. */
export interface Server {
  readonly name: string;
  readonly port: number;
  readonly root: string;
  /** Whether its bytes are the objects', and not made up. */
  readonly holdsObjects: boolean;
  /** Whether it is ours, and its R2 operations are counted. */
  readonly counted: boolean;
}

export interface StoredObject {
  readonly key: string;
  readonly size: number;
}

/** Our Worker and its peers on one bucket in one workerd, each at a port of its own with no proxy before it. */
export interface Stage {
  /** `penstock` as it is deployed, `penstock-no-memory` without isolate memory, and the peers. */
  readonly servers: Readonly<Record<"penstock" | "penstock-no-memory" | "bare-get" | "constant", Server>>;
  /** workerd's process: all Workers, the simulated R2 and the cache are in it. */
  readonly pid: number;
  put(objects: readonly StoredObject[]): Promise<void>;
  delete(objects: readonly StoredObject[]): Promise<void>;
  /** R2 operations of one of our two instances since they were last asked for. */
  operations(server: Server): Promise<Operations>;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), "penstock-bench-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const token = `pst_${randomBytes(24).toString("base64url")}`;
  const [ours, peers] = await Promise.all([bundle("penstock", folder, madeUp(token)), bundle("peers", folder)]);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      log: new Log(LogLevel.NONE),
      // Lines of our log are read and dropped; what went wrong is shown.
      handleStructuredLogs: ({ level, message }) => {
        if (level === "error" || level === "warn") process.stderr.write(`workerd: ${message}\n`);
      },
      resourcePersistencePath: join(folder, "state"),
      workers: [
        ourWorker("penstock", ours, {}),
        ourWorker("penstock-no-memory", ours, { BLOCK_MEMORY_BYTES: "0" }),
        peer("bare-get", "bareGet", peers),
        peer("constant", "constant", peers),
      ],
    }),
  );
  const portOf = async (name: string, entrypoint?: string) =>
    Number((await miniflare.unsafeGetDirectURL(name, entrypoint)).port);
  const stop = () => miniflare.dispose();
  try {
    await miniflare.ready;
    const penstock = await opened("penstock", await portOf("penstock"), token);
    const noMemory = await opened("penstock-no-memory", await portOf("penstock-no-memory"), token);
    const bareGet = {
      port: await portOf("bare-get", "bareGet"),
      root: `/${PREFIX}`,
      holdsObjects: true,
      counted: false,
    };
    const constant = { port: await portOf("constant", "constant"), root: "/", holdsObjects: false, counted: false };
    return {
      servers: {
        penstock,
        "penstock-no-memory": noMemory,
        "bare-get": { name: "bare-get", ...bareGet },
        constant: { name: "constant", ...constant },
      },
      pid: childNamed("workerd"),
      put: (objects) => each(objects, (o) => store(penstock, o.key, { method: "PUT", body: contentOf(o.key, o.size) })),
      delete: (objects) => each(objects, (o) => store(penstock, o.key, { method: "DELETE" })),
      operations: async ({ port }) =>
        (await (await fetch(`http://127.0.0.1:${port}/__operations`)).json()) as Operations,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Straight into the bucket, past the Worker's own code. */
async function store({ port }: Server, key: string, init: RequestInit): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/__objects/${PREFIX}${key}`, init);
  if (!answer.ok) throw new Error(`${key} was answered ${answer.status}: ${await answer.text()}`);
}

async function each(objects: readonly StoredObject[], work: (object: StoredObject) => Promise<void>): Promise<void> {
  const queue = [...objects];
  const take = async () => {
    for (let object = queue.shift(); object !== undefined; object = queue.shift()) await work(object);
  };
  await Promise.all(Array.from({ length: PUTS }, take));
}

/** Secrets that protect nothing. */
const madeUp = (token: string): Record<string, string> => ({
  MASTER_KEYS: `bench:${randomBytes(32).toString("base64url")}`,
  API_TOKENS: JSON.stringify([{ sha256: createHash("sha256").update(token).digest("hex"), role: "admin" }]),
  R2_ENDPOINT: "https://r2.penstock.invalid",
  R2_ACCESS_KEY_ID: "bench-access-key",
  R2_SECRET_ACCESS_KEY: "bench-secret-key",
});

function ourWorker(name: string, bundled: Bundle, vars: Record<string, string>): V4WorkerOptions {
  const options = optionsOf(bundled);
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0 }];
  return { ...options, name, bindings: { ...options.bindings, ...vars }, unsafeDirectSockets };
}

function peer(name: string, entrypoint: string, bundled: Bundle): V4WorkerOptions {
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0, entrypoint }];
  return { ...optionsOf(bundled), name, r2Buckets: { BUCKET }, unsafeDirectSockets };
}

/** What the configuration says, as it would be started, but with nothing that works by itself: no consumers, no tick. */
function optionsOf({ configPath, script }: Bundle): V4WorkerOptions {
  const {
    queueConsumers: _,
    cronTriggers: __,
    ...options
  }: V4WorkerOptionsShape = unstable_getMiniflareWorkerOptions(configPath).workerOptions;
  delete options["modulesRules"]; // They are for the bundler.
  return { ...options, modules: true, script };
}

/**
 * Registers the dataset with one of our instances, and mints the capability that its root carries. What is known of an
 * object holds for an hour: no round outlives it.
 */
async function opened(name: string, port: number, token: string): Promise<Server> {
  const client = createClient(`http://127.0.0.1:${port}`, token);
  await client.call("PUT", `/v1/datasets/${DATASET}`, { kind: "files", prefix: PREFIX, liveTtlSeconds: 3600 });
  const { rootUrl } = await client.call<{ rootUrl: string }>("POST", `/v1/datasets/${DATASET}/capabilities`, {
    prefixes: [""],
  });
  return { name, port, root: new URL(rootUrl).pathname, holdsObjects: true, counted: true };
}
