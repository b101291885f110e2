import { type Failure, failure } from "../core/failure.ts";
import { CONNECTIONS_MAX, FOLLOWER_PATIENCE_MS, INDEX_MEMORY_BYTES, INDEX_PAGES_CACHED_MAX } from "../core/limits.ts";
import { type PageRange, pagesIn, planPageRanges } from "../core/manifest/page-ranges.ts";
import type { SealedIndex } from "../core/manifest/version.ts";
import { INDEX_PAGE_BYTES } from "../core/manifest/version-index.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { BlockMemory } from "./block-memory.ts";
import { edgeCache } from "./edge-cache.ts";
import { Flights } from "./flights.ts";
import { forEachLimited } from "./for-each-limited.ts";
import { createR2Store } from "./r2-store.ts";

/** What the requests of this isolate share; versions never change, so nothing here is ever out of date. */
const memory = new BlockMemory(INDEX_MEMORY_BYTES, INDEX_PAGE_BYTES);
const flights = new Flights<Result<Uint8Array>>(FOLLOWER_PATIENCE_MS);

/** A page through the caches asks for three things: a look into the data centre's, a read, and a put. */
const REQUESTS_A_PAGE = 3;

type WaitUntil = (work: Promise<unknown>) => void;

/** One page: of the isolate's memory, of the data centre's cache, or by one read of R2, pinned to the ETag that was sealed. */
export async function readPage(
  env: Env,
  index: SealedIndex,
  page: number,
  waitUntil: WaitUntil,
): Promise<Result<Uint8Array>> {
  const name = nameOf(index, page);
  const held = memory.get(name);
  if (held !== null) return ok(held);
  const pending = flights.find(name);
  if (pending !== undefined) {
    const followed = await flights.follow(pending);
    if (followed !== null) return followed;
  }
  const arrival = fetchPage(env, index, page, name, waitUntil);
  flights.begin(name, arrival, arrival, Date.now(), waitUntil);
  return arrival;
}

/**
 * Shows many pages to `see`, each once and in any order; what it is shown is only good until it returns. A few come as single
 * ones do. More are read in ranges, past the caches, which have better to keep; in at most `most.requests` requests, and
 * `most.pages` pages. `too-many-keys` where that is not enough.
 */
export async function readPages(
  env: Env,
  index: SealedIndex,
  pages: readonly number[],
  most: { requests: number; pages: number },
  see: (page: number, bytes: Uint8Array) => void,
  waitUntil: WaitUntil,
): Promise<Failure | null> {
  const missing = pages.filter((page) => {
    const held = memory.get(nameOf(index, page));
    if (held !== null) see(page, held);
    return held === null;
  });
  let trouble: Failure | null = null;
  if (missing.length <= Math.min(INDEX_PAGES_CACHED_MAX, most.requests / REQUESTS_A_PAGE)) {
    await forEachLimited(missing, CONNECTIONS_MAX, async (page) => {
      const read = await readPage(env, index, page, waitUntil);
      if (read.ok) see(page, read.value);
      else trouble = read.failure;
    });
    return trouble;
  }
  const ranges = planPageRanges(missing, most.requests);
  if (most.requests < 1 || pagesIn(ranges) > most.pages) return tooMany(pages.length, index.number);
  const wanted = new Set(missing);
  await forEachLimited(ranges, CONNECTIONS_MAX, async (range) => {
    if (trouble !== null) return;
    const read = await readRange(env, index, range, (page, bytes) => {
      if (wanted.has(page)) see(page, bytes);
    });
    trouble ??= read;
  });
  return trouble;
}

const tooMany = (pages: number, version: number): Failure =>
  failure(
    "too-many-keys",
    `The keys are on ${pages} pages of the index of version ${version}, more than can be read at once; ask for fewer keys.`,
  );

const nameOf = ({ key, etag }: SealedIndex, page: number): string =>
  `SYSTEM/${encodeURIComponent(key)}?etag=${encodeURIComponent(etag)}&page=${page}`;

async function fetchPage(
  env: Env,
  index: SealedIndex,
  page: number,
  name: string,
  waitUntil: WaitUntil,
): Promise<Result<Uint8Array>> {
  const cached = await edgeCache.bytes(name, INDEX_PAGE_BYTES);
  if (cached !== null) {
    memory.put(name, cached);
    return ok(cached);
  }
  const got = await openRange(env, index, { first: page, end: page + 1 });
  if (!got.ok) return got;
  const arrived = await new Response(got.value).arrayBuffer().catch(() => null);
  if (arrived?.byteLength !== INDEX_PAGE_BYTES) return fail(brokenOff());
  const bytes = new Uint8Array(arrived);
  memory.put(name, bytes);
  waitUntil(edgeCache.put(name, bytes, ""));
  return ok(bytes);
}

async function openRange(
  env: Env,
  { key, etag }: SealedIndex,
  { first, end }: PageRange,
): Promise<Result<ReadableStream<Uint8Array>>> {
  const range = { kind: "bounded" as const, start: first * INDEX_PAGE_BYTES, end: end * INDEX_PAGE_BYTES - 1 };
  const got = await createR2Store(env.SYSTEM).get(key, { range, ifMatch: etag });
  return got.ok ? ok(got.value.body) : fail(damaged(got.failure, key));
}

/** Shows the pages of one read as they pass: however long it is, one page is held. */
async function readRange(
  env: Env,
  index: SealedIndex,
  range: PageRange,
  see: (page: number, bytes: Uint8Array) => void,
): Promise<Failure | null> {
  const opened = await openRange(env, index, range);
  if (!opened.ok) return opened.failure;
  const bytes = new Uint8Array(INDEX_PAGE_BYTES);
  let [page, filled] = [range.first, 0];
  try {
    for await (const chunk of opened.value) {
      for (let at = 0; at < chunk.length;) {
        const some = chunk.subarray(at, at + INDEX_PAGE_BYTES - filled);
        bytes.set(some, filled);
        [at, filled] = [at + some.length, filled + some.length];
        if (filled < INDEX_PAGE_BYTES) continue;
        see(page++, bytes);
        filled = 0;
      }
    }
  } catch (error) {
    console.error(JSON.stringify({ message: "index not read", key: index.key, error: String(error) }));
  }
  return page === range.end ? null : brokenOff();
}

const brokenOff = (): Failure => failure("store-unavailable", "R2 broke off while a version's index was read.");

/** A file of a sealed version that is missing, or not the one that was sealed, is nobody's missing object. */
export function damaged(failed: Failure, key: string): Failure {
  switch (failed.code) {
    case "object-not-found":
      return failure("version-damaged", `"${key}" is missing in the bucket SYSTEM.`);
    case "precondition-failed":
    case "range-not-satisfiable":
      return failure("version-damaged", `"${key}" in the bucket SYSTEM is not what was sealed: its ETag is another.`);
    default:
      return failed;
  }
}
