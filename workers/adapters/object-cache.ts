/**
 * Whole objects in `caches.default`, keyed by bucket, key and ETag and never by token: who may read is decided before,
 * and the bytes at an ETag never change. Bytes are cached raw, without Content-Encoding.
 */
export interface ObjectCache {
  /** The object, or a part of it, as a stream of known length; null where it is not cached. */
  match(
    bucket: string,
    key: string,
    etag: string,
    part: { offset: number; length: number } | null,
  ): Promise<ReadableStream<Uint8Array> | null>;
  put(bucket: string, key: string, etag: string, bytes: Uint8Array): Promise<void>;
}

export const objectCache: ObjectCache = {
  async match(bucket, key, etag, part) {
    const range = part === null ? {} : { range: `bytes=${part.offset}-${part.offset + part.length - 1}` };
    try {
      const cached = await caches.default.match(new Request(cacheUrl(bucket, key, etag), { headers: range }));
      if (cached === undefined || cached.body === null) return null;
      // The Cache API answers a range with 206; anything else is not the part that was asked for.
      if (cached.status === (part === null ? 200 : 206)) return cached.body;
      await cached.body.cancel();
      return null;
    } catch {
      return null; // A cache that fails is a cache that misses.
    }
  },

  async put(bucket, key, etag, bytes) {
    const headers = {
      "cache-control": "public, max-age=31536000, immutable",
      "content-type": "application/octet-stream",
      "content-length": String(bytes.length),
    };
    try {
      await caches.default.put(cacheUrl(bucket, key, etag), new Response(bytes, { headers }));
    } catch (error) {
      console.warn(JSON.stringify({ message: "cache put failed", error: String(error) }));
    }
  },
};

const cacheUrl = (bucket: string, key: string, etag: string): string =>
  `https://objects.penstock.invalid/${encodeURIComponent(bucket)}/${encodeURIComponent(key)}?etag=${encodeURIComponent(etag)}`;
