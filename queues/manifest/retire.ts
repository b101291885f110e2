import { forEachLimited } from "../../workers/adapters/for-each-limited.ts";
import { jobOf } from "../../workers/adapters/objects.ts";
import { sealedAmong, sealedKeysOf } from "../../workers/adapters/sealed-keys.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { generationOf } from "../../workers/core/jobs/output-mark.ts";
import type { RetireMessage } from "../../workers/core/jobs/retire-message.ts";
import { CONNECTIONS_MAX } from "../../workers/core/limits.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";
import type { SealedKeys } from "../../workers/ports/sealed-keys.ts";
import { whileSealingIsHeld } from "../hold-sealing.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { openPlace, type Place } from "./answer.ts";
import { tellDeleted } from "./tell-deleted.ts";

type Item = RetireMessage["items"][number];

/** Requests that looking keys up in versions may make: with four rounds of 200 keys beside it, within an invocation's 10,000. */
const LOOK_UPS_MAX = 7000;

/**
 * Deletes what old checkpoints consist of, but what a sealed version holds, and what is no longer as the job committed it.
 * The manifest loses its rows after that, and then the job is told. Safe to run twice: what is gone is gone, and once the job was
 * told, nothing is deleted any more, for its keys are free. R2's delete takes no condition, so a put in the moment between the
 * look and the delete is lost.
 *
 * No version is sealed while this message has deleted what the manifest still knows, nor (`hold`) while other messages of the
 * same checkpoints are to do: it would have half of one. What R2 refuses to delete is kept after some tries.
 */
export async function retireOutputs(
  message: RetireMessage,
  env: Env,
  sealedKeys: SealedKeys = sealedKeysOf(env),
): Promise<Settlement> {
  const { dataset: name, datasetId } = message;
  const place = await openPlace(env, name, datasetId);
  if (!place.ok) return place.failure.code === "unknown-dataset" ? letGo(message, env) : giveUp(message, place.failure);
  const work = () => retireHeld(message, env, place.value, sealedKeys);
  return whileSealingIsHeld(place.value.dataset, datasetId, holderOf(message), work);
}

async function retireHeld(
  message: RetireMessage,
  env: Env,
  place: Place & { store: ObjectStore },
  sealedKeys: SealedKeys,
): Promise<Settlement> {
  const { job, seq, items, hold, dataset: name, datasetId } = message;
  const { dataset, store, config } = place;
  const sealed = await sealedAmong(sealedKeys, { id: datasetId, name }, items, { left: LOOK_UPS_MAX });
  if (!sealed.ok) return giveUp(message, sealed.failure);
  const sorted = await sort(items, sealed.value, message, place);
  if (!sorted.ok) return giveUp(message, sorted.failure);
  const { wanted, kept } = sorted.value;
  const end = async (became: { deleted: string[]; kept: string[] }) => {
    const isOver = await jobOf(env, job).settleRetired(seq, became, hold);
    await dataset.releaseSealing(holderOf(message));
    if (isOver) await dataset.releaseSealing(hold);
    return ACK;
  };
  // The job was told by an earlier delivery: what is at the keys by now is something else.
  if (!(await jobOf(env, job).owesRetired(seq))) return end({ deleted: [], kept: [] });
  await dataset.holdSealing(datasetId, holderOf(message));
  await dataset.holdSealing(datasetId, hold);
  const failed = new Map<string, Failure>();
  await forEachLimited(wanted, CONNECTIONS_MAX, async (key) => {
    const gone = await store.delete(config.prefix + key);
    if (!gone.ok) failed.set(key, gone.failure);
  });
  // Also where no answer came: R2 is asked what is there.
  const told = await tellDeleted(place, wanted, job);
  if (!told.ok) return giveUp(message, told.failure);
  const [trouble] = failed.values();
  if (trouble !== undefined && !(await jobOf(env, job).failRetired(seq))) return giveUp(message, trouble);
  return end({ deleted: wanted.filter((key) => !failed.has(key)), kept: [...kept, ...failed.keys()] });
}

const holderOf = ({ job, seq }: RetireMessage): string => `${job}/retire/${seq}`;

/** The dataset is there no more, or is another by now: what was in its bucket is not the job's to delete. */
async function letGo({ job, seq, items }: RetireMessage, env: Env): Promise<Settlement> {
  await jobOf(env, job).settleRetired(seq, { deleted: [], kept: items.map(({ key }) => key) });
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
    async ({ key, etag, generation }) => {
      const there = await store.head(config.prefix + key);
      const isGone = !there.ok && there.failure.code === "object-not-found";
      // Deleted by an earlier delivery of this message.
      if (isGone) wanted.push(key);
      else if (!there.ok) problem = there.failure;
      else if (there.value.etag === etag && generationOf(there.value.custom, job) === generation) wanted.push(key);
      else kept.push(key);
    },
  );
  return problem === null ? ok({ wanted, kept }) : fail(problem);
}

/** The job's outbox sends it again later, also where nothing here can. */
function giveUp({ job, items }: RetireMessage, { code, detail }: Failure): Settlement {
  console.error(JSON.stringify({ message: "checkpoint not deleted", job, keys: items.length, code, detail }));
  return settlementOf({ code, detail });
}
