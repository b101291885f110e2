/** How often it is looked whether bytes came, in milliseconds, and how many looks in vain are too many: a minute. */
const LOOK_MS = 5000;
const LOOKS_MAX = 12;

/** Bytes of one read: at most, and at least but for the last. The runtime's own chunks are a few KiB, and each costs a turn. */
const READ_BYTES = 1024 * 1024;
const READ_MIN_BYTES = 256 * 1024;

/**
 * Reads a body in large chunks, and gives it up when no chunk comes in a minute (4 KiB/s are enough): a source that goes
 * silent in mid-body is not waited for as long as one that is slow. What the reader's owner takes its time with is not
 * counted. A chunk is good until the next read, which uses its memory again. `end` must be called.
 */
export class WatchedReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | ReadableStreamBYOBReader;
  readonly #timer: ReturnType<typeof setInterval>;
  #memory = new ArrayBuffer(0);
  #isWaiting = false;
  #looks = 0;
  #isSilent = false;

  /** @param length how many bytes were announced */
  constructor(body: ReadableStream<Uint8Array>, length: number) {
    this.#reader = readerOf(body);
    if (this.#reader instanceof ReadableStreamBYOBReader) {
      this.#memory = new ArrayBuffer(Math.max(1, Math.min(READ_BYTES, length)));
    }
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** The next chunk; null at the end. Throws where the body broke off, or fell silent. */
  async read(): Promise<Uint8Array | null> {
    this.#isWaiting = true;
    this.#looks = 0;
    try {
      const { done, value } = await this.#next();
      if (this.#isSilent) throw new Error("nothing came for a minute");
      return done || value === undefined ? null : value;
    } finally {
      this.#isWaiting = false;
    }
  }

  async #next(): Promise<ReadableStreamReadResult<Uint8Array>> {
    if (!(this.#reader instanceof ReadableStreamBYOBReader)) return this.#reader.read();
    const room = new Uint8Array(this.#memory);
    const read = await this.#reader.readAtLeast(Math.min(READ_MIN_BYTES, room.length), room);
    // The view that was given is detached; what came back has its memory.
    if (read.value !== undefined) this.#memory = read.value.buffer;
    return read;
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => undefined);
  }

  end(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    if (!this.#isWaiting || ++this.#looks < LOOKS_MAX) return;
    this.#isSilent = true;
    // A pending read then ends.
    void this.cancel();
  }
}

/** Bodies of `fetch` and R2 are byte streams; a stream that is made in JavaScript may be none. */
function readerOf(
  body: ReadableStream<Uint8Array>,
): ReadableStreamDefaultReader<Uint8Array> | ReadableStreamBYOBReader {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return body.getReader();
  }
}
