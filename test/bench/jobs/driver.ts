/**
 * One job's object, asked from inside workerd: many requests an order, with no HTTP before them. Timers stand still while it
 * computes: whoever asks has the clock. The types are structural, for this folder is checked with Node's.
 */
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import type { Ack, AckAnswer, LeaseAnswer } from "../../../workers/core/jobs/lease.ts";
import type { Result } from "../../../workers/core/result.ts";

/** What is asked of `POST /__drive/<operation>`. */
export interface Orders {
  create: JobSpec;
  /** Each of so many nodes leases `units`, and acknowledges all of them where it `acks`; `round` names the requests. */
  lease: { id: string; nodes: number; units: number; round: number; acks: boolean };
  /** One heartbeat of each node, `times` over: what a request costs that changes one row. */
  heartbeat: { id: string; nodes: number; times: number };
  /** Bytes of the object's database. */
  size: { id: string };
}

interface Job {
  create(spec: JobSpec): Promise<Result<unknown>>;
  lease(node: string, asked: { request: string; count: number; epoch: null }): Promise<Result<LeaseAnswer>>;
  ack(node: string, acks: readonly Ack[]): Promise<Result<AckAnswer>>;
  heartbeat(node: string): Promise<Result<unknown>>;
  databaseSize(): Promise<number>;
}
interface Bindings {
  GPU_JOB: { getByName(name: string): Job };
}
interface Handlers {
  fetch(request: Request, env: Bindings, context: unknown): Response | Promise<Response>;
}

const PATH = "/__drive/";
/** Requests that wait for the object at once, as those of many nodes do. */
const AT_ONCE = 50;

/** Wraps a Worker: it takes orders beside its own routes. Each is answered with a number: units, requests or bytes. */
export function driven<W extends Handlers>(worker: W): W {
  const operations: { [Name in keyof Orders]: (order: Orders[Name], env: Bindings) => Promise<number> } = {
    async create(spec, env) {
      value(await env.GPU_JOB.getByName(spec.id).create(spec));
      return spec.unitList.count;
    },
    async lease({ id, nodes, units, round, acks }, env) {
      const job = env.GPU_JOB.getByName(id);
      let handed = 0;
      await eachNode(nodes, async (node) => {
        const { leases } = value(await job.lease(node, { request: `r${round}`, count: units, epoch: null }));
        handed += leases.length;
        if (!acks || leases.length === 0) return;
        const done = leases.map(({ lease }): Ack => ({ lease, outcome: "done", bytes: 1 }));
        value(await job.ack(node, done));
      });
      return handed;
    },
    async heartbeat({ id, nodes, times }, env) {
      const job = env.GPU_JOB.getByName(id);
      for (let time = 0; time < times; time++) {
        await eachNode(nodes, async (node) => void value(await job.heartbeat(node)));
      }
      return nodes * times;
    },
    size: ({ id }, env) => env.GPU_JOB.getByName(id).databaseSize(),
  };
  const run = operations as Record<string, (order: unknown, env: Bindings) => Promise<number>>;
  return {
    ...worker,
    async fetch(request: Request, env: Bindings, context: unknown): Promise<Response> {
      const { pathname } = new URL(request.url);
      const operation = pathname.startsWith(PATH) ? run[pathname.slice(PATH.length)] : undefined;
      if (operation === undefined) return worker.fetch(request, env, context);
      return Response.json(await operation(await request.json(), env));
    },
  };
}

interface Sized {
  readonly ctx: { storage: { sql: { databaseSize: number } } };
}

/** A Durable Object that tells the bytes of its database. */
export function sized<C extends new (...given: never[]) => object>(base: C): C {
  const { prototype } = base as unknown as { prototype: object };
  Object.defineProperty(prototype, "databaseSize", {
    value(this: Sized) {
      return this.ctx.storage.sql.databaseSize;
    },
  });
  return base;
}

async function eachNode(nodes: number, work: (node: string) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < nodes) await work(`node-${next++}`);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function value<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.failure));
  return result.value;
}
