import { configOf } from "../../workers/adapters/config.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import { ownersOf } from "../../workers/adapters/owners.ts";
import { isTransient } from "../../workers/core/failure.ts";
import type { Notified, Owner } from "../../workers/core/manifest/notification.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { answerQuestions, openPlace } from "./answer.ts";
import { sendShardIndexes } from "./shard-index.ts";

/** Who finds what a notification tells of, where the object names no writer. */
const FINDER = "notification";

/**
 * Takes R2's notifications of one batch: one question to each dataset that they concern, and one to R2 for each key of which the
 * manifest does not know that already. Those of a bucket or prefix that no dataset owns are counted by the Directory.
 * Returns what becomes of each.
 */
export async function takeNotifications(notified: readonly Notified[], env: Env): Promise<Settlement[]> {
  const config = configOf(env);
  if (!config.ok) {
    console.error(JSON.stringify({ message: "notifications wait", ...config.failure }));
    return notified.map(() => ({ kind: "retry" }));
  }
  const owners = await ownersOf(env, config.value.buckets, notified, Date.now());
  const settlements = new Map<string, Settlement>();
  const named = notified.flatMap((each, index) => {
    const owner = owners[index] ?? null;
    return owner === null ? [] : [{ owner, key: each.key.slice(owner.prefix.length), etag: each.etag }];
  });
  const line = { message: "notifications", unowned: owners.filter((owner) => owner === null).length };
  if (named.length === 0) console.log(JSON.stringify(line));
  for (const [name, hints] of Map.groupBy(named, ({ owner }) => owner.name)) {
    const [first] = hints;
    if (first === undefined) continue;
    const told = await tell(
      first.owner,
      hints.map(({ key, etag }) => ({ key, etag })),
      env,
    );
    if (told.ok) console.log(JSON.stringify({ ...line, dataset: name, ...told.value }));
    else console.error(JSON.stringify({ message: "notifications failed", dataset: name, ...told.failure }));
    // What does not pass by itself, a full manifest say, is mended by a walk.
    if (!told.ok && isTransient(told.failure.code)) settlements.set(name, settlementOf(told.failure));
  }
  return owners.map((owner) => (owner === null ? ACK : (settlements.get(owner.name) ?? ACK)));
}

interface Told {
  echoes: number;
  asked: number;
  written: number;
  removed: number;
}

async function tell(owner: Owner, hints: { key: string; etag: string | null }[], env: Env): Promise<Result<Told>> {
  const hinted = await datasetOf(env, owner.name).hint(owner.id, hints, true);
  if (!hinted.ok) return hinted;
  const { echoes, questions } = hinted.value;
  const told = { echoes, asked: questions.length, written: 0, removed: 0 };
  if (questions.length === 0) return ok(told);
  const place = await openPlace(env, owner.name, owner.id);
  if (!place.ok) return fail(place.failure);
  const answered = await answerQuestions(place.value, questions, { finder: FINDER, isNotified: true });
  if (!answered.ok) return answered;
  const put = hints.filter(({ etag }) => etag !== null).map(({ key }) => key);
  await sendShardIndexes(env, { dataset: owner.name, datasetId: owner.id }, put);
  const { added, changed, removed, refused } = answered.value;
  if (refused !== null) return fail(refused.failure);
  return ok({ ...told, written: added + changed, removed });
}
