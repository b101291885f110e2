/**
 * Where an object is cut into blocks, the units of caching: aligned byte ranges of one object at one ETag.
 *
 *     small object (at most SINGLE_BLOCK_MAX_BYTES)   one block, "whole"
 *     larger object, read whole                       one block, "whole", up to HELD_MAX_BYTES
 *     larger object, read in ranges                   "0", "1", ... of BLOCK_BYTES each, the last one shorter
 *     the end of a larger object                      "tail", the last TAIL_BYTES: a shard index or a Parquet footer
 *                                                     is read without the large block that it lies in
 *
 * Which block serves a range follows from the range and the size alone, so that every reader of the same bytes looks for
 * the same blocks. What a first look brought in their place is known to the isolate that kept it (`servesOthers`).
 */
import type { ByteRange, ByteSpan } from "../http/range.ts";
import { BLOCK_BYTES, HELD_MAX_BYTES, SINGLE_BLOCK_MAX_BYTES, TAIL_BYTES } from "../limits.ts";

export interface Block extends ByteSpan {
  /** Names it among the blocks of its object. */
  readonly id: string;
}

/** The blocks that hold `span`, ascending and without a gap; null for what is too long to be held, and is streamed. */
export function blocksOf(span: ByteSpan, size: number): Block[] | null {
  const tail = size - TAIL_BYTES;
  if (size <= SINGLE_BLOCK_MAX_BYTES) return [{ id: "whole", offset: 0, length: size }];
  if (span.offset >= tail) return [{ id: "tail", offset: tail, length: TAIL_BYTES }];
  if (span.length > HELD_MAX_BYTES) return null;
  if (span.length === size) return [{ id: "whole", offset: 0, length: size }];
  const first = Math.floor(span.offset / BLOCK_BYTES);
  const last = Math.floor((span.offset + span.length - 1) / BLOCK_BYTES);
  return Array.from({ length: last - first + 1 }, (_, index) => numbered(first + index, size));
}

/** The blocks that lie within `span` from end to end: what a read of it brought that is worth keeping. */
export function blocksWithin(span: ByteSpan, size: number): Block[] {
  if (span.length === size) return [{ id: "whole", offset: 0, length: size }];
  const end = span.offset + span.length;
  const tail = size - TAIL_BYTES;
  const blocks: Block[] =
    tail > 0 && span.offset <= tail && end === size ? [{ id: "tail", offset: tail, length: TAIL_BYTES }] : [];
  // What was asked for as the end is kept as that: the blocks in it are another's.
  if (size <= SINGLE_BLOCK_MAX_BYTES || (blocks.length > 0 && span.offset === tail)) return blocks;
  for (let number = Math.ceil(span.offset / BLOCK_BYTES); number * BLOCK_BYTES < end; number++) {
    const block = numbered(number, size);
    if (block.offset + block.length <= end) blocks.push(block);
  }
  return blocks;
}

/**
 * Whether a block may serve ranges for which `blocksOf` names another: a whole object has all of them, and the last
 * blocks have the end, which is a block of its own. Who has kept one may look there first.
 */
export const servesOthers = ({ id, offset, length }: Block, size: number): boolean =>
  id === "whole" || id === "tail" || offset + length > size - TAIL_BYTES;

/**
 * What to ask a store for when nothing is known of the object, so that one read teaches what it is and brings whole
 * blocks. `range` is what the client asked for, null for the whole; so is the answer, which begins at a block and holds
 * all of it. A range near the beginning asks for as much as a small object has at most; one to the end, or too long to be
 * held, for no more than it names behind it.
 */
export function aimOf(range: ByteRange | null): ByteRange | null {
  if (range === null) return null;
  if (range.kind === "suffix") return { kind: "suffix", length: Math.max(range.length, TAIL_BYTES) };
  const aligned = Math.floor(range.start / BLOCK_BYTES) * BLOCK_BYTES;
  const start = aligned < SINGLE_BLOCK_MAX_BYTES ? 0 : aligned;
  if (range.kind === "from") return start === 0 ? null : { kind: "from", start };
  const alignedEnd = (Math.floor(range.end / BLOCK_BYTES) + 1) * BLOCK_BYTES;
  const end = Math.max(alignedEnd, SINGLE_BLOCK_MAX_BYTES) - 1;
  return { kind: "bounded", start, end: end - start < HELD_MAX_BYTES ? end : range.end };
}

/** Whether bytes that begin at `offset` hold all of `span`. */
export const holds = (bytes: Uint8Array, offset: number, span: ByteSpan): boolean =>
  span.offset >= offset && span.offset + span.length <= offset + bytes.length;

/**
 * Cuts what lies at `span` out of bytes that begin at `offset`. That they hold it is the caller's promise; a broken one is
 * an error here, rather than fewer bytes than were announced.
 */
export function cut(bytes: Uint8Array | undefined, offset: number, span: ByteSpan): Uint8Array {
  if (bytes === undefined || !holds(bytes, offset, span)) throw new Error("A block does not hold what it should.");
  return bytes.subarray(span.offset - offset, span.offset - offset + span.length);
}

/** Groups blocks that lie side by side, so that each group is one read. Blocks ascend. */
export function runsOf(blocks: readonly Block[]): Block[][] {
  const runs: Block[][] = [];
  for (const block of blocks) {
    const run = runs.at(-1);
    const previous = run?.at(-1);
    if (run !== undefined && previous !== undefined && previous.offset + previous.length === block.offset)
      run.push(block);
    else runs.push([block]);
  }
  return runs;
}

const numbered = (number: number, size: number): Block => {
  const offset = number * BLOCK_BYTES;
  return { id: String(number), offset, length: Math.min(BLOCK_BYTES, size - offset) };
};
