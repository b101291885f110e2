import { randomBytes } from "node:crypto";
import { request } from "node:http";
import type { V4WorkerOptions } from "miniflare";
import { CONNECTIONS_MAX } from "../../../workers/core/limits.ts";
import { type Client, createClient, type Migration } from "../../harness/client.ts";
import type { Bundle } from "../stage/bundle.ts";
import type { Counts } from "../stage/observing.ts";
import { madeUp, newToken, optionsOf, startSimulator, temporaryFolder } from "../stage/simulator.ts";
import { childNamed } from "../stage/usage.ts";
import { bundle } from "./bundle.ts";
import type { CopyOrder } from "./peers.ts";
import type { BenchSource } from "./source.ts";

const BUCKET = "penstock-datasets";
const SOURCE = "bench";
/** Each look at a migration is work for the process that is measured; when it ended is in the answer. */
const LOOK_MS = 250;
const MIGRATION_MAX_MS = 3_600_000;

/** The local S3 endpoint's address and keys, for a peer that speaks S3. */
export interface S3Endpoint {
  readonly endpoint: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Our Worker with its queues and Durable Objects, and the bare loop, on one bucket in one workerd. */
export interface Stage {
  /** workerd's process: both Workers, and the simulated R2, queues and Durable Objects are in it. */
  readonly pid: number;
  readonly s3: S3Endpoint;
  /** Registers a dataset of this name, of the source's keys below `name/`, kept below `prefix`. */
  register(dataset: string, name: string, prefix: string): Promise<void>;
  /** Runs a migration to its end. Seconds from the request until it was over, its rows in the manifest included. */
  migrate(dataset: string, via: "straight" | "proxy"): Promise<{ seconds: number; status: Migration }>;
  bareLoop(keys: readonly string[], prefix: string): Promise<{ seconds: number }>;
  empty(prefix: string): Promise<void>;
  /** Objects in the bucket behind this prefix. */
  count(prefix: string): Promise<number>;
  /** What was called since this was last asked; only where the stage is observed. */
  counts(): Promise<Counts>;
  stop(): Promise<void>;
}

export async function startStage(
  source: BenchSource,
  { observed = false }: { observed?: boolean } = {},
): Promise<Stage> {
  const { folder, remove } = temporaryFolder();
  const token = newToken();
  const s3Keys = { accessKeyId: randomBytes(16).toString("hex"), secretAccessKey: randomBytes(32).toString("hex") };
  const vars = {
    ...madeUp(token),
    SOURCES: { [SOURCE]: { ...addressOf(source), addressing: "path" } },
    [`SOURCE_${SOURCE.toUpperCase()}_ACCESS_KEY_ID`]: source.accessKeyId,
    [`SOURCE_${SOURCE.toUpperCase()}_SECRET_ACCESS_KEY`]: source.secretAccessKey,
  };
  const [ours, peers] = await Promise.all([
    bundle(observed ? "observed" : "penstock", folder, vars),
    bundle("peers", folder),
  ]);
  const direct = { unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }] };
  const miniflare = startSimulator(folder, [
    { ...ourWorker(ours, s3Keys), name: "penstock", ...direct },
    { ...optionsOf(peers), name: "peers", r2Buckets: { BUCKET }, ...direct },
  ]);
  const stop = async () => {
    await miniflare.dispose();
    remove();
  };
  try {
    const proxy = (await miniflare.ready).origin;
    const straight = (await miniflare.unsafeGetDirectURL("penstock")).origin;
    const beside = (await miniflare.unsafeGetDirectURL("peers")).origin;
    const clients = { straight: createClient(straight, token), proxy: createClient(proxy, token) };
    const address = { ...addressOf(source), accessKeyId: source.accessKeyId, secretAccessKey: source.secretAccessKey };
    return {
      pid: childNamed("workerd"),
      s3: { endpoint: `${proxy}/cdn-cgi/local/r2/s3`, bucket: BUCKET, ...s3Keys },
      async register(dataset, name, prefix) {
        const definition = { kind: "files", prefix, source: { name: SOURCE, prefix: `${name}/` } };
        await clients.straight.call("PUT", `/v1/datasets/${dataset}`, definition);
      },
      migrate: (dataset, via) => migrate(clients[via], dataset),
      async bareLoop(keys, prefix) {
        const begun = performance.now();
        const order: CopyOrder = { source: address, keys, prefix, connections: CONNECTIONS_MAX };
        await post(`${beside}/copy`, order);
        return { seconds: (performance.now() - begun) / 1000 };
      },
      empty: async (prefix) => void (await post(`${beside}/empty`, { prefix })),
      count: async (prefix) => (await post(`${beside}/count`, { prefix })) as number,
      counts: async () => (await (await fetch(`${straight}/__counts`)).json()) as Counts,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function migrate(client: Client, dataset: string): Promise<{ seconds: number; status: Migration }> {
  const begun = Date.now();
  const { id } = await client.call<{ id: string }>("POST", "/v1/migrations", { dataset });
  for (;;) {
    const status = await client.call<Migration & { finishedAt: string | null }>("GET", `/v1/migrations/${id}`);
    if (status.finishedAt !== null) {
      const { state, failed, problem } = status;
      if (state !== "done" || failed.objects > 0) {
        throw new Error(`The migration ended as ${state}: ${JSON.stringify({ problem, failures: status.failures })}`);
      }
      return { seconds: (Date.parse(status.finishedAt) - begun) / 1000, status };
    }
    if (Date.now() - begun > MIGRATION_MAX_MS) throw new Error(`It does not end: ${JSON.stringify(status)}`);
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
}

/** By node:http: `fetch` gives up where no answer has begun after five minutes, which four gibibytes may take. */
function post(url: string, body: unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "POST" }, (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk: string) => (text += chunk));
      answer.once("error", reject);
      answer.once("end", () => {
        if (answer.statusCode === 200) resolve(JSON.parse(text));
        else reject(new Error(`${url} was answered ${answer.statusCode}: ${text}`));
      });
    });
    sent.once("error", reject);
    sent.end(JSON.stringify(body));
  });
}

const addressOf = ({ endpoint, region, bucket }: BenchSource) => ({ endpoint, region, bucket });

/** With its consumers, as the configuration has them; the simulator has one of each at a time. */
function ourWorker(bundled: Bundle, s3: Pick<S3Endpoint, "accessKeyId" | "secretAccessKey">): V4WorkerOptions {
  const options = optionsOf(bundled);
  const buckets = Object.entries(options.r2Buckets as Record<string, { id: string }>);
  const r2Buckets = Object.fromEntries(buckets.map(([name, { id }]) => [name, { id, s3Credentials: s3 }]));
  return { ...options, r2Buckets };
}
