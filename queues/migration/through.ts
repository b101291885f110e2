import { configOf } from "../../workers/adapters/config.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { uncommittedIn } from "../../workers/adapters/uncommitted-outputs.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import { type CopyItem, type ThroughMessage, throughWriter } from "../../workers/core/migration/message.ts";
import { goesInParts } from "../../workers/core/migration/parts.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { writeRows } from "../manifest/answer.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { putWhole } from "./copy.ts";
import { copyInParts } from "./copy-in-parts.ts";
import {
  type Copying,
  foundProof,
  isOurs,
  isUpToDate,
  openCopying,
  rowOf,
  sourceFailure,
  sourceKeyOf,
  storeKeyOf,
} from "./run.ts";

/**
 * Copies one object that a reader missed in R2 and got from the source, and writes its row. Whatever is in R2 by then
 * stays: a migration's copy, a job's output, a stranger's object. Safe to run twice, also where the first run was
 * killed between the put and the row: it finds its own copy, and writes the row.
 *
 * Best effort: what cannot be copied is logged, and read from the source until a migration records why.
 */
export async function copyThrough(message: ThroughMessage, env: Env): Promise<Settlement> {
  const dataset = datasetOf(env, message.dataset);
  const config = await dataset.config();
  if (!config.ok) return giveUp(message, config.failure);
  // The dataset may be another one of the name by now, or no longer read through.
  if (config.value.id !== message.datasetId || config.value.read !== "through") return ACK;
  const run = openThrough(config.value, env);
  if (!run.ok) return giveUp(message, run.failure);
  if (await dataset.isBuried(storeKey(message.key))) return removeCopy(message, run.value);

  const copied = await copyAbsent(message, run.value);
  if (!copied.ok) return giveUp(message, copied.failure);
  const row = copied.value;
  if (row === null) return ACK;
  // Deleted while it was copied: the row of a copy younger than the deletion would undo it.
  if (await dataset.isBuried(row.key)) return removeCopy(message, run.value);
  const { store } = run.value;
  const open = async () => ok({ dataset, config: config.value, store, uncommitted: uncommittedIn(env) });
  const written = await writeRows(dataset, message.datasetId, [row], row.writer, open);
  if (!written.ok) return giveUp(message, written.failure);
  const { refused } = written.value;
  return refused === null ? ACK : giveUp(message, refused.failure);
}

/** Takes a copy of a deleted key away, if it is ours: by now it may be somebody's new object. */
async function removeCopy(message: ThroughMessage, run: Copying): Promise<Settlement> {
  const key = storeKeyOf(run, message.key);
  const there = await run.store.head(key);
  if (!there.ok) return there.failure.code === "object-not-found" ? ACK : giveUp(message, there.failure);
  if (!isOurs(run, { ...message, was: null }, there.value)) return ACK;
  const removed = await run.store.delete(key);
  return removed.ok ? ACK : giveUp(message, removed.failure);
}

function openThrough(config: DatasetConfig, env: Env): Result<Copying> {
  const { id: datasetId, name: dataset, source, bucket, prefix } = config;
  if (source === undefined) return fail(failure("dataset-without-source"));
  const limits = configOf(env);
  if (!limits.ok) return limits;
  const { multipartThresholdBytes, partBytes } = limits.value;
  const id = throughWriter(datasetId);
  const limitsOfParts = { multipartThresholdBytes, partBytes };
  return openCopying({ id, dataset, datasetId, source, bucket, prefix, ...limitsOfParts, checksums: false }, env);
}

/** Copies the object to where nothing is. Null: it was not copied, or not by a read, and there is no row to write. */
async function copyAbsent(message: ThroughMessage, run: Copying): Promise<Result<Row | null>> {
  const { key, size, etag, lastModified } = message;
  const item: CopyItem = { key, size, etag, lastModified, was: null };
  const there = await run.store.head(storeKeyOf(run, key), { checksums: true });
  if (there.ok) {
    const isDone = isOurs(run, item, there.value) && isUpToDate(item, there.value);
    return ok(isDone ? rowOf(run, key, there.value, foundProof(item, there.value)) : null);
  }
  if (there.failure.code !== "object-not-found") return there;
  return goesInParts(item, run.spec.multipartThresholdBytes) ? copyInParts(item, run) : copyWhole(item, run);
}

/** One GET, pinned to the ETag that the reader was told, and one put where nothing is. */
async function copyWhole(item: CopyItem, run: Copying): Promise<Result<Row | null>> {
  const body = await run.source.get(sourceKeyOf(run, item.key), { ifMatch: item.etag });
  if (!body.ok) return fail(sourceFailure(body.failure));
  // A server that ignores If-Match is seen here.
  if (body.value.etag !== item.etag) {
    await body.value.body.cancel();
    return fail(failure("source-changed"));
  }
  const put = await putWhole(item, body.value, run, "watched");
  return !put.ok && put.failure.code === "precondition-failed" ? ok(null) : put;
}

/** What may pass is delivered again. An object that changed has another ETag, and the miss of that one a message. */
function giveUp({ dataset, key }: ThroughMessage, problem: Failure): Settlement {
  const { code, detail } = problem;
  console.warn(JSON.stringify({ message: "copy on read failed", dataset, key, code, detail }));
  return code === "source-changed" ? ACK : settlementOf(problem);
}
