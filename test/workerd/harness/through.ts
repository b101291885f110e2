import { env } from "cloudflare:workers";
import type { Dataset } from "../../../durable-objects/dataset/dataset.ts";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import type { DatasetConfig } from "../../../workers/core/manifest/dataset.ts";
import type { StoredRow } from "../../../workers/core/manifest/row.ts";
import type { ThroughMessage } from "../../../workers/core/migration/message.ts";
import { deliver } from "./delivery.ts";
import { must, registerDataset } from "./run.ts";
import type { Stored } from "./source.ts";
import { EVERYTHING } from "../../../workers/core/manifest/query.ts";

/** Registers a dataset that is read through to the source. */
export async function registerThrough(name: string, sourcePrefix = `${name}/`): Promise<void> {
  await registerDataset(name, sourcePrefix);
  await reconfigure(name, { read: "through" });
}

export async function reconfigure(name: string, changed: Partial<DatasetConfig>): Promise<void> {
  const dataset = datasetOf(env, name);
  must(await dataset.configure({ ...must(await dataset.config()), ...changed }));
}

/** What a reader's miss of this object sends. */
export const missOf = (dataset: string, key: string, { etag, bytes }: Stored): ThroughMessage => ({
  ...{ v: 1, type: "through", dataset, datasetId: `ds_${dataset}` },
  ...{ key, etag, size: bytes.length, lastModified: 0 },
});

/** Hands a miss to its consumer. */
export const deliverMiss = (body: ThroughMessage, seen: Env): Promise<"ack" | "retry"> =>
  deliver({ queue: "migration", body, deliveries: 0 }, seen);

/** The manifest's row of a key; undefined: it has none. */
export async function rowAt(dataset: string, key: string): Promise<StoredRow | undefined> {
  const { rows } = must(await datasetOf(env, dataset).query({ ...EVERYTHING, prefix: key }, null, 1));
  return rows.find((row) => row.key === key);
}

/** The Worker's environment in which something happens before each call of one method of Dataset objects. */
export function beforeDatasetCall(seen: Env, call: keyof Dataset, happens: () => Promise<void> | void): Env {
  const getByName = (name: string) =>
    new Proxy(env.DATASET.getByName(name), {
      get(target, property) {
        const method = Reflect.get(target, property) as (...args: unknown[]) => Promise<unknown>;
        if (property !== call) return method;
        return async (...args: unknown[]) => {
          await happens();
          return method(...args);
        };
      },
    });
  // Of a namespace the product calls getByName alone; the rest of its type is not made up here.
  return { ...seen, DATASET: { getByName } as unknown as DurableObjectNamespace<Dataset> };
}
