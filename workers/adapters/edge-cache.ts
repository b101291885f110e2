import { type ByteSpan, formatContentRange } from "../core/http/range.ts";

/**
 * Blocks in `caches.default`, the cache of one data centre. A name says bucket, key, ETag and block, and never a token:
 * who may read is decided before, and the bytes at an ETag never change. Bytes are cached raw, without Content-Encoding.
 * A cache that fails is a cache that misses.
 */
export interface EdgeCache {
  /** A part of the block as a stream of `part.length` bytes (offsets count from the block's beginning). */
  stream(name: string, part: ByteSpan, blockLength: number): Promise<ReadableStream<Uint8Array> | null>;
  /** The whole block. */
  bytes(name: string, blockLength: number): Promise<Uint8Array | null>;
  /** What was noted with the block when it was put. */
  note(name: string): Promise<string | null>;
  /** `note` is text that may stand in a header. */
  put(name: string, block: Uint8Array, note: string): Promise<void>;
}

const NOTE = "penstock-note";

export const edgeCache: EdgeCache = {
  async stream(name, part, blockLength) {
    const isWhole = part.length === blockLength;
    const headers = isWhole ? {} : { range: `bytes=${part.offset}-${part.offset + part.length - 1}` };
    const cached = await match(new Request(urlOf(name), { headers }));
    if (cached === null || cached.body === null) return null;
    // The Cache API answers a range with 206; anything else is not the part that was asked for.
    const isRight = isWhole
      ? cached.status === 200
      : cached.status === 206 &&
        cached.headers.get("content-range") === formatContentRange(part.offset, part.length, blockLength);
    if (isRight) return cached.body;
    await cached.body.cancel();
    return null;
  },

  async bytes(name, blockLength) {
    const cached = await match(urlOf(name));
    if (cached === null) return null;
    try {
      const bytes = new Uint8Array(await cached.arrayBuffer());
      return cached.status === 200 && bytes.length === blockLength ? bytes : null;
    } catch {
      return null;
    }
  },

  async note(name) {
    const cached = await match(urlOf(name));
    await cached?.body?.cancel();
    return cached?.headers.get(NOTE) ?? null;
  },

  async put(name, block, note) {
    const headers = {
      "cache-control": "public, max-age=31536000, immutable",
      "content-type": "application/octet-stream",
      "content-length": String(block.length),
      [NOTE]: note,
    };
    try {
      await caches.default.put(urlOf(name), new Response(block, { headers }));
    } catch (error) {
      console.warn(JSON.stringify({ message: "cache put failed", error: String(error) }));
    }
  },
};

async function match(request: Request | string): Promise<Response | null> {
  try {
    return (await caches.default.match(request)) ?? null;
  } catch {
    return null;
  }
}

const urlOf = (name: string): string => `https://blocks.penstock.invalid/${name}`;
