import type { TestProject } from "vitest/node";
import { bucketOf } from "./bucket-of.ts";
import { seedOf } from "./chance.ts";
import { startFaultProxy } from "./fault-proxy.ts";
import { startLocalSource } from "./local-source.ts";

/**
 * A real S3 endpoint for the tests that run inside workerd, with a bucket for each file, and the same behind a proxy
 * that makes faults; they read where it is by `ownSource()` and `inject("faults")`, and what their dice follow from by
 * `inject("seed")`.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { testFiles } = await project.globTestFiles();
  const { stop, ...source } = await startLocalSource(testFiles.map(bucketOf));
  const proxy = await startFaultProxy(source);
  project.provide("source", source);
  project.provide("faults", proxy.url);
  project.provide("seed", seedOf(process.env["PENSTOCK_SEED"]));
  return async () => {
    await proxy.stop();
    await stop();
  };
}
