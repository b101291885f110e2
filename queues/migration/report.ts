import { failure } from "../../workers/core/failure.ts";
import { formatLines, type ReportLine } from "../../workers/core/migration/report-line.ts";
import { runFolder } from "../../workers/core/migration/request.ts";
import type { ReportMessage } from "../../workers/core/migration/message.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import type { Run } from "./run.ts";

/** Lines of one part of the report that the run itself has. */
const LINES_MAX = 5000;

/**
 * Writes lines as one part of the report, named by the message whose work they are and by chance: another delivery of it
 * writes its own, and the one that settles the work names the part that counts. Null: there was nothing to write.
 */
export async function writeReport(run: Run, seq: number, lines: readonly ReportLine[]): Promise<Result<string | null>> {
  if (lines.length === 0) return ok(null);
  const name = `report-${String(seq).padStart(9, "0")}-${crypto.randomUUID().slice(0, 8)}.ndjson`;
  const body = new TextEncoder().encode(formatLines(lines));
  const http = { contentType: "application/x-ndjson" };
  const put = await run.system.put(runFolder(run.spec.id) + name, body, { size: body.length, http, custom: {} });
  return put.ok
    ? ok(name)
    : fail(failure("store-unavailable", `The report could not be written: ${put.failure.detail}`));
}

/** Writes the lines that no page and no batch has written, at the end of a run. */
export async function endReport(message: ReportMessage, run: Run): Promise<Settlement> {
  for (let after: string | null = null; ;) {
    const lines: ReportLine[] = await run.migration.unreported(after, LINES_MAX);
    const upTo = lines.at(-1)?.key;
    if (upTo === undefined) break;
    const written = await writeReport(run, message.seq, lines);
    if (!written.ok) return settlementOf(written.failure);
    const keys = lines.map(({ key }) => key);
    // Another delivery of this message has written one of these lines, and goes on; if it dies, the message comes again.
    if (written.value === null || !(await run.migration.addReport(message, written.value, keys))) return ACK;
    after = upTo;
  }
  await run.migration.endReport(message, run.tally);
  return ACK;
}
