import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { hiddenAmong } from "../../workers/adapters/uncommitted-outputs.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { isOnlyFound, type Proof } from "../../workers/core/manifest/row.ts";
import { type Listed, type Remembered, storeKey } from "../../workers/core/migration/join.ts";
import { ORIGIN } from "../../workers/core/migration/origin.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { type Run, sourceKeyOf } from "./run.ts";

type KnownRow = Remembered & { key: string; size: number; proof: Proof | null };

/** What looking at objects of R2 tells on the way back. */
export interface Back {
  /** Rows of those that say that they are copies. */
  copies: Map<string, KnownRow>;
  /** Keys of what a job has put and not committed. */
  hidden: ReadonlySet<string>;
}

export const NOTHING_BACK: Back = { copies: new Map(), hidden: new Set() };

/**
 * On the way back: of the objects that the manifest does not know, or only that they are there, those that say of themselves
 * that they were copied from a source. The manifest may be younger than they are; what the owner has deleted at the source
 * must not come back. And of those that it does not know as they are, those that are a job's, and not committed.
 */
export async function lookBack(
  objects: readonly Listed[],
  rows: ReadonlyMap<string, Remembered>,
  run: Run,
): Promise<Result<Back>> {
  const copies = new Map<string, KnownRow>();
  const outputs: { key: string; etag: string; job: string | undefined }[] = [];
  let trouble: Failure | null = null;
  const rowOf = (key: string) => rows.get(storeKey(key));
  const unknown = objects.filter(({ key, etag }) => {
    const row = rowOf(key);
    return row === undefined || row.etag !== etag || isOnlyFound(row);
  });
  await forEachLimited(unknown, CONNECTIONS_MAX, async ({ key, etag }) => {
    const head = await run.source.head(sourceKeyOf(run, key));
    if (!head.ok) {
      if (head.failure.code !== "object-not-found") trouble = head.failure;
      return;
    }
    outputs.push({ key: storeKey(key), etag: head.value.etag, job: head.value.custom[OUTPUT_JOB] });
    const writer = head.value.custom[ORIGIN.migration];
    // A copy that somebody has written over since is no copy any more.
    const row = rowOf(key);
    if (writer === undefined || (row !== undefined && row.etag !== etag)) return;
    copies.set(storeKey(key), { key, size: 0, etag, sourceEtag: null, sourceModifiedAt: null, writer, proof: null });
  });
  if (trouble !== null) return fail(trouble);
  const hidden = await hiddenAmong(run.uncommitted, run.spec.datasetId, outputs);
  return hidden.ok ? ok({ copies, hidden: hidden.value }) : hidden;
}
