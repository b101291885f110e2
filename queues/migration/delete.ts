import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { mayPass } from "../../workers/core/migration/backoff.ts";
import type { DeleteMessage } from "../../workers/core/migration/message.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import type { ReportLine, WhyNotDeleted } from "../../workers/core/migration/report-line.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import type { SealedKeys } from "../../workers/ports/sealed-keys.ts";
import type { Place } from "../manifest/answer.ts";
import { tellDeleted } from "../manifest/tell-deleted.ts";
import { whileSealingIsHeld } from "../hold-sealing.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { emptyOutcome } from "./batch.ts";
import { isAtSource, spellingOf } from "./beside.ts";
import { writeReport } from "./report.ts";
import { type Run, storeKeyOf } from "./run.ts";

type Item = DeleteMessage["items"][number];

/**
 * Deletes objects in R2 that the source has no more. Each is looked at once more in both stores: it goes only if a migration
 * wrote it, nobody has changed it since, and the source has it under none of its spellings. The manifest
 * loses its row after that, and gets a tombstone; until then a read through finds nothing at the source either. R2's delete
 * takes no condition, so a put in the moment between the look and the delete is lost. Safe to run twice: what is gone is gone.
 */
export async function deleteObjects(message: DeleteMessage, run: Run, sealedKeys: SealedKeys): Promise<Settlement> {
  const work = () => deleteHeld(message, run, sealedKeys);
  return whileSealingIsHeld(run.dataset, run.spec.datasetId, holderOf(message, run), work);
}

async function deleteHeld(message: DeleteMessage, run: Run, sealedKeys: SealedKeys): Promise<Settlement> {
  const { spec } = run;
  const isForced = spec.deletes?.sealed === true;
  const sealed = isForced
    ? ok(new Set<string>())
    : await sealedKeys({ id: spec.datasetId, name: spec.dataset }, message.items);
  if (!sealed.ok) return giveUp(message, run, sealed.failure);
  const lines: ReportLine[] = [];
  const wanted: Item[] = [];
  let trouble: Failure | null = null;
  await forEachLimited(message.items, CONNECTIONS_MAX, async (item) => {
    const why = sealed.value.has(item.key) ? ok("sealed" as const) : await whyKept(item, run);
    if (!why.ok) trouble = why.failure;
    else if (why.value === null) wanted.push(item);
    else lines.push({ key: item.key, outcome: "kept", size: null, etag: item.etag, why: why.value });
  });
  if (trouble !== null) return giveUp(message, run, trouble);
  // No version begins until the manifest knows what was deleted, by this delivery or one before.
  if (wanted.length > 0) await run.dataset.holdSealing(spec.datasetId, holderOf(message, run));
  const deleted: Item[] = [];
  await forEachLimited(wanted, CONNECTIONS_MAX, async (item) => {
    const gone = await run.store.delete(storeKeyOf(run, item.key));
    if (gone.ok) deleted.push(item);
    else trouble = gone.failure;
  });
  // Also where no answer came: R2 is asked what is there.
  const told = await tellDeleted(
    placeOf(run),
    wanted.map(({ key }) => key),
    spec.id,
  );
  lines.push(...deleted.map(({ key, etag }): ReportLine => ({ key, outcome: "deleted", size: null, etag })));
  // The message comes again; what was deleted by then counts as deleted.
  if (trouble !== null) return giveUp(message, run, trouble);
  if (!told.ok) return giveUp(message, run, told.failure);
  await run.dataset.releaseSealing(holderOf(message, run));
  const report = await writeReport(run, message.seq, lines);
  if (!report.ok) return settlementOf(report.failure);
  const outcome = { ...emptyOutcome(), deleted: deleted.length, report: report.value };
  await run.migration.settleBatch({ seq: message.seq, tries: 0 }, outcome, run.tally);
  return ACK;
}

/** What may pass is tried again later; with anything else, and after too many tries, the run has failed. */
async function giveUp(message: DeleteMessage, run: Run, problem: Failure): Promise<Settlement> {
  if (mayPass(problem.code)) await run.migration.postpone(message, problem, run.tally);
  else await run.migration.failRun(message.seq, problem, run.tally);
  return ACK;
}

const placeOf = ({ dataset, spec, store, uncommitted }: Run): Place => {
  return { dataset, config: { id: spec.datasetId, prefix: spec.prefix }, store, uncommitted };
};

const holderOf = ({ seq }: DeleteMessage, { spec }: Run): string => `${spec.id}/${seq}`;

/** Null: nothing speaks against it. */
async function whyKept(item: Item, run: Run): Promise<Result<WhyNotDeleted | null>> {
  const there = await run.store.head(storeKeyOf(run, item.key));
  // Deleted by an earlier delivery of this message.
  if (!there.ok) return there.failure.code === "object-not-found" ? ok(null) : there;
  if (there.value.etag !== item.etag || there.value.custom[ORIGIN.migration] === undefined) return ok("changed");
  for (const key of new Set([item.key, spellingOf(item.key, there.value)])) {
    const at = await isAtSource(run, key);
    if (!at.ok) return at;
    if (at.value) return ok("at-source");
  }
  return ok(null);
}
