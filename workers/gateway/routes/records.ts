import * as z from "zod";
import { datasetOf } from "../../adapters/objects.ts";
import { openBytes, type RecordBytes, troubleOf } from "../../adapters/record-bytes.ts";
import { lookAt } from "../../adapters/record-indexing.ts";
import { findSealed } from "../../adapters/sealed-versions.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { parseRouteKey } from "../../core/http/key-path.ts";
import { RECORDS_MAX, SHARDS_MAX } from "../../core/limits.ts";
import { RecordAnswer } from "../../core/records/answer-records.ts";
import { splitterOf } from "../../core/records/index-builder.ts";
import { KINDS, type Resume } from "../../core/records/record.ts";
import type { RecordIndex } from "../../core/records/record-index.ts";
import { hasBroken, parseShard, planReading, type Stretch, stretchOf, within } from "../../core/records/selection.ts";
import { storeKey } from "../../core/migration/join.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { readQuery } from "../body.ts";
import { type Ctx, refuse } from "../context.ts";
import { wholeNumber } from "../paging.ts";
import { streamOf } from "../stream-of.ts";
import { versionOf } from "../version-of.ts";
import { findIndex, named, type RecordsTarget } from "./records-index.ts";

const shardSchema = z.string().transform((text, ctx) => {
  const shard = parseShard(text);
  if (shard !== null) return shard;
  const message = `is not of the form i/n, as 0/4 to 3/4 of four parts, of at most ${SHARDS_MAX}`;
  ctx.addIssue({ code: "custom", message });
  return z.NEVER;
});

const recordsQuery = z.strictObject({
  /** In place of the path; read from the raw URL. */
  key: z.string().optional(),
  version: z.string().default("live"),
  offset: wholeNumber(0).default(0),
  limit: wholeNumber(1, RECORDS_MAX).optional(),
  shard: shardSchema.optional(),
  etag: z
    .string()
    .regex(/^"?[\x21\x23-\x7e]{1,256}"?$/, "is not an ETag that was given out")
    .transform((text) => text.replaceAll('"', ""))
    .optional(),
  as: z.enum(KINDS).optional(),
  onBroken: z.enum(["skip", "refuse"]).default("skip"),
});

/**
 * `GET /v1/datasets/:dataset/records/*key`: records of an object in R2, as NDJSON, one a line and as they stand there. The
 * last line is none of them: it says how many were sent, which were left out, and where to go on, or what broke the answer
 * off.
 */
export async function records(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const query = readQuery(c, recordsQuery);
  if (!query.ok) return refuse(c, query.failure);
  const key = parseRouteKey(c.req.raw.url, 4);
  if (!key.ok) return refuse(c, key.failure);
  const config = await datasetOf(c.env, name).config();
  if (!config.ok) return refuse(c, config.failure);
  const version = await versionOf(c.env, name, query.value.version, "version");
  if (!version.ok) return refuse(c, version.failure);
  const sealed = await sealedAt(c, config.value, version.value.name, key.value);
  if (!sealed.ok) return refuse(c, sealed.failure);
  return answerRecords(c, { config: config.value, key: key.value, sealed: sealed.value, query: query.value });
}

/** What a version sealed at the key; null on "live". */
async function sealedAt(
  c: Ctx,
  dataset: { id: string; name: string },
  version: string,
  key: string,
): Promise<Result<RecordsTarget["sealed"]>> {
  if (version === "live") return ok(null);
  const resolver = await findSealed(c.env, dataset, version, (work) => c.executionCtx.waitUntil(work));
  if (!resolver.ok) return resolver;
  const found = await resolver.value.resolve(storeKey(key), true);
  if (found.ok) return ok({ version, etag: found.value.etag });
  if (found.failure.code !== "object-not-found") return found;
  const detail = `Version ${version} of "${dataset.name}" has no object "${key}".`;
  return fail(failure("object-not-found", detail, { field: "key" }));
}

