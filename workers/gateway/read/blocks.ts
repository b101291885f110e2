import type { ByteRange, ByteSpan } from "../../core/http/range.ts";
import { type Block, blocksOf, cut, runsOf } from "../../core/read/blocks.ts";
import type { KnownObject } from "../../core/read/known-object.ts";
import { ok, type Result } from "../../core/result.ts";
import { bodyOf } from "./body.ts";
import { keepBlocks, readAll } from "./keep-blocks.ts";
import type { CacheOutcome, Reader } from "./reader.ts";

interface Bytes {
  body: BodyInit;
  cache: CacheOutcome;
}

/** The bytes of `span` of an object at its ETag: from the isolate's memory, the data centre's cache, or the store. */
export async function readSpan(
  reader: Reader,
  key: string,
  object: KnownObject,
  span: ByteSpan,
): Promise<Result<Bytes>> {
  const blocks = blocksOf(span, object.size);
  const only = blocks?.length === 1 ? blocks[0] : undefined;
  const since = reader.isolate.blocks.moment;
  const recalled = only === undefined ? null : await recallSpan(reader, key, object, only, span);
  if (recalled !== null) return ok(recalled);
  for (const other of reader.keptOthers(key, object, span, only)) {
    const bytes = await recallSpan(reader, key, object, other, span);
    if (bytes !== null) return ok(bytes);
    reader.forgetKept(key, object, other);
  }
  // Blocks are gathered before the first byte is sent, wherever they come from: there must be room for them.
  const gathered = blocks === null ? null : reader.isolate.budget.reserve(lengthOf(blocks), reader.now);
  if (blocks === null || gathered === null) return stream(reader, key, object, span);
  try {
    const fetched = await fetchBlocks(reader, key, object, blocks, only === undefined ? null : since);
    if (fetched === null) return await stream(reader, key, object, span);
    if (!fetched.ok) return fetched;
    const parts = blocks.map((block, index) => {
      const offset = Math.max(span.offset, block.offset);
      const end = Math.min(span.offset + span.length, block.offset + block.length);
      return cut(fetched.value.parts[index], block.offset, { offset, length: end - offset });
    });
    return ok({ body: bodyOf(reader, parts), cache: fetched.value.cache });
  } finally {
    gathered();
  }
}

/** The span from one cached block that holds it. What is too large to stay in memory flows by, and only what is asked for. */
async function recallSpan(
  reader: Reader,
  key: string,
  object: KnownObject,
  block: Block,
  span: ByteSpan,
): Promise<Bytes | null> {
  const name = reader.blockName(key, object, block);
  const { memory, blocks: flights } = reader.isolate;
  const held = memory.get(name);
  if (held !== null) return { body: bodyOf(reader, [cut(held, block.offset, span)]), cache: "hit" };
  if (flights.find(name) !== undefined) return null;
  if (!memory.takes(block.length)) {
    const cached = await streamCached(reader, name, block, span);
    return cached === null ? null : { body: cached, cache: "hit" };
  }
  const bytes = await recallBlock(reader, name, block);
  return bytes === null ? null : { body: bodyOf(reader, [cut(bytes, block.offset, span)]), cache: "hit" };
}

/** Reads past the cache. The body belongs to this request, and ends with its client. */
async function stream(reader: Reader, key: string, object: KnownObject, span: ByteSpan): Promise<Result<Bytes>> {
  const { offset, length } = span;
  const range = length === object.size ? undefined : rangeOf(offset, length);
  const got = await reader.getPinned(key, object, range);
  return got.ok ? ok({ body: got.value.body, cache: "bypass" }) : got;
}

async function streamCached(reader: Reader, name: string, block: Block, span: ByteSpan) {
  const { edge, blocks } = reader.isolate;
  const part = { offset: span.offset - block.offset, length: span.length };
  const since = blocks.moment;
  const cached = await reader.timing.time("cache", edge.stream(name, part, block.length));
  return cached === null && blocks.hasLanded(name, since) ? edge.stream(name, part, block.length) : cached;
}

/**
 * Whole blocks, in their order. Those that are nowhere in a cache are read from the store, side by side ones with one
 * operation; null where there is no room to hold them. `lookedAt` is the moment at which they were looked for in the
 * caches in vain: what has landed since is looked for again.
 */
