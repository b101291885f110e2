import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  convertV4MiniflareOptions,
  Log,
  LogLevel,
  Miniflare,
  type V4WorkerOptions,
  type V4WorkerOptionsShape,
} from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import type { Bundle } from "./bundle.ts";

/** A folder that goes with this process at the latest. */
export function temporaryFolder(): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "penstock-bench-"));
  const clear = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", clear);
  return {
    folder,
    remove() {
      process.off("exit", clear);
      clear();
    },
  };
}

/** Starts workerd with these Workers, each at a port of its own with no proxy before it where it says so. */
export const startSimulator = (folder: string, workers: V4WorkerOptions[]): Miniflare =>
  new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      log: new Log(LogLevel.NONE),
      // Lines of our log are read and dropped; what went wrong is shown.
      handleStructuredLogs: ({ level, message }) => {
        if (level === "error" || level === "warn") process.stderr.write(`workerd: ${message}\n`);
      },
      resourcePersistencePath: join(folder, "state"),
      workers,
    }),
  );

/** What the configuration says, as it would be started, but for the tick. */
export function optionsOf({ configPath, script }: Bundle): V4WorkerOptions {
  const { cronTriggers: _, ...options }: V4WorkerOptionsShape =
    unstable_getMiniflareWorkerOptions(configPath).workerOptions;
  delete options["modulesRules"]; // They are for the bundler.
  return { ...options, modules: true, script };
}

/** The same with nothing that works by itself: no consumers either. */
export function optionsWithoutConsumers(bundle: Bundle): V4WorkerOptions {
  const { queueConsumers: _, ...options } = optionsOf(bundle);
  return options;
}

export const newToken = (): string => `pst_${randomBytes(24).toString("base64url")}`;

/** Secrets that protect nothing; the token is an admin's. */
export const madeUp = (token: string): Record<string, string> => ({
  MASTER_KEYS: `bench:${randomBytes(32).toString("base64url")}`,
  API_TOKENS: JSON.stringify([{ sha256: createHash("sha256").update(token).digest("hex"), role: "admin" }]),
  R2_ENDPOINT: "https://r2.penstock.invalid",
  R2_ACCESS_KEY_ID: "bench-access-key",
  R2_SECRET_ACCESS_KEY: "bench-secret-key",
});
