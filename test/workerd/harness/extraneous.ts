import { env } from "cloudflare:workers";
import { AwsClient } from "aws4fetch";
import { expect, vi } from "vitest";
import { datasetOf, migrationOf } from "../../../workers/adapters/objects.ts";
import type { ReportLine } from "../../../workers/core/migration/report-line.ts";
import { runFolder } from "../../../workers/core/migration/request.ts";
import { encodeWireKey } from "../../../workers/core/sigv4/wire-key.ts";
import { must, type TestRun } from "./run.ts";
import { ownSource } from "./own-source.ts";
import { EVERYTHING } from "../../../workers/core/manifest/query.ts";

/** Takes objects away from the real S3 endpoint. */
export async function takeAway(prefix: string, keys: readonly string[]): Promise<void> {
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = ownSource();
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  for (const key of keys) {
    const answer = await client.fetch(`${endpoint}/${bucket}/${encodeWireKey(prefix + key)}`, { method: "DELETE" });
    await answer.body?.cancel();
    if (!answer.ok) throw new Error(`${key} was not deleted at the source: ${answer.status}`);
  }
}

/** Has each listing that the source answers changed, until the test ends. */
export function changeListings(change: (xml: string, query: URLSearchParams) => string): void {
  const real = globalThis.fetch.bind(globalThis);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
    const request = new Request(...args);
    const query = new URL(request.url).searchParams;
    const answer = await real(request);
    if (!query.has("list-type") || answer.status !== 200) return answer;
    return new Response(change(await answer.text(), query), { headers: { "content-type": "application/xml" } });
  });
}

/** The listing, which is percent-encoded, with one entry changed, or left out. */
export const changeEntry = (xml: string, key: string, change: (entry: string) => string): string =>
  xml.replaceAll(/<Contents>.*?<\/Contents>/gs, (entry) =>
    [key, encodeURIComponent(key)].some((spelled) => entry.includes(`<Key>${spelled}</Key>`)) ? change(entry) : entry,
  );

/**
 * Has the source list pages of so many keys, until the test ends; folders it lists as ever. The environment is to be one of the fault proxy's,
 * which signs anew: what is asked here was signed with another number.
 */
export function smallPages(keys: number): void {
  const real = globalThis.fetch.bind(globalThis);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
    const request = new Request(...args);
    const url = new URL(request.url);
    const asked = url.searchParams.has("delimiter") ? 0 : Number(url.searchParams.get("max-keys") ?? 0);
    if (asked > keys) url.searchParams.set("max-keys", String(keys));
    return real(asked > keys ? new Request(url, request) : request);
  });
}

/** Lines of the run's report, by key; a key may have one only. */
export async function reportOf(run: TestRun): Promise<Map<string, ReportLine>> {
  const lines = new Map<string, ReportLine>();
  for (const name of await migrationOf(env, run.id).reportNames(null, 1000)) {
    const ndjson = (await (await env.SYSTEM.get(runFolder(run.id) + name))?.text()) ?? "";
    for (const text of ndjson.trim().split("\n")) {
      const line = JSON.parse(text) as ReportLine;
      if (lines.has(line.key)) throw new Error(`${line.key} has two lines in the report.`);
      lines.set(line.key, line);
    }
  }
  return lines;
}

/** The manifest's totals are sums over its rows, and each row is an object of R2 as it is; and the other way around for `keys`. */
export async function expectManifest(dataset: string, keys: readonly string[]): Promise<void> {
  const stub = datasetOf(env, dataset);
  const { rows } = must(await stub.query(EVERYTHING, null, 1000));
  expect(rows.map(({ key }) => key).sort()).toEqual([...keys].sort());
  const proofs: Record<string, number> = {};
  for (const { key, size, etag, proof } of rows) {
    const there = await env.DATASETS.head(`${dataset}/${key}`);
    expect({ key, size, etag }).toEqual({ key, size: there?.size, etag: there?.etag });
    if (proof !== null) proofs[proof] = (proofs[proof] ?? 0) + 1;
  }
  const { summary } = must(await stub.describe());
  expect({ objects: summary.objects, bytes: summary.bytes, proofs: summary.proofs }).toEqual({
    objects: rows.length,
    bytes: rows.reduce((sum, { size }) => sum + size, 0),
    proofs,
  });
}
