import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import type { DeleteMessage } from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import type { ReportLine, WhyNotDeleted } from "../../workers/core/migration/report-line.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import type { SealedKeys } from "../../workers/ports/sealed-keys.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { emptyOutcome } from "./batch.ts";
import { writeReport } from "./report.ts";
import { type Run, storeKeyOf } from "./run.ts";

type Item = DeleteMessage["items"][number];

/**
 * Deletes objects in R2 that the source has no more. Each is looked at once more in both stores: it goes only if a migration
 * wrote it, nobody has changed it since, and the source has it under none of its spellings. The manifest loses its row and
 * gets a tombstone first, so that no read fetches it from the source again; R2's delete takes no condition, so a put in the
 * moment between the look and the delete is lost. Safe to run twice: what is gone is gone.
 */
export async function deleteObjects(message: DeleteMessage, run: Run, sealedKeys: SealedKeys): Promise<Settlement> {
  const { spec } = run;
  const isForced = spec.deletes?.sealed === true;
  const sealed = isForced
    ? ok(new Set<string>())
    : await sealedKeys({ id: spec.datasetId, name: spec.dataset }, message.items);
  if (!sealed.ok) return settlementOf(sealed.failure);
  const lines: ReportLine[] = [];
  const wanted: Item[] = [];
  let trouble: Failure | null = null;
  await forEachLimited(message.items, CONNECTIONS_MAX, async (item) => {
    const why = sealed.value.has(item.key) ? ok("sealed" as const) : await whyKept(item, run);
    if (!why.ok) trouble = why.failure;
    else if (why.value === null) wanted.push(item);
    else lines.push({ key: item.key, outcome: "kept", size: null, etag: item.etag, why: why.value });
  });
  if (trouble !== null) return settlementOf(trouble);
  await run.dataset.remove(spec.datasetId, wanted);
  let deleted = 0;
  await forEachLimited(wanted, CONNECTIONS_MAX, async (item) => {
    const gone = await run.store.delete(storeKeyOf(run, item.key));
    if (gone.ok) {
      deleted++;
      lines.push({ key: item.key, outcome: "deleted", size: null, etag: item.etag });
    } else if (trouble === null) trouble = gone.failure;
  });
  // The message comes again; what was deleted by then counts as deleted.
  if (trouble !== null) return settlementOf(trouble);
  const report = await writeReport(run, message.seq, lines);
  if (!report.ok) return settlementOf(report.failure);
  const outcome = { ...emptyOutcome(), deleted, report: report.value };
  await run.migration.settleBatch({ seq: message.seq, tries: 0 }, outcome, run.tally);
  return ACK;
}

/** Null: nothing speaks against it. */
async function whyKept(item: Item, run: Run): Promise<Result<WhyNotDeleted | null>> {
  const there = await run.store.head(storeKeyOf(run, item.key));
  // Deleted by an earlier delivery of this message.
  if (!there.ok) return there.failure.code === "object-not-found" ? ok(null) : there;
  if (there.value.etag !== item.etag || there.value.custom[ORIGIN.migration] === undefined) return ok("changed");
  const spelled = there.value.custom[ORIGIN.key];
  for (const key of spelled === undefined ? [item.key] : [item.key, decodeURIComponent(spelled)]) {
    const at = await isAtSource(run.spec.source.prefix + key, run);
    if (!at.ok) return at;
    if (at.value) return ok("at-source");
  }
  return ok(null);
}

async function isAtSource(key: string, run: Run): Promise<Result<boolean>> {
  const page = await run.source.list({ prefix: key, after: null, limit: 1 });
  if (!page.ok) return page;
  const { objects, malformed = [] } = page.value;
  return ok([...objects, ...malformed].some((entry) => entry.key === key));
}
