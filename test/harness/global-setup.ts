import type { TestProject } from "vitest/node";
import { startLocalSource } from "./local-source.ts";

/** A real S3 endpoint for the tests that run inside workerd; they read where it is by `inject("source")`. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { stop, ...source } = await startLocalSource();
  project.provide("source", source);
  return stop;
}

declare module "vitest" {
  interface ProvidedContext {
    source: { endpoint: string; region: string; bucket: string; accessKeyId: string; secretAccessKey: string };
  }
}
