import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { Sealing } from "../../../durable-objects/dataset/sealing.ts";
import { Versions } from "../../../durable-objects/dataset/versions.ts";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import { createR2Store } from "../../../workers/adapters/r2-store.ts";
import type { DatasetConfig } from "../../../workers/core/manifest/dataset.ts";
import type { SealBody, VersionInfo } from "../../../workers/core/manifest/version.ts";
import { ok } from "../../../workers/core/result.ts";
import { must } from "./run.ts";

export type DatasetStub = ReturnType<typeof datasetOf>;

let datasets = 0;

/** A dataset of its own whose versions a test seals. */
export async function sealable(more: Partial<DatasetConfig> = {}) {
  const name = `sealed-${++datasets}`;
  const id = `ds_${name}`;
  const stub = datasetOf(env, name);
  must(
    await stub.configure({
      ...{ id, name, kind: "files", bucket: "DATASETS", prefix: `${name}/`, read: "r2" },
      ...{ schedule: null, liveTtlSeconds: 10, createdAt: "", updatedAt: "", ...more },
    }),
  );
  const begin = async (body: Partial<SealBody> = {}) => must(await stub.seal(id, { note: "", aliases: [], ...body }));
  /** Rings the alarm until it is sealed. */
  const finish = async (number: number): Promise<VersionInfo> => {
    for (;;) {
      const { info } = must(await stub.version({ kind: "number", number }));
      if (info.state !== "sealing") return info;
      await runDurableObjectAlarm(stub);
    }
  };
  const seal = async (body: Partial<SealBody> = {}) => finish((await begin(body)).version.number);
  return { id, name, stub, begin, finish, seal };
}

/** Seals with files of few rows, and does `between` before each step; returns the version's number. */
export async function sealInSteps(stub: DatasetStub, id: string, between: () => Promise<void>): Promise<number> {
  const number = await runInDurableObject(stub, async (object, { storage }) => {
    const { version } = must(await object.seal(id, { note: "", aliases: [] }));
    await storage.deleteAlarm(); // The steps are made here.
    return version.number;
  });
  for (let isDone = false; !isDone;) {
    await between();
    isDone = await runInDurableObject(stub, async (object, { storage }) => {
      const config = must(await object.config());
      const stores = () => ok({ system: createR2Store(env.SYSTEM), data: createR2Store(env.DATASETS) });
      const sizes = { fileRows: 40, groupRows: 7 };
      const sealing = new Sealing(new Versions(storage.sql), storage, () => config, stores, sizes);
      await sealing.run();
      return sealing.dueAt() === null;
    });
  }
  return number;
}
