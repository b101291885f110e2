/**
 * Whole small objects in `caches.default`, keyed by bucket, key and ETag and never by token: who may read is decided
 * before, and the bytes at an ETag never change. Bytes are cached raw, without Content-Encoding.
 */
export interface ObjectCache {
  match(bucket: string, key: string, etag: string): Promise<Uint8Array | null>;
  put(bucket: string, key: string, etag: string, bytes: Uint8Array): Promise<void>;
}

export const objectCache: ObjectCache = {
  async match(bucket, key, etag) {
    try {
      const cached = await caches.default.match(cacheUrl(bucket, key, etag));
      return cached === undefined ? null : new Uint8Array(await cached.arrayBuffer());
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
