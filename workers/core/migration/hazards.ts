import { utf8Length } from "../http/key-path.ts";
import { KEY_MAX_BYTES, METADATA_MAX_BYTES, OBJECT_MAX_BYTES } from "../limits.ts";
import { isArchived, type Listed, storeKey } from "./join.ts";
import { metadataBytes, metadataOfCopy } from "./metadata.ts";
import { partCount, usualPartBytes } from "./parts.ts";

/** What will go wrong, or come out differently than one might think. */
export const HAZARDS = {
  "nfc-conflict": "Not copied: another key is the same in Unicode NFC, which is how R2 keeps keys",
  "not-nfc": "Copied to its key in Unicode NFC, under which readers must ask for it",
  unaddressable: 'Not copied: no URL leads to the key "." or ".."',
  "dot-segments": "Copied; readers must name the key in the query, or write slashes beside dot segments as %2F",
  "double-slash": "Copied; readers must name the key in the query, or write the slashes as %2F",
  "control-characters": "Copied; some tools cannot list or name such keys",
  "key-too-long": "Not copied: with the dataset's prefix, the key is longer than R2's 1,024 bytes",
  archived: "Not copied unless it is there already: it must be restored at the source first",
  "object-too-large": "Not copied: it is larger than R2 takes",
  "unequal-parts": "Copied; its ETag comes out as another unless the source tells its part size, and that is equal",
  "encoded-body": "Copied as it is stored, encoded, with its Content-Encoding",
  "oversized-metadata":
    "Not copied: with the entries that say where it came from, its metadata is over R2's 8,192 bytes",
  "encrypted-etag": "Copied; the source's ETag is no MD5, so that the proof is of less",
  tagged:
    "Copied, for one more request each; R2 has no tags: the manifest keeps them, and R2's metadata where there is room",
} as const;
export type HazardKind = keyof typeof HAZARDS;

/** Kinds that no listing tells. */
const SAMPLED = [
  "encoded-body",
  "oversized-metadata",
  "encrypted-etag",
  "tagged",
] as const satisfies readonly HazardKind[];

/** Of a kind that no listing tells, `objects` are so many of the `sampledOf` that were looked at; of others, of all. */
export interface Hazard {
  objects: number;
  sampledOf?: number;
  keys: string[];
}
export type Hazards = Partial<Record<HazardKind, Hazard>>;

/** Keys that are named of each kind, of all that are counted. */
const KEYS_NAMED = 5;

/**
 * What a page of a listing tells. Of two keys that are one in NFC it knows where both are on the page, as they are
 * unless a thousand keys lie between the two spellings.
 *
 * @param options.prefixBytes bytes of the dataset's prefix in R2
 * @param options.sourcePrefix the source's, which its keys have in front
 */
export function findHazards(
  page: readonly Listed[],
  { prefixBytes, sourcePrefix = "" }: { prefixBytes: number; sourcePrefix?: string },
): Hazards {
  const owners = new Map<string, number>();
  for (const { key } of page) owners.set(storeKey(key), (owners.get(storeKey(key)) ?? 0) + 1);
  return collect(page, (object) => {
    const name = storeKey(object.key);
    const isConflict = (owners.get(name) ?? 0) > 1;
    return [
      ...(isConflict ? (["nfc-conflict"] as const) : []),
      ...(name !== object.key && !isConflict ? (["not-nfc"] as const) : []),
      ...inKey(sourcePrefix + object.key),
      ...(utf8Length(name) + prefixBytes > KEY_MAX_BYTES ? (["key-too-long"] as const) : []),
      ...(isArchived(object) ? (["archived"] as const) : []),
      ...(object.size > OBJECT_MAX_BYTES ? (["object-too-large"] as const) : []),
      ...(hasUnusualParts(object) ? (["unequal-parts"] as const) : []),
    ];
  });
}

/** Each copy names its migration; all their ids are of this length. */
const SOME_MIGRATION = `mig_${"0".repeat(26)}`;

/** What a HEAD tells of an object; its key is relative to the prefix. */
export interface Inspected {
  key: string;
  size: number;
  etag: string;
  lastModified: number;
  /** Hex; null where the source does not vouch for one. */
  md5: string | null;
  http: { contentEncoding?: string } & Parameters<typeof metadataBytes>[0]["http"];
  custom: Record<string, string>;
  /** Where there are any. */
  tagCount?: number;
}

/** What objects tell that were looked at one by one; also of kinds of which there are none, how many were. */
export function inspectHazards(objects: readonly Inspected[]): Hazards {
  const found = collect(objects, (object) => [
    ...(object.http.contentEncoding === undefined ? [] : (["encoded-body"] as const)),
    ...(metadataBytes(metadataOfCopy(object, object.key, SOME_MIGRATION)) > METADATA_MAX_BYTES
      ? (["oversized-metadata"] as const)
      : []),
    ...(object.md5 === null && partCount(object.etag) === null ? (["encrypted-etag"] as const) : []),
    ...(object.tagCount === undefined ? [] : (["tagged"] as const)),
  ]);
  if (objects.length === 0) return found;
  const none = { objects: 0, keys: [] };
  return Object.fromEntries(
    SAMPLED.map((kind): [HazardKind, Hazard] => [kind, { ...(found[kind] ?? none), sampledOf: objects.length }]),
  );
}

/** Those of which there are objects. */
export const hazardsFound = (hazards: Hazards): Hazards =>
  Object.fromEntries(Object.entries(hazards).filter(([, { objects }]) => objects > 0));

/** Both together, with the first keys of each kind. */
export function addHazards(a: Hazards, b: Hazards): Hazards {
  const sum: Hazards = {};
  for (const kind of KINDS) {
    const [first, second] = [a[kind], b[kind]];
    if (first === undefined && second === undefined) continue;
    const sampledOf = (first?.sampledOf ?? 0) + (second?.sampledOf ?? 0);
    sum[kind] = {
      objects: (first?.objects ?? 0) + (second?.objects ?? 0),
      ...(sampledOf > 0 ? { sampledOf } : {}),
      keys: [...(first?.keys ?? []), ...(second?.keys ?? [])].slice(0, KEYS_NAMED),
    };
  }
  return sum;
}

const KINDS = Object.keys(HAZARDS) as HazardKind[];

function collect<T extends { key: string }>(objects: readonly T[], kindsOf: (object: T) => HazardKind[]): Hazards {
  const found: Hazards = {};
  for (const object of objects) {
    for (const kind of kindsOf(object)) {
      const { objects: count, keys } = found[kind] ?? { objects: 0, keys: [] };
      found[kind] = { objects: count + 1, keys: keys.length < KEYS_NAMED ? [...keys, object.key] : keys };
    }
  }
  return found;
}

/** What is odd about a whole key as it is at the source. */
function inKey(key: string): HazardKind[] {
  if (key === "." || key === "..") return ["unaddressable"];
  return [
    ...(DOT_SEGMENT.test(key) ? (["dot-segments"] as const) : []),
    ...(EMPTY_SEGMENT.test(key) ? (["double-slash"] as const) : []),
    ...(CONTROL.test(key) ? (["control-characters"] as const) : []),
  ];
}

const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/;
/** A slash at the very start stands behind another one in every URL. */
const EMPTY_SEGMENT = /^\/|\/\//;
/** Unicode's general category Cc. */
const CONTROL = /\p{Cc}/u;

/** No part size that tools use gives as many parts: they are unequal, or of a size that only the source can tell. */
function hasUnusualParts({ etag, size }: Listed): boolean {
  const count = partCount(etag);
  return count !== null && size > 0 && usualPartBytes(size, count) === null;
}
