import type { RegistryEntry } from "./registry.ts";

/** An entry of a registry file, and the keys that its path may mean, the likeliest first. */
export interface AskedEntry {
  entry: RegistryEntry;
  keys: string[];
}

/**
 * What a registry's entry is in the manifest: `unchanged`, its path is a key; `canonical`, its object has another key than
 * its path; `missing`, no object is found by it; `ambiguous`, several are.
 */
export interface FoundEntry {
  entry: RegistryEntry;
  found: "unchanged" | "canonical" | "missing" | "ambiguous";
  key: string | null;
  /** Of an ambiguous one, some of the keys that it may mean. */
  candidates: string[];
}

/**
 * Decides by which key an entry goes: its path as it is; else the one object at a key that the path may mean; else the one
 * that resolves by the path's last segment.
 *
 * @param known whether the manifest has the key
 * @param byName keys that the last segment resolves to
 */
export function findEntry(
  { entry, keys }: AskedEntry,
  known: (key: string) => boolean,
  byName: (entry: RegistryEntry) => string[],
): FoundEntry {
  const there = keys.filter(known);
  if (there.includes(entry.path)) return { entry, found: "unchanged", key: entry.path, candidates: [] };
  const candidates = there.length > 0 ? there : byName(entry);
  const [key = null] = candidates;
  if (key === null) return { entry, found: "missing", key, candidates };
  return candidates.length === 1
    ? { entry, found: "canonical", key, candidates: [] }
    : { entry, found: "ambiguous", key: null, candidates };
}
