import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { type Listed, type Remembered, storeKey } from "../../workers/core/migration/join.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { throughWriter } from "../../workers/core/migration/message.ts";
import type { Run } from "./run.ts";

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
  for (const key of listed.map((object) => object.key).filter((name) => storeKey(name) !== name || isUnseen(name))) {
    const head = await run.store.head(prefix + storeKey(key));
    if (head.ok) there.set(storeKey(key), head.value);
    else if (head.failure.code !== "object-not-found") return head;
  }
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
  const ours: { key: string; etag: string }[] = [];
  for (const other of others) {
    const row = rows.get(other.key);
    const isOurs = row?.writer.startsWith("mig_") === true || row?.writer === throughWriter(run.spec.datasetId);
    if (!isOurs || row?.etag !== other.etag) continue;
    const elsewhere = await isSpelledOtherwise(run, other.key);
    if (!elsewhere.ok) return elsewhere;
    if (!elsewhere.value) ours.push(other);
  }
  return ok(ours);
}

/** Whether the source has the object at a key that is this one only in NFC, and lists elsewhere. */
async function isSpelledOtherwise(run: Run, key: string): Promise<Result<boolean>> {
  if (/^[\0-\x7f]*$/.test(key)) return ok(false);
  const head = await run.store.head(run.spec.prefix + key);
  if (!head.ok) return head.failure.code === "object-not-found" ? ok(true) : head;
  const spelled = head.value.custom[ORIGIN.key];
  if (spelled === undefined) return ok(false);
  const sourceKey = run.spec.source.prefix + decodeURIComponent(spelled);
  const page = await run.source.list({ prefix: sourceKey, after: null, limit: 1 });
  return page.ok ? ok(page.value.objects[0]?.key === sourceKey) : page;
}
