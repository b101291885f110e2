import type { Refused } from "../../durable-objects/dataset/dataset.ts";
import type { Observation, Question } from "../../durable-objects/dataset/rows.ts";
import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { r2StoreOf } from "../../workers/adapters/r2-stores.ts";
import { hiddenAmong, type UncommittedKeys, uncommittedIn } from "../../workers/adapters/uncommitted-outputs.ts";
import { type Failure, failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import type { DatasetConfig } from "../../workers/core/manifest/dataset.ts";
import { rowOfFound } from "../../workers/core/manifest/stored-row.ts";
import type { WalkCounts } from "../../workers/core/manifest/reconcile.ts";
import { mergeSeen, type Row } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectReader, ObjectStore } from "../../workers/ports/object-store.ts";

/** Where a dataset's rows are kept, and where its objects are. */
export interface Place {
  dataset: ReturnType<typeof datasetOf>;
  config: Pick<DatasetConfig, "id" | "prefix">;
  store: ObjectReader;
  /** Which outputs of jobs are not to be seen as yet. */
  uncommitted: UncommittedKeys;
}

/**
 * Writes rows of what was put, but those that a full manifest refuses; where the manifest knows of something else at a key, R2
 * is asked which of them it has.
 *
 * @param open called when R2 must be asked
 */
export async function writeRows(
  dataset: Place["dataset"],
  datasetId: string,
  rows: Row[],
  finder: string,
  open: () => Promise<Result<Place>>,
): Promise<Result<{ refused: Refused | null }>> {
  const applied = await dataset.applyRows(datasetId, rows);
  if (!applied.ok) return applied;
  const { questions, refused } = applied.value;
  if (questions.length === 0) return ok({ refused });
  const place = await open();
  if (!place.ok) return place;
  const said = new Map(rows.map((row) => [row.key, row]));
  const answered = await answerQuestions(place.value, questions, { finder, said });
  return answered.ok ? ok({ refused: bothOf(refused, answered.value.refused) }) : answered;
}

/** Opens a dataset's bucket, if the dataset is still the one of this id. */
export async function openPlace(
  env: Env,
  name: string,
  datasetId: string,
): Promise<Result<Place & { store: ObjectStore }>> {
  const dataset = datasetOf(env, name);
  const config = await dataset.config();
  if (!config.ok) return config;
  if (config.value.id !== datasetId) return fail(failure("unknown-dataset", `"${name}" is another dataset by now.`));
  const store = r2StoreOf(env, config.value.bucket);
  if (store === null) return fail(failure("unknown-bucket", `There is no R2 binding named "${config.value.bucket}".`));
  return ok({ dataset, config: config.value, store, uncommitted: uncommittedIn(env) });
}

/** What became of rows. */
export type Answered = Pick<WalkCounts, "added" | "changed" | "removed"> & { refused: Refused | null };

const NOTHING: Answered = { added: 0, changed: 0, removed: 0, refused: null };

const bothOf = (a: Refused | null, b: Refused | null): Refused | null =>
  a === null || b === null ? (a ?? b) : { ...b, keys: [...a.keys, ...b.keys] };

export interface Asking {
  /** Who finds what nobody has said. */
  finder: string;
  /** Rows of what somebody has put, by key: they hold where R2 still has that. */
  said?: ReadonlyMap<string, Row>;
  /** The questions come from R2's notifications. */
  isNotified?: boolean;
  /** What is gone was deleted by us on purpose. */
  isOnPurpose?: boolean;
}

/** Questions whose answers were overtaken are asked again this often; then the message comes again. */
const ROUNDS = 4;

/**
 * Asks R2 what is at these keys, and tells the Dataset. An answer that came too late, since something else has happened at
 * its key meanwhile, is dropped and asked again.
 */
export async function answerQuestions(
  { dataset, config, store, uncommitted }: Place,
  questions: readonly Question[],
  { finder, said = new Map(), ...told }: Asking,
): Promise<Result<Answered>> {
  const total = { ...NOTHING };
  let open = questions;
  for (let round = 0; open.length > 0; round++) {
    if (round === ROUNDS) {
      const detail = `${open.length} keys changed again and again while R2 was asked about them.`;
      return fail(failure("store-unavailable", detail));
    }
    const observed = await observe(open, said, { config, store, uncommitted }, finder);
    if (!observed.ok) return observed;
    const answered = await dataset.answerRows(config.id, observed.value, told);
    if (!answered.ok) return answered;
    for (const count of ["added", "changed", "removed"] as const) total[count] += answered.value[count];
    total.refused = bothOf(total.refused, answered.value.refused);
    open = answered.value.questions;
  }
  return ok(total);
}

async function observe(
  questions: readonly Question[],
  said: ReadonlyMap<string, Row>,
  { config, store, uncommitted }: Pick<Place, "config" | "store" | "uncommitted">,
  finder: string,
): Promise<Result<Observation[]>> {
  const observed: (Observation & { job: string | undefined })[] = [];
  let problem: Failure | null = null;
  await forEachLimited(questions, CONNECTIONS_MAX, async (question) => {
    if (problem !== null) return;
    const head = await store.head(config.prefix + question.key, { checksums: true });
    if (head.ok) {
      const found = rowOfFound(question.key, head.value, finder);
      const known = said.get(question.key);
      const row = known?.etag === found.etag ? mergeSeen(known, found) : found;
      observed.push({ ...question, row, job: head.value.custom[OUTPUT_JOB] });
    } else if (head.failure.code === "object-not-found") observed.push({ ...question, row: null, job: undefined });
    else problem = head.failure;
  });
  return problem === null ? hideUncommitted(observed, config.id, uncommitted) : fail(problem);
}

/**
 * What a job has put and not committed is as if it were not there. The job is asked after R2: who commits tells the manifest
 * after that, and so asks anew.
 */
async function hideUncommitted(
  observed: readonly (Observation & { job: string | undefined })[],
  datasetId: string,
  uncommitted: UncommittedKeys,
): Promise<Result<Observation[]>> {
  const found = observed.flatMap(({ key, row, job }) => (row === null ? [] : [{ key, etag: row.etag, job }]));
  const hidden = await hiddenAmong(uncommitted, datasetId, found);
  if (!hidden.ok) return hidden;
  return ok(
    observed.map(({ job: _, ...each }) => (hidden.value.has(each.key) ? { ...each, row: null, isHidden: true } : each)),
  );
}
