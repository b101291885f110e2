import { migrationOf } from "../../workers/adapters/objects.ts";
import { r2StoreOf } from "../../workers/adapters/r2-stores.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { keyFilter } from "../../workers/core/migration/filter.ts";
import type { Listed } from "../../workers/core/migration/join.ts";
import type { KeysMessage } from "../../workers/core/migration/message.ts";
import { runFolder } from "../../workers/core/migration/request.ts";
import { csvLayoutOf, parseKeyList } from "../../workers/core/migration/report-line.ts";
import { utf8Length } from "../../workers/core/http/key-path.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectReader } from "../../workers/ports/object-store.ts";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { ACK, type Settlement } from "../settle.ts";
import { giveUpListing } from "./list.ts";
import { planPage } from "./page.ts";
import { writeReport } from "./report.ts";
import { listAgain, type Run } from "./run.ts";

/** Keys of one message: the source is asked for each, since a list says nothing else of them. */
const KEYS_MAX = 200;
/** Bytes of the list that are read for them: two hundred of the longest keys, escaped. */
const CHUNK_BYTES = 1024 * 1024;

/** Parts of a report that are looked through for one message. */
const PARTS_MAX = 50;

/** Where a list is read on: the part of a report, and a byte of it. */
interface Place {
  file: string | null;
  offset: number;
  /** Of the list as it was when its first lines were read. */
  etag: string | null;
}

/** Looks up the next keys of a list, and records what of them must be copied. */
export async function listKeys(message: KeysMessage, run: Run, env: Env): Promise<Settlement> {
  const read = await readKeys(message, run, env);
  if (!read.ok) return giveUpListing(message, run, read.failure);
  const { bad, next } = read.value;
  const keys = read.value.keys.filter(keyFilter(run.spec.filter));
  const objects: Listed[] = [];
  const missing: { key: string; failure: Failure; size: number }[] = [];
  let trouble: Failure | null = null;
  await forEachLimited([...new Set(keys)].sort(compareUtf8), CONNECTIONS_MAX, async (key) => {
    const found = await listAgain(run, { key, size: 0, etag: "", lastModified: 0, was: null });
    if (found.ok) objects.push(found.value);
    else if (found.failure.code === "source-object-missing") missing.push({ key, failure: found.failure, size: 0 });
    else trouble = found.failure;
  });
  if (trouble !== null) return giveUpListing(message, run, trouble);
  objects.sort((a, b) => compareUtf8(a.key, b.key));
  const planned = await planPage({ after: null, upTo: objects.at(-1)?.key ?? null, objects, malformed: [] }, run);
  if (!planned.ok) return giveUpListing(message, run, planned.failure);
  const { lines, reached: _, ...page } = planned.value;
  const failures = [...page.failures, ...missing, ...bad.map((failed) => ({ ...failed, size: 0 }))];
  const more = [...missing, ...bad].map(({ key, failure: { code, detail } }) => ({
    key,
    outcome: "failed" as const,
    size: null,
    code,
    detail,
  }));
  const report = await writeReport(run, message.seq, [...lines, ...more]);
  if (!report.ok) return giveUpListing(message, run, report.failure);
  await run.migration.recordPage(
    message.seq,
    { ...page, upTo: null, failures, rest: next, cuts: [], report: report.value },
    run.tally,
    false,
  );
  return ACK;
}

interface ReadKeys {
  keys: string[];
  bad: { key: string; failure: Failure }[];
  next: Place | null;
}

