import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { runFolder } from "../../../workers/core/migration/request.ts";
import { migrationOf } from "../../../workers/adapters/objects.ts";
import type { ReportLine } from "../../../workers/core/migration/report-line.ts";
import type { MigrationOptions } from "../../../workers/core/migration/request.ts";
import type { MigrationStatus } from "../../../workers/core/migration/status.ts";
import { carry, type Carrier } from "./delivery.ts";
import { expectNothingLeft } from "./expect-exact.ts";
import { registerDataset, startRun, statusOf, type TestRun } from "./run.ts";
import { envWith } from "./source.ts";
import { replacing } from "./uploads.ts";

/** Copies a source prefix into a new dataset. */
export async function copied(
  dataset: string,
  sourcePrefix: string,
  options: Partial<MigrationOptions> = {},
): Promise<void> {
  await registerDataset(dataset, sourcePrefix);
  const run = await startRun(dataset, envWith("pages-of-20"), options);
  await carry(run);
  expect(await statusOf(run)).toMatchObject({ state: "done", failures: [] });
}

export interface Verified {
  status: MigrationStatus;
  /** By key. */
  report: Map<string, ReportLine>;
}

/** Verifies a dataset, and finds that nothing of it was written. */
export async function verify(
  dataset: string,
  how: "listing" | "deep",
  { seen = envWith("pages-of-20"), ...carrier }: Carrier & { seen?: Env } = {},
  options: Partial<MigrationOptions> = {},
): Promise<Verified> {
  const run = await startRun(dataset, seen, { verify: how, ...options });
  await carry(run, carrier);
  return verifiedBy(run);
}

async function verifiedBy(run: TestRun): Promise<Verified> {
  const status = await statusOf(run);
  expect({ state: status.state, problem: status.problem }).toEqual({ state: "done", problem: null });
  expect(status.copied).toEqual({ objects: 0, bytes: 0 });
  expect(status.listed.objects).toBe(status.verified.objects + status.failed.objects);
  expect(Object.values(status.proofs).reduce((sum, n) => sum + n, 0)).toBe(status.verified.objects);
  const lines = await reportOf(run);
  expect(lines).toHaveLength(status.listed.objects);
  expect(lines.filter(({ outcome }) => outcome === "verified")).toHaveLength(status.verified.objects);
  await expectNothingLeft(run);
  return { status, report: new Map(lines.map((line) => [line.key, line])) };
}

async function reportOf(run: TestRun): Promise<ReportLine[]> {
  const lines: ReportLine[] = [];
  for (const name of await migrationOf(env, run.id).reportNames(null, 1000)) {
    const object = await env.SYSTEM.get(runFolder(run.id) + name);
    const ndjson = (await object?.text()) ?? "";
    lines.push(
      ...ndjson
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as ReportLine),
    );
  }
  return lines;
}

/** What a verification says of one key: its proof, or the code of its failure. */
export const said = ({ report }: Verified, key: string): string | undefined => {
  const line = report.get(key);
  return line?.proof ?? line?.code;
};

/** The dataset's bucket, in which each read is preceded by something, and what it returns may be another. */
export const readingBucket = (
  read: (key: string, get: () => Promise<R2ObjectBody>) => Promise<R2ObjectBody>,
): R2Bucket =>
  replacing(env.DATASETS, {
    get: async (key: string, options?: R2GetOptions) =>
      read(key, () => env.DATASETS.get(key, options) as Promise<R2ObjectBody>),
  });

export const flipped = (bytes: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> =>
  bytes.with(at, (bytes[at] ?? 0) ^ 1);