/** Answers with the records of an object. */
async function answerRecords(
  c: Ctx,
  target: RecordsTarget & { query: z.output<typeof recordsQuery> },
): Promise<Response> {
  const { query } = target;
  const found = await findIndex(c, target);
  if (!found.ok) return refuse(c, found.failure);
  const { index, store, isCurrent } = found.value;
  if (index.refused !== null) return refuse(c, failure(index.refused.code, index.refused.detail, { field: "key" }));
  const shard = query.shard ?? null;
  const whole = stretchOf(index.records, shard);
  const stretch = within(whole, query.offset, query.limit ?? null, shard);
  if (query.onBroken === "refuse" && hasBroken(index, stretch) === true) {
    const first = index.named.find(({ record }) => record >= stretch.first && record < stretch.end);
    const which =
      first === undefined ? "One of these records" : `Record ${first.record} (line ${first.line}: ${first.reason})`;
    const detail = `${which} cannot be read. Leave it out by onBroken=skip, or ask for records beside it.`;
    return refuse(c, failure("record-broken", detail, { field: "onBroken" }));
  }
  const headers = {
    "content-type": "application/x-ndjson",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-request-id": c.get("requestId"),
    "x-penstock-etag": index.etag,
    "x-penstock-records-total": String(index.records),
    "x-penstock-records-broken": String(index.broken),
  };
  const plan = planReading(index, stretch);
  const answer = new RecordAnswer(index, stretch, query.onBroken === "refuse");
  const account: Account = { answer, index, whole, shard };
  if (plan === null || c.req.method === "HEAD") {
    // No bytes are read, which would have told whether the object is still the one that was indexed.
    const looked = isCurrent ? ok(null) : await lookAt(store, index);
    if (!looked.ok) return refuse(c, named(looked.failure, target));
    return new Response(c.req.method === "HEAD" ? null : endLine(account, null), { headers });
  }
  const opened = await openBytes({ store, ...index }, plan.from.offset, plan.until);
  if (!opened.ok) return refuse(c, named(opened.failure, target));
  const body = streamOf((gone) => {
    gone.addEventListener("abort", () => void opened.value.cancel());
    return lines(opened.value, plan.from, plan.until === null, account);
  });
  return new Response(body, { headers });
}

interface Account {
  answer: RecordAnswer;
  index: RecordIndex;
  whole: Stretch;
  shard: { index: number; of: number } | null;
}

async function* lines(
  { chunks }: RecordBytes,
  from: Resume,
  toEnd: boolean,
  account: Account,
): AsyncGenerator<Uint8Array, void, void> {
  const { answer, index } = account;
  let trouble: Failure | null = null;
  try {
    const splitter = splitterOf(index.kind, from);
    for await (const chunk of chunks) {
      const made = answer.take(splitter.push(chunk));
      if (made !== null) yield made;
      if (answer.isOver) break;
    }
    // What is cut at another record's start has nothing that its end would end.
    const last = answer.isOver || !toEnd ? null : answer.take(splitter.end());
    if (last !== null) yield last;
    if (!answer.isOver) trouble = failure("store-unavailable", "The object's bytes ended before its records did.");
  } catch (error) {
    trouble = troubleOf(error);
  }
  if (answer.refused !== null) {
    const { record, line, reason } = answer.refused;
    trouble = failure("record-broken", `Record ${record} (line ${line}) cannot be read: ${reason}.`);
  }
  yield new TextEncoder().encode(endLine(account, trouble));
}

/** The last line of an answer. `offset` and `next` are what was asked for and what to ask for: in a shard, they count from its start. */
function endLine({ answer, index, whole, shard }: Account, trouble: Failure | null): string {
  const { sent, skipped, named: broken, next, first } = answer;
  const end = {
    end: trouble === null,
    ...(trouble === null ? {} : { failure: { code: trouble.code, detail: trouble.detail } }),
    records: sent,
    offset: first - whole.first,
    next: next < whole.end ? next - whole.first : null,
    total: whole.end - whole.first,
    etag: index.etag,
    ...(shard === null ? {} : { shard: { ...shard, first: whole.first } }),
    skipped,
    broken,
  };
  return `${JSON.stringify(end)}\n`;
}
