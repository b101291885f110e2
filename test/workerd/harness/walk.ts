import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import type { ReconcileMessage } from "../../../workers/core/manifest/reconcile.ts";
import { handOver } from "./notify.ts";

export interface KeptWalk {
  walk: string;
  state: string;
  step: number;
  sends: number;
  due_at: number | null;
}

/** The walk as its Dataset keeps it. */
export const walkOf = (name: string): Promise<KeptWalk> =>
  runInDurableObject(datasetOf(env, name), (_, { storage }) =>
    storage.sql
      .exec<Record<string, SqlStorageValue> & KeptWalk>("SELECT walk, state, step, sends, due_at FROM walk")
      .one(),
  );

/** The message that the Dataset has sent last. */
export async function stepOf(name: string): Promise<ReconcileMessage> {
  const { walk, step } = await walkOf(name);
  return { v: 1, type: "reconcile", dataset: name, datasetId: `ds_${name}`, walk, step };
}

/** Hands over each step until the walk has ended; returns how many there were. */
export async function carryWalk(name: string, seen: Env = env): Promise<number> {
  for (let steps = 0; steps < 50; steps++) {
    if ((await walkOf(name)).state !== "running") return steps;
    await handOver([await stepOf(name)], seen);
  }
  throw new Error("The walk does not end.");
}

/** So many seconds pass for the walk, and the alarm rings. */
export async function passWalkTime(name: string, seconds: number): Promise<void> {
  await runInDurableObject(datasetOf(env, name), (_, { storage }) => {
    storage.sql.exec("UPDATE walk SET due_at = due_at - ?", seconds * 1000);
    return storage.setAlarm(Date.now() + 60_000);
  });
  await runDurableObjectAlarm(datasetOf(env, name));
}

/** R2 whose listings come in pages of so many keys. */
export function pagesOf(limit: number): Env {
  const bucket = new Proxy(env.DATASETS, {
    get(target, property) {
      if (property === "list") return (options: R2ListOptions) => target.list({ ...options, limit });
      const value: unknown = Reflect.get(target, property);
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
  return { ...env, DATASETS: bucket };
}
