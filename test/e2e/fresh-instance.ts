import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Instance, type InstanceOptions, ROOT, startInstance } from "../harness/instance.ts";

/** The secrets that the harness made up for an instance. */
export interface InstanceSecrets {
  masterKeys: string;
  r2: { accessKeyId: string; secretAccessKey: string };
}

/** An instance that remembers nothing of the run before. */
export async function startFreshInstance(options: InstanceOptions): Promise<Instance & { secrets: InstanceSecrets }> {
  const folder = join(ROOT, ".penstock", options.name);
  rmSync(join(folder, "state"), { recursive: true, force: true });
  const instance = await startInstance(options);
  const secrets = JSON.parse(readFileSync(join(folder, "secrets.json"), "utf8")) as InstanceSecrets;
  return { ...instance, secrets };
}
