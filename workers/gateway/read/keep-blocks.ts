import { md5Of } from "../../adapters/digest.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { type Block, blocksWithin, cut, servesOthers } from "../../core/read/blocks.ts";
import { formatKnownObject, type KnownObject } from "../../core/read/known-object.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Reader } from "./reader.ts";

/** Puts blocks into the isolate's memory, at once, and into the data centre's cache; settles when they are there. */
export async function keepBlocks(
  reader: Reader,
  key: string,
  object: KnownObject,
  blocks: readonly Block[],
  from: { offset: number; bytes: Uint8Array },
): Promise<void> {
  const note = formatKnownObject(object);
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
    reader.isolate.blocks.begin(reader.blockName(key, object, block), bytes, kept, reader.waitUntil);
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
    const bytes = new Uint8Array(await reader.ask(new Response(body).arrayBuffer()));
    if (bytes.length !== length) return fail(broken(`${bytes.length} of ${length} bytes came`));
    return md5 === null || (await md5Of(bytes)) === md5 ? ok(bytes) : fail(broken("the bytes have another MD5"));
  } catch (error) {
    return fail(broken(String(error)));
  }
}

const broken = (reason: string): Failure => failure("store-unavailable", `The read broke off: ${reason}`);
