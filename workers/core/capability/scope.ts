/** What a capability opens: whole prefixes, and single keys. */
export interface Scope {
  readonly prefixes: readonly string[];
  readonly keys: readonly string[];
}

/** A prefix is empty, which is everything, or ends in `/`: so that `era5/` never opens `era5-private/`. */
export function isPrefix(text: string): boolean {
  return text === "" || text.endsWith("/");
}

/**
 * Whether the scope opens the key, byte for byte. What is listed as a prefix and is none opens nothing. A key that is
 * spelt in another Unicode normalisation than the scope is refused, though R2 would read the same object: the mistake is
 * on the safe side.
 */
export function covers(scope: Scope, key: string): boolean {
  return scope.keys.includes(key) || scope.prefixes.some((prefix) => isPrefix(prefix) && key.startsWith(prefix));
}

/** Whether the scope opens whatever may be in the key's folder and below: by the key, something may be told of all of it. */
export function coversFolder(scope: Scope, key: string): boolean {
  const folder = key.slice(0, key.lastIndexOf("/") + 1);
  return scope.prefixes.some((prefix) => isPrefix(prefix) && folder.startsWith(prefix));
}

/**
 * Whether one of two prefixes of a bucket contains the other; the empty one contains every other. Compared in NFC, to
 * which R2 normalises keys: two spellings of one name are one place.
 */
export function overlaps(a: string, b: string): boolean {
  const [left, right] = [a.normalize("NFC"), b.normalize("NFC")];
  return left.startsWith(right) || right.startsWith(left);
}
