import * as z from "zod";
import { migrationOf } from "../../adapters/objects.ts";
import { createR2Store } from "../../adapters/r2-store.ts";
import { failure } from "../../core/failure.ts";
import { formatLines, REPORT_OUTCOMES, type ReportLine } from "../../core/migration/report-line.ts";
import { runFolder } from "../../core/migration/request.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectReader } from "../../ports/object-store.ts";
import { readQuery } from "../body.ts";
import { type Ctx, refuse } from "../context.ts";
import { formatCursor, pageQuery } from "../paging.ts";
import { streamOf } from "../stream-of.ts";
import { findMigration } from "./migrations.ts";

/** Parts of a report in one answer, each a request to R2: half of the 10,000 that an invocation may make. */
const PARTS_MAX = 5000;
/** Lines that the run itself still has, in one request. */
const LINES_MAX = 1000;

const reportQuery = z.strictObject({ outcome: z.string().optional(), cursor: pageQuery.cursor });

/**
 * `false` until the run has ended, what its consumers had begun is settled, and every line is in a part: the same question
 * may have more lines for an answer. Of pages, until that was so at the first: parts may since have come before the cursor.
 */
const COMPLETE = "x-penstock-complete";

/**
 * `GET /v1/migrations/:id/report`: NDJSON, a line an object, of what is final so far. A part that is not there breaks the
 * answer off: a report with a hole looks like one without. What is too long for one answer goes on at `Link: rel="next"`
 * (RFC 8288).
 */
export async function report(c: Ctx): Promise<Response> {
  const query = readQuery(c, reportQuery, { lists: ["outcome"] });
  if (!query.ok) return refuse(c, query.failure);
  const outcomes = parseOutcomes(c.req.queries("outcome"));
  if (!outcomes.ok) return refuse(c, outcomes.failure);
  const found = await findMigration(c);
  if (!found.ok) return refuse(c, found.failure);
  const { id } = found.value;
  const begun = parseReportCursor(query.value.cursor);
  if (!begun.ok) return refuse(c, begun.failure);
  const migration = migrationOf(c.env, id);
  // In this order: of a run of which all is settled, the parts are all named.
  const isComplete = begun.value.isComplete && (await migration.isSettled());
  const unreported = (after: string | null) => migration.unreported(after, LINES_MAX);
  const names = await migration.reportNames(begun.value.after, PARTS_MAX + 1);
  const parts = names.slice(0, PARTS_MAX);
  const next = names.length > PARTS_MAX ? formatCursor(`${isComplete ? WHOLE : PARTIAL}${parts.at(-1) ?? ""}`) : null;
  const lines: Lines = {
    keys: parts.map((name) => runFolder(id) + name),
    unreported: next === null ? unreported : async () => [],
    outcomes: outcomes.value,
  };
  const again = new URLSearchParams({
    ...(outcomes.value === null ? {} : { outcome: [...outcomes.value].join(",") }),
    cursor: next ?? "",
  });
  return new Response(
    streamOf(() => readLines(createR2Store(c.env.SYSTEM), lines)),
    {
      headers: {
        "content-type": "application/x-ndjson",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-request-id": c.get("requestId"),
        [COMPLETE]: String(isComplete),
        ...(next === null ? {} : { link: `</v1/migrations/${id}/report?${again.toString()}>; rel="next"` }),
      },
    },
  );
}

/** What a cursor begins with: whether the report was complete when its first page was read. */
const WHOLE = "+";
const PARTIAL = "-";

/** The part that the page before ended with; without a cursor, the first page. */
function parseReportCursor(cursor: string | undefined): Result<{ after: string | null; isComplete: boolean }> {
  if (cursor === undefined) return ok({ after: null, isComplete: true });
  if (cursor.startsWith(WHOLE)) return ok({ after: cursor.slice(1), isComplete: true });
  if (cursor.startsWith(PARTIAL)) return ok({ after: cursor.slice(1), isComplete: false });
  return fail(failure("invalid-query", "cursor: is not a cursor that was given out", { field: "cursor" }));
}

type Outcomes = ReadonlySet<string> | null;

/** `?outcome=failed,missing`, or the parameter repeated. */
function parseOutcomes(values: readonly string[] | undefined): Result<Outcomes> {
  if (values === undefined) return ok(null);
  const outcomes = values.join(",").split(",");
  const known: readonly string[] = REPORT_OUTCOMES;
  const unknown = outcomes.find((outcome) => !known.includes(outcome));
  if (unknown === undefined) return ok(new Set(outcomes));
  const detail = `outcome: "${unknown.slice(0, 64)}" is none of ${REPORT_OUTCOMES.join(", ")}.`;
  return fail(failure("invalid-query", detail, { field: "outcome" }));
}

interface Lines {
  /** Of the parts, in their order. */
  keys: readonly string[];
  /** Lines that are in no part as yet, by key after `after`. */
  unreported: (after: string | null) => Promise<ReportLine[]>;
  outcomes: Outcomes;
}

/** One part after the other, as they come: what is held is a chunk, or a line that two chunks share. */
async function* readLines(
  store: ObjectReader,
  { keys, unreported, outcomes }: Lines,
): AsyncGenerator<Uint8Array, void, void> {
  for (const key of keys) {
    const part = await store.get(key);
    if (!part.ok) {
      console.error(JSON.stringify({ message: "report broken off", key, ...part.failure }));
      throw new Error(`The report's part ${key} cannot be read: ${part.failure.code}`);
    }
    yield* outcomes === null ? part.value.body : chosen(part.value.body, outcomes);
  }
  for (let after: string | null = null; ;) {
    const lines = await unreported(after);
    const wanted = lines.filter(({ outcome }) => outcomes?.has(outcome) !== false);
    if (wanted.length > 0) yield new TextEncoder().encode(formatLines(wanted));
    if (lines.length < LINES_MAX) return;
    after = lines.at(-1)?.key ?? null;
  }
}

async function* chosen(
  body: ReadableStream<Uint8Array>,
  outcomes: ReadonlySet<string>,
): AsyncGenerator<Uint8Array, void, void> {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let begun = "";
  for await (const chunk of body) {
    const lines = (begun + decoder.decode(chunk, { stream: true })).split("\n");
    begun = lines.pop() ?? "";
    const wanted = lines.filter((line) => outcomes.has((JSON.parse(line) as ReportLine).outcome));
    if (wanted.length > 0) yield encoder.encode(wanted.map((line) => `${line}\n`).join(""));
  }
}
