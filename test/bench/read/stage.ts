import type { V4WorkerOptions } from "miniflare";
import { createClient } from "../../harness/client.ts";
import type { Bundle } from "../stage/bundle.ts";
import { madeUp, newToken, optionsWithoutConsumers, startSimulator, temporaryFolder } from "../stage/simulator.ts";
import { childNamed } from "../stage/usage.ts";
import { bundle } from "./bundle.ts";
import { contentOf } from "./content.ts";
import type { Operations } from "./counting.ts";

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
  const { folder, remove } = temporaryFolder();
  const token = newToken();
  const [ours, peers] = await Promise.all([bundle("penstock", folder, madeUp(token)), bundle("peers", folder)]);
  const miniflare = startSimulator(folder, [
    ourWorker("penstock", ours, {}),
    ourWorker("penstock-no-memory", ours, { BLOCK_MEMORY_BYTES: "0" }),
    peer("bare-get", "bareGet", peers),
    peer("constant", "constant", peers),
  ]);
  const portOf = async (name: string, entrypoint?: string) =>
    Number((await miniflare.unsafeGetDirectURL(name, entrypoint)).port);
  const stop = async () => {
    await miniflare.dispose();
    remove();
  };
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

function ourWorker(name: string, bundled: Bundle, vars: Record<string, string>): V4WorkerOptions {
  const options = optionsWithoutConsumers(bundled);
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0 }];
  return { ...options, name, bindings: { ...options.bindings, ...vars }, unsafeDirectSockets };
}

function peer(name: string, entrypoint: string, bundled: Bundle): V4WorkerOptions {
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0, entrypoint }];
  return { ...optionsWithoutConsumers(bundled), name, r2Buckets: { BUCKET }, unsafeDirectSockets };
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
