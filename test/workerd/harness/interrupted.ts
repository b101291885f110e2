import { env } from "cloudflare:workers";
import type { Migration } from "../../../durable-objects/migration/migration.ts";

/** The calls by which consumers record what they did. */
export type Recording = "recordPage" | "settleBatch" | "openUpload" | "settlePart" | "settleUpload" | "failRun";

/**
 * The Worker's environment in which one call to the Migration object is preceded or followed by something else: a
 * consumer that is killed there throws.
 */
export function around(
  seen: Env,
  call: Recording,
  what: { before?: () => Promise<void> | void; after?: () => Promise<void> | void },
): Env {
  const namespace = {
    getByName(name: string) {
      const stub = env.MIGRATION.getByName(name);
      return new Proxy(stub, {
        get(target, property) {
          const method = Reflect.get(target, property) as (...args: unknown[]) => Promise<unknown>;
          if (property !== call) return method;
          return async (...args: unknown[]) => {
            await what.before?.();
            const answer = await method(...args);
            await what.after?.();
            return answer;
          };
        },
      });
    },
  };
  // Of a namespace the product calls getByName alone; the rest of its type is not made up here.
  return { ...seen, MIGRATION: namespace as unknown as DurableObjectNamespace<Migration> };
}

class Killed extends Error {}

export const kill = (): never => {
  throw new Killed("The consumer was killed here.");
};
