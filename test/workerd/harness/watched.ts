import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { vi } from "vitest";
import { configOf } from "../../../workers/adapters/config.ts";
import { tokensOf } from "../../../workers/adapters/tokens.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import type { WatchSummary } from "../../../durable-objects/gpu-job/summary.ts";
import { Nodes } from "../../../durable-objects/gpu-job/nodes.ts";
import { request } from "./api.ts";
import { jobSpec, stubOf } from "./job.ts";
import { must } from "./run.ts";

/** A job, and its object. */
export async function watchedJob(more: Partial<JobSpec> = {}) {
  const spec = jobSpec(more);
  const job = stubOf(spec);
  must(await job.create(spec));
  return { id: spec.id, job, spec };
}
export type WatchedJob = Awaited<ReturnType<typeof watchedJob>>["job"];

/** Lets time pass, for the object's rules; alarms are run by the test. */
export const pass = (ms: number) => void vi.setSystemTime(Date.now() + ms);

/** The token that the nodes of a job hold. */
export async function tokenOf({ id, datasetId }: JobSpec): Promise<string> {
  const config = configOf(env);
  const seconds = Math.floor(Date.now() / 1000);
  const times = { nbf: seconds, exp: seconds + 86_400, jti: crypto.randomUUID() };
  return tokensOf(env, must(config)).mintJobToken({ job: id, ds: datasetId, ...times });
}

/** A node acknowledges units. */
export const credit = (job: WatchedJob, node: string, done: number, bytes: number, busyMs: number) =>
  runInDurableObject(job, (_, { storage }) => new Nodes(storage.sql).credit(node, done, bytes, busyMs));

export const alarmOf = (job: WatchedJob) => runInDurableObject(job, (_, { storage }) => storage.getAlarm());

/** A WebSocket that watches; what it was told, in order, and how it was closed. */
export interface Watcher {
  socket: WebSocket;
  /** The next message, when there is one. */
  next(): Promise<WatchSummary>;
  /** What came and was not asked for yet. */
  readonly waiting: readonly string[];
  closed: Promise<{ code: number; reason: string }>;
}

export async function watch(seen: Env, id: string, token: string): Promise<Watcher> {
  const response = await request(seen, `GET /v1/jobs/${id}/events`, undefined, token, { upgrade: "websocket" });
  const socket = response.webSocket;
  if (response.status !== 101 || socket === null) throw new Error(`${response.status}: ${await response.text()}`);
  const waiting: string[] = [];
  let wake: () => void = () => undefined;
  const closing = Promise.withResolvers<{ code: number; reason: string }>();
  socket.addEventListener("message", ({ data }) => {
    waiting.push(String(data));
    wake();
  });
  socket.addEventListener("close", ({ code, reason }) => closing.resolve({ code, reason }));
  socket.accept();
  return {
    socket,
    waiting,
    closed: closing.promise,
    async next() {
      while (waiting.length === 0) await new Promise<void>((arrived) => (wake = arrived));
      return JSON.parse(waiting.shift() ?? "") as WatchSummary;
    },
  };
}
