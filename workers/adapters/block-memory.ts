/** Bytes that an entry costs beside its block: what the Map and the buffer need. A character of its name is two at most. */
const ENTRY_BYTES = 256;

/**
 * Blocks in the isolate's memory, under a budget of bytes; the one that was not asked for the longest is forgotten first.
 * Keys name bytes that never change, so nothing here is ever out of date.
 */
export class BlockMemory {
  readonly #blocks = new Map<string, Uint8Array>();
  readonly #maxBytes: number;
  readonly #maxBlockBytes: number;
  #bytes = 0;

  constructor(maxBytes: number, maxBlockBytes: number) {
    this.#maxBytes = maxBytes;
    this.#maxBlockBytes = Math.min(maxBlockBytes, maxBytes);
  }

  /** Whether a block of this length may stay. */
  takes(length: number): boolean {
    return length <= this.#maxBlockBytes;
  }

  get(key: string): Uint8Array | null {
    const block = this.#blocks.get(key);
    if (block === undefined) return null;
    // A Map keeps the order of insertion: the last one asked for goes to the end.
    this.#blocks.delete(key);
    this.#blocks.set(key, block);
    return block;
  }

  /** Keeps a block. It must own its buffer, or a small block would keep a large one in memory. */
  put(key: string, block: Uint8Array): void {
    if (!this.takes(block.length) || this.#blocks.has(key)) return;
    this.#blocks.set(key, block);
    this.#bytes += costOf(key, block);
    for (const [oldest, forgotten] of this.#blocks) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#blocks.delete(oldest);
      this.#bytes -= costOf(oldest, forgotten);
    }
  }

  get bytes(): number {
    return this.#bytes;
  }
}

const costOf = (key: string, block: Uint8Array): number => ENTRY_BYTES + 2 * key.length + block.length;
