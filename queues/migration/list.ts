import { type Failure } from "../../workers/core/failure.ts";
import { mayPass } from "../../workers/core/migration/backoff.ts";
import { QUEUE_BACKLOG_MAX } from "../../workers/core/limits.ts";
import { compareUtf8 } from "../../workers/core/migration/utf8-order.ts";
import type { KeysMessage, ListMessage } from "../../workers/core/migration/message.ts";
import { ACK, type Settlement } from "../settle.ts";
import { findCuts } from "./cut.ts";
import { type Found, planPage } from "./page.ts";
import { writeReport } from "./report.ts";
import { type Run, sourceKeyOf, takeTally } from "./run.ts";

/** Pages that one consumer walks before it lets others have its place: copying begins with the first of them. */
const PAGES_MAX = 8;
/** Requests after which it does so too: an invocation has ten thousand, and one page may take two. */
const REQUESTS_MAX = 2000;
/** Seconds that a listing waits where the queue has more than enough. */
const BACKLOG_SECONDS = 15;

/** A range to be listed, and the message that its consumer answers for. */
type Range = Pick<ListMessage, "seq" | "after" | "end">;

/**
 * Walks pages of the source beside what R2 has at their keys, and records what must be copied: one page after the other,
 * each asked for while the one before is planned, until the Migration object has others do it or enough is under way.
 */
export async function listPages(message: ListMessage, run: Run, wantsCut: boolean): Promise<Settlement> {
  if (await isBacklogged(run)) {
    await run.migration.putOff(message.seq, BACKLOG_SECONDS);
    return ACK;
  }
  let range: Range = message;
  let asked = ask(range.after, run);
  let requests = 0;
  for (let pages = 1; ; pages++) {
    const page = await asked;
    if (!page.ok) return giveUpListing({ ...message, ...range }, run, page.failure);
    const found = inRange(page.value, range, run);
    // On the way back each object may be asked for: a page is enough for the requests of one invocation.
    const isGoingOn = pages < (run.spec.direction === "back" ? 1 : PAGES_MAX);
    const left =
      page.value.next === null || found.upTo !== null ? null : page.value.next.slice(run.spec.source.prefix.length);
    // Of a listing that goes on in this consumer, the next page is asked for before this one is planned.
    if (left !== null && isGoingOn) asked = ask(left, run);
    const planned = await planPage({ ...found, upTo: left ?? range.end }, run);
    if (!planned.ok) return giveUpListing({ ...message, ...range }, run, planned.failure);
    const { lines, reached, ...rest } = planned.value;
    const after = reached ?? left;
    const cuts =
      after !== null && reached === null && wantsCut && pages === 1
        ? await findCuts(run, { after, end: range.end })
        : [];
    const report = await writeReport(run, range.seq, lines);
    if (!report.ok) return giveUpListing({ ...message, ...range }, run, report.failure);
    const tally = takeTally(run);
    requests += tally.classA + tally.classB + tally.sourceGet + tally.sourceList;
    const next = await run.migration.recordPage(
      range.seq,
      { ...rest, rest: after === null ? null : { after, end: range.end }, cuts, report: report.value },
      tally,
      isGoingOn && requests < REQUESTS_MAX,
    );
    if (next === null || after === null) return ACK;
    if (reached !== null) asked = ask(reached, run);
    range = { seq: next.seq, after, end: cuts[0] ?? range.end };
  }
}

const ask = (after: string | null, run: Run) => {
  const { source, filter } = run.spec;
  return run.source.list({
    prefix: source.prefix + filter.prefix,
    after: after === null ? null : sourceKeyOf(run, after),
  });
};

/** The keys of a page that are in the range. `upTo` is null while the range goes on after them. */
function inRange(
  page: { objects: readonly Found["objects"][number][]; malformed?: readonly { key: string; detail: string }[] },
  { after, end }: Range,
  run: Run,
): Found {
  const { prefix } = run.spec.source;
  const isInside = ({ key }: { key: string }) => end === null || compareUtf8(key, end) <= 0;
  const named = <T extends { key: string }>(entries: readonly T[]) =>
    entries.map((entry) => ({ ...entry, key: entry.key.slice(prefix.length) }));
  const objects = named(page.objects);
  const malformed = named(page.malformed ?? []);
  const inside = objects.filter(isInside);
  // An entry that cannot be read may have a key that sorts elsewhere: it ends no range.
  const isOver = inside.length < objects.length;
  const last = inside.at(-1)?.key;
  const isAtEnd = isOver || (end !== null && last !== undefined && compareUtf8(last, end) === 0);
  return { after, upTo: isAtEnd ? end : null, objects: inside, malformed: malformed.filter(isInside) };
}

/** Whether the queue has more to do than is worth adding to; a queue that does not tell is no reason to wait. */
async function isBacklogged(run: Run): Promise<boolean> {
  try {
    return (await run.backlog()) > QUEUE_BACKLOG_MAX;
  } catch {
    return false;
  }
}

/** Credentials that are refused at the very first question are wrong: nobody is to wait a quarter of an hour for that. */
const isShutOut = (message: ListMessage | KeysMessage, { code }: Failure): boolean =>
  code === "source-bad-credentials" && (message.type === "keys" ? message.offset === 0 : message.after === null);

/** A listing that may go better later is postponed; any other ends the run, since it cannot be complete. */
export async function giveUpListing(
  message: ListMessage | KeysMessage,
  run: Run,
  problem: Failure,
): Promise<Settlement> {
  console.warn(JSON.stringify({ message: "listing failed", migration: run.spec.id, code: problem.code }));
  if (mayPass(problem.code) && !isShutOut(message, problem)) await run.migration.postpone(message, problem, run.tally);
  else await run.migration.failRun(message.seq, problem, run.tally);
  return ACK;
}
