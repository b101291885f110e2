import type { BatchOutcome } from "../../durable-objects/migration/pages.ts";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { type Failure } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX, CONSUMER_MAX_SECONDS } from "../../workers/core/limits.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { isNoTry, mayPass, triesMax } from "../../workers/core/migration/backoff.ts";
import type { CopyItem } from "../../workers/core/migration/message.ts";
import { outcomeOf, type ReportLine } from "../../workers/core/migration/report-line.ts";
import type { Result } from "../../workers/core/result.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { writeReport } from "./report.ts";
import type { Run } from "./run.ts";

/** What is not begun after a third of the consumer's life is left for another: one GET may take over half of it. */
const BATCH_SECONDS = CONSUMER_MAX_SECONDS / 3;

/** An object whose work is done. */
export interface SettledItem {
  /** Bytes, as they are now. */
  size: number;
  etag: string;
  proof: Proof;
  /** Null where the manifest has nothing new to learn. */
  row: Row | null;
}

/**
 * Does the work of each object of a message, writes their part of the report, and settles the message once, with every
 * outcome. What may pass is left to be tried again; after too many tries it is a failure like any other.
 */
export async function settleItems(
  message: { seq: number; tries: number; items: readonly CopyItem[] },
  run: Run,
  outcome: "copied" | "verified",
  work: (item: CopyItem) => Promise<Result<SettledItem>>,
): Promise<Settlement> {
  const settled = emptyOutcome();
  const lines: ReportLine[] = [];
  const endsAt = Date.now() + BATCH_SECONDS * 1000;
  await forEachLimited(message.items, CONNECTIONS_MAX, async (item) => {
    if (Date.now() > endsAt) {
      settled.late.push(item);
      return;
    }
    const done = await work(item);
    if (done.ok) {
      const { size, etag, proof, row } = done.value;
      settled.settled.objects += 1;
      settled.settled.bytes += size;
      settled.grownBytes += size - item.size;
      settled.proofs[proof] = (settled.proofs[proof] ?? 0) + 1;
      if (row !== null) settled.rows.push(row);
      lines.push({ key: item.key, outcome, size, etag, proof });
    } else if (isNoTry(done.failure.code)) {
      settled.late.push(item);
    } else if (mayPass(done.failure.code) && message.tries + 1 < triesMax(done.failure.code)) {
      settled.again.push({ item, failure: done.failure });
    } else {
      settled.failures.push({ key: item.key, failure: done.failure });
      lines.push(failedLine(item, done.failure));
    }
  });
  const report = await writeReport(run, message.seq, lines);
  // The message comes again, and finds what was copied.
  if (!report.ok) return settlementOf(report.failure);
  await run.migration.settleBatch(message, { ...settled, report: report.value }, run.tally);
  return ACK;
}

const failedLine = ({ key, size }: { key: string; size: number | null }, { code, detail }: Failure): ReportLine => ({
  key,
  outcome: outcomeOf(code),
  size,
  code,
  detail,
});

export const emptyOutcome = (): BatchOutcome => ({
  settled: { objects: 0, bytes: 0 },
  proofs: {},
  rows: [],
  grownBytes: 0,
  failures: [],
  deleted: 0,
  again: [],
  late: [],
  report: null,
});
