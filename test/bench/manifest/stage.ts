import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "../../harness/instance.ts";
import { type Client, createClient } from "../../harness/client.ts";
import { bundleEntry, observedText, quoted } from "../stage/bundle.ts";
import type { Counts } from "../stage/observing.ts";
import { madeUp, newToken, optionsWithoutConsumers, startSimulator, temporaryFolder } from "../stage/simulator.ts";
import { childNamed } from "../stage/usage.ts";
import type { Answers, Orders } from "./driver.ts";

const DRIVER = fileURLToPath(new URL("./driver.ts", import.meta.url));
const SEALED = join(ROOT, "workers/adapters/sealed-versions.ts");

/** Our Worker with its Durable Objects and the simulated R2, in one workerd with no proxy before it. */
export interface Stage {
  readonly pid: number;
  readonly client: Client;
  /** Asks without reading JSON; returns the bytes of the body. */
  get(path: string): Promise<number>;
  drive<Name extends keyof Orders>(operation: Name, order: Orders[Name]): Promise<Answers[Name]>;
  /** What was called since this was last asked. */
  counts(): Promise<Counts>;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const { folder, remove } = temporaryFolder();
  const token = newToken();
  const text = observedText("driven(program.default, findSealed)", [
    `import { driven } from ${quoted(DRIVER)};`,
    `import { findSealed } from ${quoted(SEALED)};`,
  ]);
  const bundled = await bundleEntry({ name: "driven", text, vars: madeUp(token) }, folder);
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
    const ask = async (path: string, init: RequestInit = {}): Promise<Response> => {
      const answer = await fetch(`${origin}${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });
      if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`);
      return answer;
    };
    return {
      pid: childNamed("workerd"),
      client: createClient(origin, token),
      get: async (path) => (await (await ask(path)).arrayBuffer()).byteLength,
      async drive<Name extends keyof Orders>(operation: Name, order: Orders[Name]) {
        const answer = await ask(`/__drive/${operation}`, { method: "POST", body: JSON.stringify(order) });
        return (await answer.json()) as Answers[Name];
      },
      counts: async () => (await (await ask("/__counts")).json()) as Counts,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
