import { type Failure, failure } from "../failure.ts";
import { checkKey } from "../http/key-path.ts";
import { storeKey } from "../migration/join.ts";
import { fail, ok, type Result } from "../result.ts";

/** A key as details quote it: it may be as long as a request. */
export const quoted = (key: string): string => `"${key.slice(0, 200)}"`;

/**
 * Keys of a request as R2 calls them. Each is checked before anything else is done with it: one that is too long for R2 is too
 * long for an object's table.
 *
 * @param fieldOf where the caller wrote the key of this index
 */
export function storeKeys(keys: readonly string[], fieldOf: (index: number) => string): Result<string[]> {
  for (const [index, key] of keys.entries()) {
    const checked = checkKey(storeKey(key), fieldOf(index));
    if (!checked.ok) return checked;
  }
  return ok(keys.map(storeKey));
}

/** Whether no key is named twice; two spellings that are the same in Unicode NFC are one key. */
export function checkOnce(keys: readonly string[], fieldOf: (index: number) => string): Failure | null {
  const seen = new Set<string>();
  for (const [index, key] of keys.map(storeKey).entries()) {
    const field = fieldOf(index);
    if (seen.has(key)) return failure("invalid-body", `${quoted(key)} is named twice; name it once.`, { field });
    seen.add(key);
  }
  return null;
}

/** The same of keys that were not checked before. */
export function storeKeysOnce(keys: readonly string[], fieldOf: (index: number) => string): Result<string[]> {
  const checked = storeKeys(keys, fieldOf);
  const twice = checked.ok ? checkOnce(keys, fieldOf) : null;
  return twice === null ? checked : fail(twice);
}