/** The next keys; of a report, whose parts may hold none that is wanted, from as many parts as it takes, up to a bound. */
async function readKeys(place: Place, run: Run, env: Env): Promise<Result<ReadKeys>> {
  const list = run.spec.keys;
  if (list === null) return fail(failure("internal", "The run has no list of keys."));
  if (list.kind === "object") {
    const store = r2StoreOf(env, list.bucket);
    if (store === null) return fail(failure("unknown-bucket", `There is no R2 binding named "${list.bucket}".`));
    return readChunk(store, list.key, place, list.format);
  }
  const other = migrationOf(env, list.migration);
  let at = place;
  for (let parts = 1; ; parts++) {
    const name = at.file ?? (await other.reportNames(null, 1))[0];
    if (name === undefined) return ok({ keys: [], bad: [], next: null });
    const key = runFolder(list.migration) + name;
    const read = await readChunk(run.system, key, at, "ndjson", list.outcomes);
    if (!read.ok) return read;
    const following = read.value.next === null ? (await other.reportNames(name, 1))[0] : name;
    const next = following === undefined ? null : { etag: null, offset: 0, ...read.value.next, file: following };
    const isFound = read.value.keys.length + read.value.bad.length > 0;
    if (next === null || isFound || parts >= PARTS_MAX) return ok({ ...read.value, next });
    at = next;
  }
}

/** Reads lines from a byte of an object on; `next` is null at its end. */
async function readChunk(
  store: ObjectReader,
  key: string,
  { offset, etag }: Place,
  format: "ndjson" | "csv",
  outcomes?: readonly string[],
): Promise<Result<ReadKeys>> {
  const chunk = await readText(store, key, offset, etag);
  if (!chunk.ok) return chunk;
  const { text, isEnd } = chunk.value;
  const first = format === "csv" && offset > 0 ? await readText(store, key, 0, etag) : null;
  if (first?.ok === false) return first;
  const layout = first === null ? null : csvLayoutOf(first.value.text, first.value.isEnd);
  if (first !== null && layout === null) return fail(unreadable(key, 0, "has no first line"));
  const options = {
    max: KEYS_MAX,
    isStart: offset === 0,
    isEnd,
    layout,
    ...(outcomes === undefined ? {} : { outcomes }),
  };
  const { keys, bad, consumed } = parseKeyList(text, format, options);
  if (consumed === 0 && !isEnd) return fail(unreadable(key, offset, `has a line of more than ${CHUNK_BYTES} bytes`));
  return ok({
    keys,
    bad: bad.map(({ line, detail }) => ({ key: `${key}:${offset}+${line}`, failure: failure("invalid-key", detail) })),
    // A list of nothing but a byte order mark has no line that could be consumed.
    next:
      isEnd && (consumed === 0 || consumed === utf8Length(text))
        ? null
        : { file: null, offset: offset + consumed, etag: chunk.value.etag },
  });
}

/** Text from a byte on, where a line starts, as far as a chunk goes; a character that is cut at its end is left out. */
async function readText(
  store: ObjectReader,
  key: string,
  offset: number,
  etag: string | null,
): Promise<Result<{ text: string; isEnd: boolean; etag: string }>> {
  const head = await store.head(key);
  if (!head.ok) return head.failure.code === "object-not-found" ? fail(listMissing(key)) : head;
  const { size } = head.value;
  // Read on at a byte of another text, it would have keys skipped in silence.
  if (etag !== null && etag !== head.value.etag) return fail(listReplaced(key));
  if (offset >= size) return ok({ text: "", isEnd: true, etag: head.value.etag });
  const range = { kind: "bounded" as const, start: offset, end: Math.min(offset + CHUNK_BYTES, size) - 1 };
  const got = await store.get(key, { range, ifMatch: head.value.etag });
  if (!got.ok) return got.failure.code === "precondition-failed" ? fail(listReplaced(key)) : got;
  const isEnd = range.end === size - 1;
  try {
    const bytes = await new Response(got.value.body).arrayBuffer();
    // What is consumed is counted in bytes of UTF-8: anything else would have keys skipped in silence.
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return ok({ text: decoder.decode(bytes, { stream: !isEnd }), isEnd, etag: head.value.etag });
  } catch {
    return fail(unreadable(key, offset, "is not UTF-8"));
  }
}

const unreadable = (key: string, offset: number, what: string): Failure =>
  failure("invalid-body", `The list "${key}" ${what}, from byte ${offset} on.`);

const listReplaced = (key: string): Failure =>
  failure("object-changed", `The list "${key}" was replaced while the run read it; start it again.`);

const listMissing = (key: string): Failure =>
  failure("object-not-found", `The list of keys "${key}" is not in its bucket.`);
