import { type KeyRange, meets, RangeFollower } from "../core/jobs/units/key-ranges.ts";
import type { SealedFile } from "../core/manifest/version.ts";
import { ok, type Result } from "../core/result.ts";
import { type Group, groupsOf, readGroup } from "./sealed-files.ts";

/** An object of a version, by what its bytes are counted with, and known by. */
export interface SizedKey {
  /** Relative to the dataset's prefix, in NFC. */
  key: string;
  /** Bytes. */
  size: number;
  /** R2's, that was sealed. */
  etag: string;
}

/** Row groups that are read ahead of the one that is looked at: of their three columns each has some 700 KB. */
const AHEAD = 3;

/** The row groups of a version in which keys of these ranges can be, ascending: what a walk costs is known before it. */
export function groupsIn(files: readonly SealedFile[], ranges: readonly KeyRange[]): Group[] {
  const groups = groupsOf(files, "manifest");
  return groups.filter(({ firstKey }, at) => {
    const next = groups[at + 1]?.firstKey ?? null;
    return ranges.some((range) => meets(range, firstKey, next));
  });
}

/**
 * Walks the objects of a version whose keys are in these ranges, by key in UTF-8 order: one row group after the other, each
 * read once, and some ahead.
 *
 * @param groups as `groupsIn` finds them
 * @param ranges apart from one another, and ascending
 */
export async function* walkKeys(
  env: Env,
  groups: readonly Group[],
  ranges: readonly KeyRange[],
): AsyncGenerator<Result<SizedKey[]>, void, void> {
  const follower = new RangeFollower(ranges);
  const read = (group: Group) => readGroup(env, group, ["key", "size", "etag"]);
  const pending = groups.slice(0, AHEAD).map(read);
  for (let at = 0; at < groups.length; at++) {
    const records = await pending.shift();
    if (records === undefined) return;
    if (!records.ok) {
      yield records;
      return;
    }
    const group = groups[at + AHEAD];
    if (group !== undefined) pending.push(read(group));
    const found: SizedKey[] = [];
    for (const record of records.value) {
      const key = String(record["key"]);
      if (follower.holds(key)) found.push({ key, size: Number(record["size"]), etag: String(record["etag"]) });
    }
    yield ok(found);
  }
}
