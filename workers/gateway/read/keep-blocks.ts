import { md5Of } from "../../adapters/digest.ts";
import { within } from "../../adapters/within.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { type Block, blocksWithin, cut, servesOthers } from "../../core/read/blocks.ts";
import { formatKnownObject, type KnownObject } from "../../core/read/known-object.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Reader } from "./reader.ts";

const NOTE_MAX_LENGTH = 8192;

/** Puts blocks into the isolate's memory, at once, and into the data centre's cache; settles when they are there. */
export async function keepBlocks(
  reader: Reader,
  key: string,
  object: KnownObject,
  blocks: readonly Block[],
  from: { offset: number; bytes: Uint8Array },
): Promise<void> {
  const known = formatKnownObject(object);
  // Metadata of 8 KB, in percent-encoding, is more than a header should carry: then the block goes without.
  const note = known.length <= NOTE_MAX_LENGTH ? known : "";
  const { memory, edge } = reader.isolate;
  await Promise.all(
    blocks.map(async (block) => {
      const bytes = cut(from.bytes, from.offset, block);
      const name = reader.blockName(key, object, block);
      if (servesOthers(block, object.size)) reader.noteKept(key, object, block);
      // A block that stays owns its bytes: else it would keep all that was read with it.
      if (memory.takes(bytes.length)) memory.put(name, bytes.length === from.bytes.length ? bytes : bytes.slice());
      await edge.put(name, bytes, note);
    }),
  );
}

/** Keeps the blocks that a first look at an object brought; who asks for one before it is cached is given it here. */
export function offerBlocks(
  reader: Reader,
  key: string,
  object: KnownObject,
  from: { offset: number; bytes: Uint8Array },
): Promise<void> {
  const blocks = blocksWithin({ offset: from.offset, length: from.bytes.length }, object.size);
  const kept = keepBlocks(reader, key, object, blocks, from);
  for (const block of blocks) {
    const bytes = Promise.resolve(ok(cut(from.bytes, from.offset, block)));
    reader.isolate.blocks.begin(reader.blockName(key, object, block), bytes, kept, reader.now, reader.waitUntil);
  }
  return kept;
}

/**
 * All of a body that was announced with `length` bytes, and not a byte more or less. Where a source vouches for its MD5
 * (hex), that is looked at too: what stands between us and a source may send anything.
 */
export async function readAll(
  reader: Reader,
  body: ReadableStream<Uint8Array>,
  length: number,
  md5: string | null,
): Promise<Result<Uint8Array>> {
  try {
    const buffer = await reader.ask(within(HELD_READ_MS, new Response(body).arrayBuffer()));
    if (buffer === null) return fail(broken("it took too long"));
    const bytes = new Uint8Array(buffer);
    if (bytes.length !== length) return fail(broken(`${bytes.length} of ${length} bytes came`));
    if (md5 === null || (await md5Of(bytes)) === md5) return ok(bytes);
    return fail(failure("checksum-mismatch", "The source's bytes do not have the MD5 that its ETag says."));
  } catch (error) {
    return fail(broken(String(error)));
  }
}

/** Milliseconds within which what is held, some MiB at most, must have come: others may be waiting for it. */
const HELD_READ_MS = 25_000;

const broken = (reason: string): Failure => failure("store-unavailable", `The read broke off: ${reason}`);
