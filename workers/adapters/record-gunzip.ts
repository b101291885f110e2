import { RECORDS_MEMBER_BYTES, RECORDS_MEMBERS_MAX } from "../core/limits.ts";

/** Bytes that are decompressed between two looks at what came out: deflate makes up to 1,032 of one. */
const SLICE_BYTES = 32 * 1024;
/** Bytes that are taken out at a time: more than a slice of text makes as a rule. A read that is not full was the last. */
const OUTPUT_BYTES = 256 * 1024;
/** Bytes of a member's header that tell it from other data (RFC 1952, section 2.3). */
const HEADER_BYTES = 10;
/** Places that look like the start of a member and are none, after which the object is given up. */
const MISTAKES_MAX = 8;

/** The data is not gzip, or ends too early. */
export class GzipDamaged extends Error {}

/** It is gzip of so many small members that to inflate it costs far more than its size says. */
export class GzipInPieces extends Error {}

/**
 * Decompresses gzip, also of several members, one after the other (RFC 1952, section 2.2: what `cat a.gz b.gz`, bgzip and
 * log shippers make).
 *
 * `DecompressionStream` takes one member, fails at the first byte behind it, and does not tell where that was (tried: workerd
 * of 2026-11). So each place that looks like a header (one in 2^37 of other data) is taken for one: the member is
 * ended there. Where it was not at its end, the place is remembered as a mistake and the object is read again from its start.
 *
 * Behind the last member there may be zeros, as of a tape or of tar: they are ignored, as gzip(1) does.
 *
 * It has no backpressure either: what is written is decompressed at once, whether or not anybody reads. So it is given a
 * little at a time.
 *
 * @param open the compressed bytes, from their start
 */
export async function* gunzip(
  open: () => Promise<AsyncGenerator<Uint8Array, void, void>>,
): AsyncGenerator<Uint8Array, void, void> {
  const mistakes = new Set<number>();
  let passedOn = 0;
  for (;;) {
    let seen = 0;
    try {
      for await (const chunk of members(await open(), mistakes)) {
        const fresh = chunk.subarray(Math.max(0, passedOn - seen));
        seen += chunk.length;
        if (fresh.length === 0) continue;
        passedOn = seen;
        yield fresh;
      }
      return;
    } catch (error) {
      if (!(error instanceof NoMember) || mistakes.size >= MISTAKES_MAX) throw error;
      mistakes.add(error.at);
    }
  }
}

/** A member did not end where the next one seemed to begin. */
class NoMember extends GzipDamaged {
  readonly at: number;

  constructor(at: number) {
    super("it breaks off within a member");
    this.at = at;
  }
}

async function* members(
  compressed: AsyncGenerator<Uint8Array, void, void>,
  mistakes: ReadonlySet<number>,
): AsyncGenerator<Uint8Array, void, void> {
  let member = new Member();
  /** The bytes that are not yet written, and the offset of their first one. */
  let rest = new Uint8Array(0);
  let offset = 0;
  /** Members that are over, and the bytes in them. */
  let count = 0;
  let inflated = 0;
  try {
    for (let isEnd = false; !isEnd;) {
      const next = await compressed.next();
      isEnd = next.done === true;
      if (next.done !== true) rest = joined(rest, next.value);
      for (;;) {
        const header = headerIn(rest, offset, mistakes);
        // As long as more may come, the last bytes wait: a header may have begun in them.
        const until = header ?? (isEnd ? rest.length : Math.max(0, rest.length - HEADER_BYTES + 1));
        yield* member.write(rest.subarray(0, until));
        offset += until;
        rest = rest.slice(until);
        if (header === null) break;
        try {
          yield* member.end(false);
        } catch (error) {
          if (error instanceof GzipDamaged) throw new NoMember(offset);
          throw error;
        }
        count++;
        inflated += member.inflated;
        if (count >= RECORDS_MEMBERS_MAX + Math.floor(inflated / RECORDS_MEMBER_BYTES))
          throw new GzipInPieces(IN_PIECES);
        member = new Member();
        // So that it is not found again: it is the start of this one.
        const length = Math.min(HEADER_BYTES, rest.length);
        yield* member.write(rest.subarray(0, length));
        offset += length;
        rest = rest.slice(length);
      }
    }
    yield* member.end(true);
  } finally {
    await member.cancel();
    await compressed.return();
  }
}

const IN_PIECES =
  `it has more than ${RECORDS_MEMBERS_MAX} gzip members beside one for each ${RECORDS_MEMBER_BYTES} bytes inflated, and ` +
  "each costs time whenever it is read. Recompress it as one member, or as members of at least " +
  `${RECORDS_MEMBER_BYTES} bytes of text.`;

/** Where in the bytes the header of a further member is, complete; `offset` is that of the first byte. */
function headerIn(bytes: Uint8Array, offset: number, mistakes: ReadonlySet<number>): number | null {
  for (let at = bytes.indexOf(0x1f); at >= 0 && at + HEADER_BYTES <= bytes.length; at = bytes.indexOf(0x1f, at + 1)) {
    if (offset + at > 0 && isHeader(bytes, at) && !mistakes.has(offset + at)) return at;
  }
  return null;
}

