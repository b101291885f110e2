import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { keyFilter } from "../../workers/core/migration/filter.ts";
import { type Listed, type Remembered, storeKey } from "../../workers/core/migration/join.ts";
import { throughWriter } from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectInfo } from "../../workers/ports/object-store.ts";
import { type Run, sourceKeyOf } from "./run.ts";

/** What the destination has at a key. */
export interface There {
  size: number;
  etag: string;
  /** Milliseconds since 1970. */
  lastModified: number;
}

/** What is beside one page of the source, by NFC key. */
export interface Beside {
  there: Map<string, There>;
  /** In the destination alone. */
  others: { key: string; etag: string }[];
  /** How far the destination was walked; null: through the whole interval. */
  reached: string | null;
}

/** Destination pages that are walked beside one page of the source. */
const PAGES_MAX = 10;

/**
 * What the destination has at the keys of a page: its own listing of the same interval (after, upTo], and a look at each key
 * that is not in NFC, since R2 sorts it elsewhere. Millions of other objects may lie between two keys of the page (a
 * job's outputs). Then the rest of the page is looked up key by key; or, where the others are `wanted` too, they are
 * walked as far as it goes, and the answer says how far.
 *
 * @param upTo the last key of the interval; null where it has no end, and then the walk is as long as `wanted` asks for
 */
export async function lookBeside(
  run: Run,
  listed: readonly Listed[],
  { after, upTo, wanted }: { after: string | null; upTo: string | null; wanted: boolean },
): Promise<Result<Beside>> {
  const { prefix, filter } = run.spec;
  const there = new Map<string, There>();
  const others: { key: string; etag: string }[] = [];
  const keys = new Set(listed.map(({ key }) => storeKey(key)));
  const last = wanted ? upTo : (listed.at(-1)?.key ?? null);
  if (!wanted && last === null) return ok({ there, others, reached: null });
  // The keys of a list may lie anywhere: there is no interval to walk.
  if (run.spec.keys !== null) return lookAt(run, listed, there);
  let from: string | null = after === null ? null : prefix + after;
  let isWhole = false;
  for (let pages = 0; pages < PAGES_MAX && !isWhole; pages++) {
    const page = await run.store.list({ prefix: prefix + filter.prefix, after: from });
    if (!page.ok) return page;
    for (const object of page.value.objects) {
      const key = object.key.slice(prefix.length);
      if (keys.has(key)) there.set(key, object);
      else if (last === null || compareUtf8(key, last) <= 0) others.push({ key, etag: object.etag });
    }
    from = page.value.next;
    isWhole = from === null || (last !== null && compareUtf8(from.slice(prefix.length), last) >= 0);
  }
  const reached = isWhole || from === null ? null : from.slice(prefix.length);
  const isUnseen = (key: string) => !wanted && reached !== null && compareUtf8(key, reached) > 0;
  const lookedUp = listed.map(({ key }) => key).filter((key) => storeKey(key) !== key || isUnseen(key));
  let trouble: Failure | null = null;
  await forEachLimited(lookedUp, CONNECTIONS_MAX, async (key) => {
    const head = await run.store.head(prefix + storeKey(key));
    if (head.ok) there.set(storeKey(key), head.value);
    else if (head.failure.code !== "object-not-found") trouble = head.failure;
  });
  if (trouble !== null) return fail(trouble);
  return ok({ there, others: wanted ? others : [], reached: wanted ? reached : null });
}

/**
 * Of the keys that only R2 has, those that a migration of this dataset (or a read of it) put there and nobody has changed
 * since; never a job's outputs, nor what some other tool put.
 */
export async function writtenByUs(
  run: Run,
  others: readonly { key: string; etag: string }[],
  rows: ReadonlyMap<string, Remembered>,
): Promise<Result<{ key: string; etag: string }[]>> {
  const unchanged = others.filter(({ key, etag }) => {
    const row = rows.get(key);
    return row?.etag === etag && (row.writer.startsWith("mig_") || row.writer === throughWriter(run.spec.datasetId));
  });
  const ours = new Set<string>();
  let trouble: Failure | null = null;
  let asked = 0;
  await forEachLimited(unchanged, CONNECTIONS_MAX, async ({ key }) => {
    // Each costs two requests, of the ten thousand that an invocation has. Those beyond are counted as they look:
    // each is looked at once more before it is deleted.
    if (!ONE_SPELLING.test(key) && ++asked > ASKED_MAX) {
      ours.add(key);
      return;
    }
    const gone = await isGone(run, key);
    if (!gone.ok) trouble = gone.failure;
    else if (gone.value) ours.add(key);
  });
  return trouble === null ? ok(unchanged.filter(({ key }) => ours.has(key))) : fail(trouble);
}

/** Looks at each key by itself. */
async function lookAt(run: Run, listed: readonly Listed[], there: Map<string, There>): Promise<Result<Beside>> {
  let trouble: Failure | null = null;
  await forEachLimited(listed, CONNECTIONS_MAX, async ({ key }) => {
    const head = await run.store.head(run.spec.prefix + storeKey(key));
    if (head.ok) there.set(storeKey(key), head.value);
    else if (head.failure.code !== "object-not-found") trouble = head.failure;
  });
  return trouble === null ? ok({ there, others: [], reached: null }) : fail(trouble);
}

/** Keys of one page that the source is asked for one by one. */
const ASKED_MAX = 500;

/** Keys that no other is in NFC: of ASCII, the Kelvin sign, the Greek question mark and varia become K, ; and `. */
const ONE_SPELLING = /^[^\x80-\u{10ffff}K;`]*$/u;

/** Whether the source has the object no more: what is this key only in NFC, the source lists elsewhere. */
async function isGone(run: Run, key: string): Promise<Result<boolean>> {
  if (ONE_SPELLING.test(key)) return ok(true);
  const head = await run.store.head(run.spec.prefix + key);
  if (!head.ok) return head.failure.code === "object-not-found" ? ok(false) : head;
  if (head.value.custom[ORIGIN.migration] === undefined) return ok(false);
  const spelled = spellingOf(key, head.value);
  // A filter speaks of keys as the source spells them.
  if (!keyFilter(run.spec.filter)(spelled)) return ok(false);
  const at = await isAtSource(run, spelled);
  return at.ok ? ok(!at.value) : at;
}

/** The source's key that R2's object was copied from, relative to the prefix. Metadata that we did not write name none. */
export function spellingOf(key: string, copy: ObjectInfo): string {
  try {
    return decodeURIComponent(copy.custom[ORIGIN.key] ?? encodeURIComponent(key));
  } catch {
    return key;
  }
}

/** Whether the source lists this key; or one that begins with it and cannot be read, which may be it. */
export async function isAtSource(run: Run, key: string): Promise<Result<boolean>> {
  const whole = sourceKeyOf(run, key);
  const page = await run.source.list({ prefix: whole, after: null, limit: 1 });
  if (!page.ok) return page;
  const { objects, malformed = [] } = page.value;
  return ok(objects[0]?.key === whole || malformed.length > 0);
}
