/** The load, in a thread of its own: Miniflare's reading of workerd's log does not hold it up. */
import { parentPort, workerData } from "node:worker_threads";
import { Connection, type DataRequest, prepared } from "./connection.ts";

/** What a thread is started with. */
export interface Load {
  readonly port: number;
  readonly root: string;
  readonly connections: number;
  readonly requests: readonly DataRequest[];
  /** Answers that are compared byte by byte: the first of each connection, and one in so many; null: none. */
  readonly compareOneIn: number | null;
  /** Seconds after which no further request is sent; null: all are. */
  readonly stopAfter: number | null;
}

export interface Loaded {
  /** Requests that were sent, all of them answered. */
  readonly requests: number;
  readonly seconds: number;
  readonly bytes: number;
  /** Milliseconds that half, and 99 in a hundred, of the requests took at most. */
  readonly p50: number;
  readonly p99: number;
}

parentPort?.postMessage(await run(workerData as Load), []);

async function run({ port, root, connections, requests, compareOneIn, stopAfter }: Load): Promise<Loaded> {
  const queue = requests.map((request) => prepared(request, root));
  const opened = await Promise.all(Array.from({ length: connections }, () => Connection.open(port)));
  const latencies = new Float64Array(queue.length);
  let next = 0;
  let sent = 0;
  let bytes = 0;
  let until = Number.POSITIVE_INFINITY;
  const work = async (connection: Connection): Promise<void> => {
    for (let first = true; ; first = false) {
      const index = next++;
      const ready = queue[index];
      const started = performance.now();
      if (ready === undefined || started > until) return;
      sent++;
      const length = await connection.get(ready, compareOneIn !== null && (first || index % compareOneIn === 0));
      bytes += length; // After the wait, not around it: others add to it meanwhile.
      latencies[index] = performance.now() - started;
    }
  };
  const started = performance.now();
  if (stopAfter !== null) until = started + stopAfter * 1000;
  await Promise.all(opened.map(work));
  const seconds = (performance.now() - started) / 1000;
  for (const connection of opened) connection.close();
  const sorted = latencies.subarray(0, sent).sort();
  const quantile = (share: number) => sorted[Math.min(sent - 1, Math.floor(sent * share))] ?? 0;
  return { requests: sent, seconds, bytes, p50: quantile(0.5), p99: quantile(0.99) };
}
