import { Worker } from "node:worker_threads";
import type { DataRequest } from "./connection.ts";
import type { Load, Loaded } from "./load-thread.ts";
import type { Server } from "./stage.ts";

const COMPARE_ONE_IN = 64;

/**
 * Reads the requests from a server over so many connections: all of them, or as many as can be sent in `stopAfter`
 * seconds. Rejects at the first answer that is not right.
 */
export function load(
  server: Server,
  requests: readonly DataRequest[],
  connections: number,
  stopAfter: number | null = null,
): Promise<Loaded> {
  const { port, root, holdsObjects } = server;
  const compareOneIn = holdsObjects ? COMPARE_ONE_IN : null;
  const workerData: Load = { port, root, connections, requests, compareOneIn, stopAfter };
  const thread = new Worker(new URL("./load-thread.ts", import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    thread.once("message", resolve);
    thread.once("error", (error) => reject(new Error(`${server.name}: ${String(error)}`, { cause: error })));
    thread.once("exit", () => reject(new Error(`${server.name}: the load ended without a result.`)));
  });
}
