import { type Failure, isTransient } from "../../workers/core/failure.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { joinPage, type Listed, storeKey } from "../../workers/core/migration/join.ts";
import type { ListMessage } from "../../workers/core/migration/message.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { utf8Length } from "../../workers/core/http/key-path.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement } from "../settle.ts";
import { type Run, sourceKeyOf } from "./run.ts";

/** Walks one page of the source beside what R2 has at its keys, and records what must be copied. */
export async function listPage(message: ListMessage, run: Run): Promise<Settlement> {
  const { spec } = run;
  const after = message.after === null ? null : sourceKeyOf(run, message.after);
  const page = await run.source.list({ prefix: spec.source.prefix, after });
  if (!page.ok) return giveUp(message, run, page.failure);
  const listed = page.value.objects.map((object) => ({ ...object, key: object.key.slice(spec.source.prefix.length) }));
  const there = await destinationOf(run, listed, message.after);
  if (!there.ok) return giveUp(message, run, there.failure);
  const rows = await run.dataset.remember(listed.map(({ key }) => storeKey(key)));
  const plan = joinPage(named(listed), there.value, new Map(rows.map((row) => [row.key, row])), {
    multipartThresholdBytes: spec.multipartThresholdBytes,
    prefixBytes: utf8Length(spec.prefix),
  });
  const sizes = new Map(listed.map(({ key, size }) => [key, size]));
  const skipped = { objects: plan.same.length, bytes: plan.same.reduce((sum, { item }) => sum + item.size, 0) };
  const found = plan.same
    .filter(({ known }) => !known)
    .map(({ item }): Row => foundRow(item, there.value.get(storeKey(item.key)), spec.id));
  await run.migration.recordPage(
    message.seq,
    {
      after: message.after,
      upTo: listed.at(-1)?.key ?? message.after,
      isLast: page.value.next === null,
      skipped,
      found,
      small: plan.small,
      large: plan.large,
      failures: plan.failures.map((failed) => ({ ...failed, size: sizes.get(failed.key) ?? 0 })),
    },
    run.tally,
  );
  return ACK;
}

/** The empty marker of the source's prefix itself is no object of the dataset; one with bytes is a failure. */
const named = (listed: readonly Listed[]): Listed[] => listed.filter(({ key, size }) => key !== "" || size > 0);

/** R2 pages that are walked beside one page of the source. */
const DESTINATION_PAGES_MAX = 10;

/**
 * What R2 has at the keys of a page, by NFC key: its own listing of the same interval, and a look at each key that
 * is not in NFC, since R2 sorts it elsewhere. Where millions of other objects lie between two keys of the page (a
 * job's outputs), the rest of the page is looked up key by key.
 */
async function destinationOf(
  run: Run,
  listed: readonly Listed[],
  after: string | null,
): Promise<Result<Map<string, Destination>>> {
  const there = new Map<string, Destination>();
  const last = listed.at(-1)?.key;
  if (last === undefined) return ok(there);
  const { prefix } = run.spec;
  const wanted = new Set(listed.map(({ key }) => storeKey(key)));
  let from: string | null = after === null ? null : prefix + after;
  let pages = 0;
  do {
    const page = await run.store.list({ prefix, after: from });
    if (!page.ok) return page;
    for (const object of page.value.objects) {
      const key = object.key.slice(prefix.length);
      if (wanted.has(key)) there.set(key, object);
    }
    from = page.value.next;
    pages++;
  } while (from !== null && compareUtf8(from.slice(prefix.length), last) < 0 && pages < DESTINATION_PAGES_MAX);
  const reached = from?.slice(prefix.length) ?? null;
  const isUnseen = (key: string) => reached !== null && compareUtf8(key, reached) > 0;
  for (const key of listed.map((object) => object.key).filter((name) => storeKey(name) !== name || isUnseen(name))) {
    const head = await run.store.head(prefix + storeKey(key));
    if (head.ok) there.set(storeKey(key), head.value);
    else if (head.failure.code !== "object-not-found") return head;
  }
  return ok(there);
}

interface Destination {
  size: number;
  etag: string;
  lastModified: number;
}

/**
 * The row of an object that was there before any migration of ours: equal ETags prove equal bytes, as an MD5 where
 * the ETag is one, else as a multipart ETag of equal parts.
 */
function foundRow(item: Listed, there: Destination | undefined, writer: string): Row {
  return {
    key: storeKey(item.key),
    size: item.size,
    etag: there?.etag ?? item.etag,
    uploadedAt: there?.lastModified ?? 0,
    contentType: null,
    proof: item.etag.includes("-") ? "etag" : "md5",
    sourceEtag: item.etag,
    sourceModifiedAt: item.lastModified,
    writer,
  };
}

/** A listing that may go better later is postponed; any other ends the run, since it cannot be complete. */
async function giveUp(message: ListMessage, run: Run, problem: Failure): Promise<Settlement> {
  console.warn(JSON.stringify({ message: "listing failed", migration: run.spec.id, code: problem.code }));
  if (isTransient(problem.code)) await run.migration.postpone(message, problem, run.tally);
  else await run.migration.failRun(message.seq, problem, run.tally);
  return ACK;
}
