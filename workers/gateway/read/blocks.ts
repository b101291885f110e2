import type { ByteSpan } from "../../core/http/range.ts";
import { type Block, blocksOf, cut, runsOf } from "../../core/read/blocks.ts";
import type { KnownObject } from "../../core/read/known-object.ts";
import { fail, ok, type Result } from "../../core/result.ts";
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
  if (blocks === null) return stream(reader, key, object, span);
  const only = blocks.length === 1 ? blocks[0] : undefined;
  if (only !== undefined) {
    const name = reader.blockName(key, object, only);
    const held = reader.isolate.memory.get(name);
    if (held !== null) return ok({ body: bodyOf(reader, [cut(held, only.offset, span)]), cache: "hit" });
    // What is too large to stay in memory flows by, and only what is asked for.
    const cached = reader.isolate.memory.takes(only.length) ? null : await streamCached(reader, name, only, span);
    if (cached !== null) return ok({ body: cached, cache: "hit" });
  }
  const fetched = await fetchBlocks(reader, key, object, blocks);
  if (fetched === null) return stream(reader, key, object, span);
  if (!fetched.ok) return fetched;
  const parts = blocks.map((block, index) => {
    const offset = Math.max(span.offset, block.offset);
    const end = Math.min(span.offset + span.length, block.offset + block.length);
    return cut(fetched.value.parts[index], block.offset, { offset, length: end - offset });
  });
  return ok({ body: bodyOf(reader, parts), cache: fetched.value.cache });
}

/** Reads past the cache. The body belongs to this request, and ends with its client. */
async function stream(reader: Reader, key: string, object: KnownObject, span: ByteSpan): Promise<Result<Bytes>> {
  const { offset, length } = span;
  const range = { kind: "bounded", start: offset, end: offset + length - 1 } as const;
  const isWhole = length === object.size;
  const got = await reader.ask(reader.store.get(key, { ifMatch: object.etag, ...(isWhole ? {} : { range }) }));
  return got.ok ? ok({ body: got.value.body, cache: "bypass" }) : fail(got.failure);
}

async function streamCached(reader: Reader, name: string, block: Block, span: ByteSpan) {
  const { edge, blocks } = reader.isolate;
  const part = { offset: span.offset - block.offset, length: span.length };
  const since = blocks.moment;
  const cached = blocks.has(name) ? null : await reader.timing.time("cache", edge.stream(name, part, block.length));
  return cached === null && blocks.hasLanded(name, since) ? edge.stream(name, part, block.length) : cached;
}

/**
 * Whole blocks, in their order. Those that are nowhere in a cache are read from the store, side by side ones with one
 * operation; null where there is no room to hold them.
 */
async function fetchBlocks(
  reader: Reader,
  key: string,
  object: KnownObject,
  blocks: readonly Block[],
): Promise<Result<{ parts: Uint8Array[]; cache: CacheOutcome }> | null> {
  const names = new Map(blocks.map((block) => [block, reader.blockName(key, object, block)]));
  const nameOf = (block: Block) => names.get(block) ?? "";
  const cached = new Map<Block, Uint8Array>();
  for (const block of blocks) {
    const held = reader.isolate.memory.get(nameOf(block));
    if (held !== null) cached.set(block, held);
  }
  const unheld = blocks.filter((block) => !cached.has(block));
  if (unheld.length > 0) {
    await Promise.all(
      unheld.map(async (block) => {
        const bytes = await recallBlock(reader, nameOf(block), block);
        if (bytes !== null) cached.set(block, bytes);
      }),
    );
  }
  const absent = blocks.filter((block) => !cached.has(block));
  if (absent.length === 0) return ok({ parts: blocks.flatMap((block) => cached.get(block) ?? []), cache: "hit" });

  // No await from here to the last `begin`: of two requests that miss a block, one begins its flight.
  const { blocks: flights } = reader.isolate;
  const flying = absent.filter((block) => flights.has(nameOf(block)));
  const runs = runsOf(absent.filter((block) => !flights.has(nameOf(block))));
  const releases = runs.map((run) => reader.isolate.budget.reserve(lengthOf(run), reader.now));
  if (releases.includes(null)) {
    for (const release of releases) release?.();
    return null;
  }
  const followed = flying.map((block) => flights.follow(nameOf(block)));
  const led = runs.map((run, index) => lead(reader, key, object, run, names, releases[index] ?? (() => undefined)));

  const arrived = new Map<Block, Result<Uint8Array> | null>();
  await Promise.all([
    ...flying.map(async (block, index) => arrived.set(block, (await followed[index]) ?? null)),
    ...led.flatMap((flight) => [...flight].map(async ([block, bytes]) => arrived.set(block, await bytes))),
  ]);
  const parts: Uint8Array[] = [];
  for (const block of blocks) {
    const bytes = cached.get(block) ?? arrived.get(block) ?? null;
    if (bytes === null) return null; // Who was followed did not come in time: this request reads for itself.
    if (bytes instanceof Uint8Array) parts.push(bytes);
    else if (bytes.ok) parts.push(bytes.value);
    else return bytes;
  }
  return ok({ parts, cache: runs.length > 0 ? "miss" : "collapsed" });
}

/** The block from the data centre's cache; it then stays in memory. */
async function recallBlock(reader: Reader, name: string, block: Block): Promise<Uint8Array | null> {
  const { memory, edge, blocks } = reader.isolate;
  if (blocks.has(name)) return null;
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
    const range = { kind: "bounded", start: offset, end: offset + length - 1 } as const;
    const options = { ifMatch: object.etag, ...(length === object.size ? {} : { range }) };
    const got = await reader.ask(reader.store.get(key, options));
    return got.ok ? readAll(reader, got.value.body, length) : fail(got.failure);
  })();
  const done = whole
    .then((bytes) => (bytes.ok ? keepBlocks(reader, key, object, run, { offset, bytes: bytes.value }) : undefined))
    .finally(release);
  const flights = run.map((block): [Block, Promise<Result<Uint8Array>>] => [
    block,
    whole.then((bytes) => (bytes.ok ? ok(cut(bytes.value, offset, block)) : bytes)),
  ]);
  for (const [block, flight] of flights) {
    reader.isolate.blocks.begin(names.get(block) ?? "", flight, done, reader.waitUntil);
  }
  return new Map(flights);
}

const lengthOf = (run: readonly Block[]): number => run.reduce((sum, { length }) => sum + length, 0);
