/** Runs a migration of each scene at once, and looks at what came of it. */
import type { Checks } from "../harness/checks.ts";
import { followMigration, type Migration } from "../harness/client.ts";
import { randomFrom } from "../harness/chance.ts";
import { type FaultProxy, startFaultProxy } from "../harness/fault-proxy.ts";
import type { Source } from "../harness/local-source.ts";
import { fill, PART_BYTES, remove } from "./objects.ts";
import { createRuntime, type Runtime } from "./runtime.ts";
import type { Scene, SourceFault } from "./source-faults.ts";
import { verifyCounts, verifyLeftovers, verifyObjects } from "./verify.ts";

/** The default's 1,200 s are a quarter of an hour too many here; it is above what a message takes, but for stalls. */
const SILENCE_SECONDS = 90;
const ENDS_WITHIN_MS = 900_000;

interface Staged {
  fault: SourceFault;
  scene: Scene;
  proxy: FaultProxy;
}

/** Migrations that are under way. */
export interface Meeting {
  /** Waits for their ends, and checks each. */
  verify(checks: Checks): Promise<void>;
  stop(): Promise<void>;
}

/** Fills the source for these faults, and starts a migration of each in one Worker. */
export async function meet(
  name: string,
  faults: readonly SourceFault[],
  source: Source,
  seed: number,
): Promise<Meeting> {
  const staged = await Promise.all(faults.map((fault, i) => stage(fault, source, seed + i)));
  const runtime = await createRuntime({
    name,
    sources: Object.fromEntries(
      staged.map(({ fault, proxy }) => [
        fault.name,
        { ...source, endpoint: `${proxy.url}/${fault.alone === true ? "plain" : "pages-of-20"}` },
      ]),
    ),
    vars: { SILENCE_SECONDS, PART_BYTES, MULTIPART_THRESHOLD_BYTES: PART_BYTES },
  });
  const stop = async () => {
    await runtime.kill();
    for (const { proxy } of staged) await proxy.stop();
  };
  await runtime.start();
  const runs = staged.map(({ fault }) => {
    const run = migrate(runtime, fault.name);
    run.catch(() => undefined); // It is awaited later.
    return run;
  });
  return {
    async verify(checks) {
      for (const [i, { fault, scene }] of staged.entries()) {
        await checks.section(`${fault.name}: ${fault.what}`, async () => {
          const status = await runs[i];
          if (status === undefined) throw new Error("There is no such run.");
          const owed = { dataset: fault.name, prefix: `${fault.name}/`, ...scene };
          verifyCounts(checks, "the run", status, owed);
          await verifyObjects(checks, runtime, owed);
          scene.check?.(checks);
        });
      }
      await checks.section(`${name}: what is left behind`, async () => {
        await runtime.kill();
        verifyLeftovers(checks, runtime, 0);
      });
    },
    stop,
  };
}

async function stage(fault: SourceFault, source: Source, seed: number): Promise<Staged> {
  const prefix = `${fault.name}/`;
  const scene = await fault.set({
    chance: randomFrom(seed),
    put: (objects) => fill(source, prefix, objects),
    remove: (key) => remove(source, prefix + key),
  });
  return { fault, scene, proxy: await startFaultProxy(source, scene.weather) };
}

async function migrate({ admin }: Runtime, name: string): Promise<Migration> {
  const place = { kind: "files", prefix: `${name}/`, source: { name, prefix: `${name}/` } };
  await admin.call("PUT", `/v1/datasets/${name}`, place);
  const { id } = await admin.call<Migration>("POST", "/v1/migrations", { dataset: name });
  return followMigration(admin, id, { timeoutMs: ENDS_WITHIN_MS });
}