function isHeader(bytes: Uint8Array, at: number): boolean {
  const [magic, deflate, flags, extra, system] = [1, 2, 3, 8, 9].map((i) => bytes[at + i] ?? 0);
  if (magic !== 0x8b || deflate !== 8 || (flags ?? 0) >= 0x20) return false;
  return (extra === 0 || extra === 2 || extra === 4) && ((system ?? 0) <= 13 || system === 255);
}

/** One member, which is decompressed as its bytes come. */
class Member {
  readonly #stream = new DecompressionStream("gzip");
  readonly #writer = this.#stream.writable.getWriter();
  readonly #reader = this.#stream.readable.getReader({ mode: "byob" });
  #read: Promise<void> | null = null;
  #result: ReadableStreamReadResult<Uint8Array> | null = null;
  /** Bytes written since it was last looked what had come of them. */
  #unlooked = 0;
  /** The last byte that was written, and the zeros behind it, which are not: they may follow the member. */
  #last = 0;
  #zeros = 0;
  /** Bytes that came out. */
  inflated = 0;

  async *write(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
    const last = bytes.findLastIndex((byte) => byte !== 0);
    if (last >= 0) {
      yield* this.#writeZeros(this.#zeros);
      yield* this.#write(bytes.subarray(0, last + 1));
      this.#last = bytes[last] ?? 0;
      this.#zeros = 0;
    }
    this.#zeros += bytes.length - last - 1;
  }

  async *#writeZeros(count: number): AsyncGenerator<Uint8Array, void, void> {
    for (let left = count; left > 0; left -= SLICE_BYTES)
      yield* this.#write(new Uint8Array(Math.min(left, SLICE_BYTES)));
  }

  async *#write(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
    for (let at = 0; at < bytes.length;) {
      // What waits for the bytes before they are written has them when they are.
      void this.#begin();
      // In a copy: a stream may take the memory that it is given.
      const slice = bytes.slice(at, at + SLICE_BYTES - this.#unlooked);
      await sound(this.#writer.write(slice));
      at += slice.length;
      this.#unlooked += slice.length;
      if (this.#unlooked < SLICE_BYTES) continue;
      yield* this.#look();
    }
  }

  /** What has come of the bytes that were written. */
  async *#look(): AsyncGenerator<Uint8Array, void, void> {
    this.#unlooked = 0;
    for (let isFull = true; isFull;) {
      // Bytes may come to nothing as yet, and nobody tells that they do.
      if (this.#result === null) await Promise.race([this.#begin(), scheduler.wait(0)]);
      const chunk = this.#take();
      if (chunk === null) break;
      yield chunk;
      isFull = chunk.length === OUTPUT_BYTES;
    }
  }

  /** Zeros that a member ends with by itself: those of its length, in 32 bits, lowest byte first (RFC 1952, section 2.3.1). */
  get #ownZeros(): number {
    if (this.inflated > 0) return Math.clz32(this.inflated) >> 3;
    // Of nothing, the checksum is zero, and before it stands 03 00, or 01 00 00 ff ff.
    return this.#last === 0xff ? 8 : 9;
  }

  /** Drops the zeros that are not its own. How many are is known when nothing more comes of what was written before them. */
  async *#trim(): AsyncGenerator<Uint8Array, void, void> {
    for (let before = -1; before < this.inflated;) {
      before = this.inflated;
      yield* this.#look();
    }
    this.#zeros = Math.min(this.#zeros, this.#ownZeros);
  }

  /** What remains once all bytes are written; fails where they are no whole member, but for zeros behind the last one. */
  async *end(isLast: boolean): AsyncGenerator<Uint8Array, void, void> {
    if (isLast && this.#zeros > 0) yield* this.#trim();
    yield* this.#writeZeros(this.#zeros);
    const closed = sound(this.#writer.close());
    closed.catch(() => undefined);
    for (;;) {
      await this.#begin();
      const chunk = this.#take();
      if (chunk === null) break;
      yield chunk;
    }
    await closed;
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => undefined);
  }

  /** Begins to read, unless that was begun, and is done when there is a result. */
  #begin(): Promise<void> {
    if (this.#result !== null) return Promise.resolve();
    this.#read ??= this.#readOnce();
    this.#read.catch(() => undefined);
    return this.#read;
  }

  async #readOnce(): Promise<void> {
    const result = await sound(this.#reader.read(new Uint8Array(OUTPUT_BYTES)));
    this.#result = result;
    this.#read = null;
  }

  /** What was read; null at the end, or where nothing was. */
  #take(): Uint8Array | null {
    const result = this.#result;
    if (result === null || result.done) return null;
    this.#result = null;
    this.inflated += result.value.length;
    return result.value;
  }
}

async function sound<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new GzipDamaged(error instanceof Error ? error.message : String(error));
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
