import { sha256 } from "@noble/hashes/sha2.js";
import { HASH_BYTES } from "../core/manifest/version-index.ts";

const encoder = new TextEncoder();

/** The hash of a key in a version's index: the first 128 bits of SHA-256 of salt and key. Synchronous, unlike WebCrypto. */
export function hashKey(salt: Uint8Array, key: string): Uint8Array {
  return sha256.create().update(salt).update(encoder.encode(key)).digest().subarray(0, HASH_BYTES);
}
