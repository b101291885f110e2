import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { datasetOf } from "../../../workers/adapters/objects.ts";
import type { StoredRow } from "../../../workers/core/manifest/row.ts";
import type { MigrationStatus } from "../../../workers/core/migration/status.ts";
import { innerState, must, outerState, statusOf, type TestRun } from "./run.ts";
import type { Stored } from "./source.ts";
import { EVERYTHING } from "../../../workers/core/manifest/query.ts";

/** The keys under a prefix of R2, without it. */
export async function keysInR2(prefix: string): Promise<string[]> {
  const page = await env.DATASETS.list({ prefix });
  return page.objects.map(({ key }) => key.slice(prefix.length));
}

async function rowsOf(run: TestRun): Promise<StoredRow[]> {
  return must(await datasetOf(env, run.dataset).query(EVERYTHING, null, 1000)).rows;
}

/**
 * The promise of a migration, to be kept whatever happened to its messages: R2 holds the source's bytes and nothing
 * else, the manifest has exactly a row of each, the totals add up, the run has ended, and nothing is left over.
 *
 * @param source what the source holds and the run could copy
 * @param failed what it could not copy
 */
export async function expectExact(
  run: TestRun,
  source: ReadonlyMap<string, Stored>,
  failed: ReadonlyMap<string, Stored> = new Map(),
): Promise<MigrationStatus> {
  const status = await statusOf(run);
  expect({ state: status.state, problem: status.problem }).toEqual({ state: "done", problem: null });
  const unexpected = status.failures.filter(({ key }) => !failed.has(key));
  expect(unexpected).toEqual([]);
  expect(status.failures.length).toBe(failed.size);

  expect((await keysInR2(run.prefix)).sort()).toEqual([...source.keys()].sort());
  const rows = new Map((await rowsOf(run)).map((row) => [row.key, row]));
  expect([...rows.keys()].sort()).toEqual([...source.keys()].sort());
  for (const [key, { bytes, etag }] of source) {
    const object = await env.DATASETS.get(run.prefix + key);
    if (object === null) throw new Error(`${key} is not in R2`);
    expect(object.httpMetadata?.contentType, key).toBe("application/x-test");
    expect(sameBytes(new Uint8Array(await object.arrayBuffer()), bytes), `the bytes of ${key}`).toBe(true);
    const proof = proofOf(etag, object.etag);
    expect(rows.get(key), key).toMatchObject({ size: bytes.length, etag: object.etag, sourceEtag: etag, proof });
  }

  const { listed, copied, skipped } = status;
  expect(listed).toEqual({ ...total(source, failed), complete: true });
  expect({ objects: copied.objects + skipped.objects, bytes: copied.bytes + skipped.bytes }).toEqual(total(source));
  expect(status.failed.objects).toBe(failed.size);
  expect(Object.values(status.proofs).reduce((sum, n) => sum + n, 0)).toBe(copied.objects);
  expect(status.secondsLeft).toBe(0);
  await expectNothingLeft(run);
  return status;
}

/** Of a run that has ended: no message, no part, no alarm, no lock, and the Directory knows. */
export async function expectNothingLeft(run: TestRun): Promise<void> {
  expect(await innerState(run)).toEqual({ outbox: 0, parts: 0, alarm: null });
  expect(await outerState(run)).toEqual({ lock: null, state: (await statusOf(run)).state });
}

/** MD5 where the source's ETag is one and R2 enforced it; else by parts, as `etag` where the ETag came out equal. */
function proofOf(sourceEtag: string, etag: string): string {
  if (sourceEtag === etag) return sourceEtag.includes("-") ? "etag" : "md5";
  return "parts";
}

function total(...maps: ReadonlyMap<string, Stored>[]): { objects: number; bytes: number } {
  const all = maps.flatMap((map) => [...map.values()]);
  return { objects: all.length, bytes: all.reduce((sum, { bytes }) => sum + bytes.length, 0) };
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  // Native: a loop over millions of bytes takes a second.
  return a.length === b.length && crypto.subtle.timingSafeEqual(a, b);
}
