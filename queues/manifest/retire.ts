import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { jobOf } from "../../workers/adapters/objects.ts";
import { sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { OUTPUT_JOB } from "../../workers/core/jobs/job.ts";
import type { RetireMessage } from "../../workers/core/jobs/retire-message.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { SealedKeys } from "../../workers/ports/sealed-keys.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { openPlace, type Place } from "./answer.ts";
import { tellDeleted } from "./tell-deleted.ts";

type Item = RetireMessage["items"][number];

/**
 * Deletes what old checkpoints consist of, but what a sealed version holds, and what is no longer as the job committed it.
 * The manifest loses its rows after that, and then the job is told. Safe to run twice: what is gone is gone. R2's delete takes
 * no condition, so a put in the moment between the look and the delete is lost.
 */
export async function retireOutputs(
  message: RetireMessage,
  env: Env,
  sealedKeys: SealedKeys = sealedKeysOf(env),
): Promise<Settlement> {
  const { job, seq, items, dataset: name, datasetId } = message;
  const place = await openPlace(env, name, datasetId);
  if (!place.ok) return giveUp(message, place.failure);
  const { dataset, store, config } = place.value;
  const holder = `${job}/${seq}`;
  // What is sealed is asked after this: no version begins until the manifest knows what was deleted.
  const isFirst = await dataset.holdSealing(datasetId, holder);
  const untouched = async (problem: Failure) => {
    // Nothing was deleted, by this delivery or one before: versions may be sealed meanwhile.
    if (isFirst) await dataset.releaseSealing(holder);
    return giveUp(message, problem);
  };
  const sealed = await sealedAmong(sealedKeys, { id: datasetId, name }, items);
  if (!sealed.ok) return untouched(sealed.failure);
  const sorted = await sort(items, sealed.value, message, place.value);
  if (!sorted.ok) return untouched(sorted.failure);
  const { wanted, kept } = sorted.value;
  let trouble: Failure | null = null;
  await forEachLimited(wanted, CONNECTIONS_MAX, async (key) => {
    const gone = await store.delete(config.prefix + key);
    if (!gone.ok) trouble = gone.failure;
  });
  // Also where no answer came: R2 is asked what is there.
  const told = await tellDeleted(place.value, wanted, job);
  if (trouble !== null) return giveUp(message, trouble);
  if (!told.ok) return giveUp(message, told.failure);
  await dataset.releaseSealing(holder);
  await jobOf(env, job).settleRetired(seq, { deleted: wanted, kept });
  return ACK;
}

/** The keys that go, and those that stay. */
async function sort(
  items: readonly Item[],
  sealed: ReadonlySet<string>,
  { job }: RetireMessage,
  { config, store }: Pick<Place, "config" | "store">,
): Promise<Result<{ wanted: string[]; kept: string[] }>> {
  const wanted: string[] = [];
  const kept = [...sealed];
  let problem: Failure | null = null;
  await forEachLimited(
    items.filter(({ key }) => !sealed.has(key)),
    CONNECTIONS_MAX,
    async ({ key, etag }) => {
      const there = await store.head(config.prefix + key);
      const isGone = !there.ok && there.failure.code === "object-not-found";
      // Deleted by an earlier delivery of this message.
      if (isGone) wanted.push(key);
      else if (!there.ok) problem = there.failure;
      else if (there.value.etag === etag && there.value.custom[OUTPUT_JOB] === job) wanted.push(key);
      else kept.push(key);
    },
  );
  return problem === null ? ok({ wanted, kept }) : fail(problem);
}

/** Where so many keys are too many to be looked up at once, fewer are; one that is too much alone is taken to be sealed. */
async function sealedAmong(
  sealedKeys: SealedKeys,
  dataset: { id: string; name: string },
  items: readonly Item[],
): Promise<Result<ReadonlySet<string>>> {
  const found = await sealedKeys(dataset, items);
  if (found.ok || found.failure.code !== "too-many-keys") return found;
  if (items.length === 1) return ok(new Set(items.map(({ key }) => key)));
  const middle = items.length >> 1;
  const first = await sealedAmong(sealedKeys, dataset, items.slice(0, middle));
  if (!first.ok) return first;
  const second = await sealedAmong(sealedKeys, dataset, items.slice(middle));
  return second.ok ? ok(first.value.union(second.value)) : second;
}

/** The job's outbox sends it again later, also where nothing here can. */
function giveUp({ job, items }: RetireMessage, { code, detail }: Failure): Settlement {
  console.error(JSON.stringify({ message: "checkpoint not deleted", job, keys: items.length, code, detail }));
  return settlementOf({ code, detail });
}
