import { fileURLToPath } from "node:url";
import { jobBodySchema } from "../../../workers/core/jobs/request.ts";
import type { JobSpec } from "../../../workers/core/jobs/job.ts";
import { bundleEntry, INDEX, quoted } from "../stage/bundle.ts";
import { madeUp, newToken, optionsWithoutConsumers, startSimulator, temporaryFolder } from "../stage/simulator.ts";
import { childNamed } from "../stage/usage.ts";
import type { Orders } from "./driver.ts";

const DRIVER = fileURLToPath(new URL("./driver.ts", import.meta.url));

/** The program in one workerd with no proxy before it, whose jobs take orders. */
export interface Stage {
  readonly pid: number;
  drive<Name extends keyof Orders>(operation: Name, order: Orders[Name]): Promise<number>;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const { folder, remove } = temporaryFolder();
  // What is exported by name goes before what is exported with all.
  const text = [
    `import * as program from ${quoted(INDEX)};`,
    `import { driven, sized } from ${quoted(DRIVER)};`,
    `export * from ${quoted(INDEX)};`,
    "export const GpuJob = sized(program.GpuJob);",
    "export default driven(program.default);\n",
  ].join("\n");
  const bundled = await bundleEntry({ name: "driven", text, vars: madeUp(newToken()) }, folder);
  const unsafeDirectSockets = [{ host: "127.0.0.1", port: 0 }];
  const worker = { ...optionsWithoutConsumers(bundled), name: "penstock", unsafeDirectSockets };
  const miniflare = startSimulator(folder, [worker]);
  const stop = async () => {
    await miniflare.dispose();
    remove();
  };
  try {
    await miniflare.ready;
    const { origin } = await miniflare.unsafeGetDirectURL("penstock");
    return {
      pid: childNamed("workerd"),
      async drive(operation, order) {
        const answer = await fetch(`${origin}/__drive/${operation}`, { method: "POST", body: JSON.stringify(order) });
        if (!answer.ok) throw new Error(`${operation} was answered ${answer.status}: ${await answer.text()}`);
        return (await answer.json()) as number;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A job of so many units, as the gateway makes them; its list of units is nobody's business here. */
export function jobOf(id: string, count: number): JobSpec {
  const { lostAfterSeconds: _, ...body } = jobBodySchema.parse({
    ...{ name: "bench", dataset: "era5@1", input: { prefixes: ["t2m/"] }, units: { leaseSeconds: 86_400 } },
    ...{ heartbeatTimeoutSeconds: 86_400 },
  });
  const now = Date.now();
  return {
    ...body,
    ...{ id, datasetName: "era5", datasetId: "ds_1", version: "1", bucket: "DATASETS", prefix: "era5/" },
    ...{ lostAfterSeconds: 86_400, unitList: { count, bytes: count, digest: "0".repeat(64) } },
    ...{ createdAt: now, expiresAt: now + 86_400_000 },
  };
}