async function fetchBlocks(
  reader: Reader,
  key: string,
  object: KnownObject,
  blocks: readonly Block[],
  lookedAt: number | null,
): Promise<Result<{ parts: Uint8Array[]; cache: CacheOutcome }> | null> {
  const names = new Map(blocks.map((block) => [block, reader.blockName(key, object, block)]));
  const recalled = await recallBlocks(reader, names, lookedAt);
  if (!recalled.ok) return recalled;
  const { found, cache } = recalled.value;

  // No await since the last look at the flights: of two requests that miss a block, one begins its flight.
  const runs = runsOf(blocks.filter((block) => !found.has(block)));
  const releases = runs.map((run) => reader.isolate.budget.reserve(lengthOf(run), reader.now));
  if (releases.includes(null)) {
    for (const release of releases) release?.();
    return null;
  }
  const led = runs.map((run, index) => lead(reader, key, object, run, names, releases[index] ?? (() => undefined)));
  for (const flight of led) {
    for (const [block, arriving] of flight) {
      const bytes = await arriving;
      if (!bytes.ok) return bytes;
      found.set(block, bytes.value);
    }
  }
  const parts = blocks.flatMap((block) => found.get(block) ?? []);
  return ok({ parts, cache: runs.length > 0 ? "miss" : cache });
}

/**
 * What is in memory, in the data centre's cache, or on its way to another request. A flight that does not come in time
 * is given up, and its block is missing here.
 */
async function recallBlocks(
  reader: Reader,
  names: ReadonlyMap<Block, string>,
  lookedAt: number | null,
): Promise<Result<{ found: Map<Block, Uint8Array>; cache: "hit" | "collapsed" }>> {
  const { memory, blocks: flights } = reader.isolate;
  const found = new Map<Block, Uint8Array>();
  let failed: Result<never> | null = null;
  let collapsed = false;
  /** Each request waits for others' reads once, and then reads for itself. */
  let isPatient = true;
  const flyingTo = (name: string) => {
    const flight = flights.find(name);
    return isPatient ? flight : undefined;
  };
  const recall = async (block: Block, name: string): Promise<void> => {
    const flight = flyingTo(name);
    if (flight === undefined) {
      const isLookedFor = lookedAt !== null && !flights.hasLanded(name, lookedAt);
      const bytes = isLookedFor ? null : await recallBlock(reader, name, block);
      if (bytes !== null) found.set(block, bytes);
      return;
    }
    const flown = await flights.follow(flight);
    if (flown === null) isPatient = false;
    else if (flown.ok) {
      collapsed = true;
      found.set(block, flown.value);
    } else failed = flown;
  };
  for (const [block, name] of names) {
    const held = memory.get(name);
    if (held !== null) found.set(block, held);
  }
  const absent = () => [...names].filter(([block]) => !found.has(block));
  for (let wanted = absent(); wanted.length > 0;) {
    await Promise.all(wanted.map(([block, name]) => recall(block, name)));
    if (failed !== null) return failed;
    // Another request may have begun to read one of them meanwhile.
    wanted = absent().filter(([, name]) => flyingTo(name) !== undefined);
  }
  return ok({ found, cache: collapsed ? "collapsed" : "hit" });
}

/** The block from the data centre's cache; it then stays in memory. */
async function recallBlock(reader: Reader, name: string, block: Block): Promise<Uint8Array | null> {
  const { memory, edge, blocks } = reader.isolate;
  const since = blocks.moment;
  const bytes = await reader.timing.time("cache", edge.bytes(name, block.length));
  if (bytes !== null) {
    memory.put(name, bytes);
    return bytes;
  }
  // Another request brought it while this one looked.
  return blocks.hasLanded(name, since) ? (memory.get(name) ?? edge.bytes(name, block.length)) : null;
}

/** Reads blocks that lie side by side with one operation, for everybody who asks for one of them meanwhile. */
function lead(
  reader: Reader,
  key: string,
  object: KnownObject,
  run: readonly Block[],
  names: ReadonlyMap<Block, string>,
  release: () => void,
): Map<Block, Promise<Result<Uint8Array>>> {
  const offset = run[0]?.offset ?? 0;
  const length = lengthOf(run);
  const whole = (async (): Promise<Result<Uint8Array>> => {
    const range = length === object.size ? undefined : rangeOf(offset, length);
    const got = await reader.getPinned(key, object, range);
    return got.ok ? readAll(reader, got.value.body, length, reader.expectedMd5(got.value)) : got;
  })();
  const done = whole
    .then((bytes) => (bytes.ok ? keepBlocks(reader, key, object, run, { offset, bytes: bytes.value }) : undefined))
    .finally(release);
  const flights = run.map((block): [Block, Promise<Result<Uint8Array>>] => [
    block,
    whole.then((bytes) => (bytes.ok ? ok(cut(bytes.value, offset, block)) : bytes)),
  ]);
  for (const [block, flight] of flights) {
    reader.isolate.blocks.begin(names.get(block) ?? "", flight, done, reader.now, reader.waitUntil);
  }
  return new Map(flights);
}

const rangeOf = (offset: number, length: number): ByteRange => ({
  kind: "bounded",
  start: offset,
  end: offset + length - 1,
});
const lengthOf = (run: readonly Block[]): number => run.reduce((sum, { length }) => sum + length, 0);
