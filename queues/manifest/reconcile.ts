import type { ComputedChecksums } from "../../durable-objects/dataset/rows.ts";
import { digestBody } from "../../workers/adapters/body-digests.ts";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { type Failure, isTransient } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX, HASH_MESSAGE_BYTES, HASH_OBJECT_MAX_BYTES } from "../../workers/core/limits.ts";
import {
  compareSides,
  type Difference,
  NOTHING_WALKED,
  type ReconcileMessage,
  type UnhashedRow,
  type WalkCounts,
} from "../../workers/core/manifest/reconcile.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { answerQuestions, openPlace, type Place } from "./answer.ts";
import { sendShardIndexes } from "./shard-index.ts";

/**
 * Pages that one message walks, and keys that it has R2 asked about, each up to four times: within the 10,000 subrequests of an
 * invocation, also beside the notifications and rows of one batch.
 */
const PAGES_MAX = 10;
const QUESTIONS_MAX = 1000;
/** Objects that one message reads for their checksums. */
const HASHED_MAX = 500;
/** Who finds what a walk meets, where the object names no writer. */
const FINDER = "reconcile";

/** How far a step came: to this key, or (null) through all of them. */
interface Walked {
  end: string | null;
  counts: Partial<WalkCounts>;
}

/** One step of a walk. A step that has ended is nothing to do; the Dataset counts each once, and sends the next. */
export async function reconcile(message: ReconcileMessage, env: Env): Promise<Settlement> {
  const { dataset: name, datasetId, walk, step } = message;
  const dataset = datasetOf(env, name);
  const todo = await dataset.walkStep(datasetId, walk, step);
  if (todo === null) return ACK;
  const place = await openPlace(env, name, datasetId);
  const work = todo.phase === "keys" ? walkKeys : hashRows;
  const walked = place.ok ? await work(place.value, todo.after, env, name) : place;
  if (walked.ok) {
    await dataset.walked(walk, step, walked.value.end, walked.value.counts);
    return ACK;
  }
  if (isTransient(walked.failure.code)) return settlementOf(walked.failure);
  await dataset.failWalk(walk, step, walked.failure);
  return ACK;
}

/** Walks R2's listing and the rows side by side, and has R2 asked about what differs. */
async function walkKeys(place: Place, after: string | null, env: Env, name: string): Promise<Result<Walked>> {
  const { dataset, config, store } = place;
  const { prefix, id: datasetId } = config;
  const counts = { ...NOTHING_WALKED };
  let end = after;
  let asked = 0;
  for (let page = 0; page < PAGES_MAX && asked < QUESTIONS_MAX; page++) {
    const listing = await store.list({ prefix, after: end === null ? null : prefix + end });
    if (!listing.ok) return listing;
    const items = listing.value.objects
      .map((object) => ({ ...object, key: object.key.slice(prefix.length) }))
      // An object by the name of the prefix itself has no key in the dataset.
      .filter(({ key }) => key !== "");
    const upTo = listing.value.next === null ? null : listing.value.next.slice(prefix.length);
    const found = compareSides({ items, end: upTo }, await dataset.walkRows(end, upTo), QUESTIONS_MAX - asked);
    const mended = await mend(place, found.hints);
    if (!mended.ok) return mended;
    asked += found.hints.length;
    counts.listed += found.listed;
    counts.same += found.same;
    counts.refused += mended.value.refused;
    for (const count of ["added", "changed", "removed"] as const) counts[count] += mended.value[count];
    // An index that is as its row says was read when the row was written.
    const news = found.hints.filter(({ isListed }) => isListed).map(({ key }) => key);
    await sendShardIndexes(env, { dataset: name, datasetId }, news);
    // The rest of the page is listed again.
    end = found.end;
    if (end === null) break;
  }
  return ok({ end, counts });
}

type Mended = Pick<WalkCounts, "added" | "changed" | "removed" | "refused">;

async function mend(place: Place, differences: Difference["hints"]): Promise<Result<Mended>> {
  if (differences.length === 0) return ok(NOTHING_WALKED);
  // Without the ETag: that of the row may be the same, and R2 is asked all the same.
  const hints = differences.map(({ key }) => ({ key, etag: null }));
  const hinted = await place.dataset.hint(place.config.id, hints);
  if (!hinted.ok) return hinted;
  const answered = await answerQuestions(place, hinted.value.questions, { finder: FINDER });
  if (!answered.ok) return answered;
  // Goes on where the manifest is full: what is gone makes room.
  return ok({ ...answered.value, refused: answered.value.refused?.keys.length ?? 0 });
}

/** Reads objects whose rows lack a SHA-256, each pinned to its row's ETag; what has changed meanwhile is left out. */
async function hashRows({ dataset, config, store }: Place, after: string | null): Promise<Result<Walked>> {
  const page = await dataset.walkUnhashed(after);
  const { rows, end, tooLarge } = cut(page.items, page.end);
  const said: ComputedChecksums[] = [];
  let problem: Failure | null = null;
  await forEachLimited(rows, CONNECTIONS_MAX, async ({ key, size, etag }) => {
    if (problem !== null) return;
    const got = await store.get(config.prefix + key, { ifMatch: etag });
    if (!got.ok) {
      if (got.failure.code !== "object-not-found" && got.failure.code !== "precondition-failed") problem = got.failure;
      return;
    }
    const digests = await digestBody(got.value.body, got.value.length, { sha256: true });
    if (digests.ok) said.push({ key, size, etag, md5: digests.value.md5, sha256: digests.value.sha256 });
    else problem = digests.failure;
  });
  // What was read counts, though something else failed: the step comes again, and does not read it once more.
  const taken = await dataset.takeChecksums(config.id, said);
  if (!taken.ok) return taken;
  return problem === null ? ok({ end, counts: { hashed: said.length, tooLarge } }) : fail(problem);
}

/** As many rows as one message reads, and where the next goes on. */
function cut(
  items: readonly UnhashedRow[],
  end: string | null,
): { rows: UnhashedRow[]; end: string | null; tooLarge: number } {
  const rows: UnhashedRow[] = [];
  let [bytes, tooLarge, last] = [0, 0, null as string | null];
  for (const row of items) {
    if (row.size > HASH_OBJECT_MAX_BYTES) tooLarge += 1;
    else if (rows.length > 0 && (rows.length === HASHED_MAX || bytes + row.size > HASH_MESSAGE_BYTES)) {
      return { rows, end: last, tooLarge };
    } else {
      rows.push(row);
      bytes += row.size;
    }
    last = row.key;
  }
  return { rows, end, tooLarge };
}
