import { datasetOf, jobOf, migrationOf } from "../../workers/adapters/objects.ts";
import { isTransient } from "../../workers/core/failure.ts";
import { retireMessage } from "../../workers/core/jobs/retire-message.ts";
import { shardIndexMessage } from "../../workers/core/manifest/message.ts";
import { parseNotification } from "../../workers/core/manifest/notification.ts";
import { reconcileMessage } from "../../workers/core/manifest/reconcile.ts";
import { manifestMessage, type ManifestMessage } from "../../workers/core/migration/message.ts";
import { recordsMessage } from "../../workers/core/records/message.ts";
import { ACK, settleEach, type Settlement, settlementOf, settleTogether } from "../settle.ts";
import { openPlace, writeRows } from "./answer.ts";
import { takeNotifications } from "./notifications.ts";
import { reconcile } from "./reconcile.ts";
import { retireOutputs } from "./retire.ts";
import { indexRecords } from "./records.ts";
import { sendShardIndexes, takeShardIndex } from "./shard-index.ts";

/** Seconds after which work that had to wait for another comes again. */
const LATER_SECONDS = 1;

/**
 * Keeps manifests up to date: by rows of what we put, by R2's notifications, and by walks through buckets. What reads objects or
 * asks R2 about thousands of keys has an invocation's memory and subrequests for itself: the first such message of a batch is
 * done, and the others are sent anew, for a retry would take one of the deliveries that they have. Each is safe to run twice.
 */
export async function consumeManifest(batch: MessageBatch, env: Env): Promise<void> {
  const parsed = batch.messages.map((message) => ({ message, notified: parseNotification(message.body) }));
  const notified = parsed.flatMap(({ message, notified: value }) => (value === null ? [] : [{ message, value }]));
  await settleTogether(batch.queue, notified, (some) => takeNotifications(some, env));
  const others = parsed
    .filter(({ notified: value }) => value === null)
    .map(({ message }) => ({ message, work: heavyWorkOf(message.body) }));
  const light = others.filter(({ work }) => work === null).map(({ message }) => message);
  await settleEach({ queue: batch.queue, messages: light }, (body) => takeLight(body, env));
  const [first, ...later] = others.flatMap(({ message, work }) => (work === null ? [] : [{ message, work }]));
  await settleEach({ queue: batch.queue, messages: later.map(({ message }) => message) }, (body) => putOff(body, env));
  if (first !== undefined) {
    await settleEach({ queue: batch.queue, messages: [first.message] }, () => first.work(env));
  }
}

/** The work of a message that shares an invocation with no other of its kind; null: it is another message. */
function heavyWorkOf(body: unknown): ((env: Env) => Promise<Settlement>) | null {
  const step = reconcileMessage.safeParse(body);
  if (step.success) return (env) => reconcile(step.data, env);
  const retired = retireMessage.safeParse(body);
  if (retired.success) return (env) => retireOutputs(retired.data, env);
  const index = shardIndexMessage.safeParse(body);
  if (index.success) return (env) => takeShardIndex(index.data, env);
  const records = recordsMessage.safeParse(body);
  return records.success ? (env) => indexRecords(records.data, env) : null;
}

async function putOff(body: unknown, env: Env): Promise<Settlement> {
  await env.MANIFEST_QUEUE.send(body, { delaySeconds: LATER_SECONDS });
  return ACK;
}

async function takeLight(body: unknown, env: Env): Promise<Settlement> {
  const rows = manifestMessage.safeParse(body);
  if (rows.success) return takeRows(rows.data, env);
  const issues = rows.error.issues.slice(0, 3);
  console.error(JSON.stringify({ message: "unreadable manifest message", issues }));
  return ACK;
}

/** Writes rows into their Dataset object, then tells the sender that they are there. */
async function takeRows(message: ManifestMessage, env: Env): Promise<Settlement> {
  const { dataset, datasetId, rows, sender, seq, hold = null } = message;
  // Until the last of a checkpoint's messages is settled: a version has all of it, or nothing. `live` may show a part.
  if (hold !== null) await datasetOf(env, dataset).holdSealing(datasetId, hold);
  const open = () => openPlace(env, dataset, datasetId);
  const written = await writeRows(datasetOf(env, dataset), datasetId, rows, sender.id, open);
  if (!written.ok && isTransient(written.failure.code)) return settlementOf(written.failure);
  const keys = rows.map(({ key }) => key);
  const refused = written.ok ? written.value.refused : { keys, failure: written.failure };
  await sendShardIndexes(env, { dataset, datasetId }, keys);
  if (refused !== null) {
    // A full manifest is no reason to try for ever: a migration records what is missing, a job's log says it.
    const { code } = refused.failure;
    console.error(JSON.stringify({ message: "rows not written", code, ...sender, keys: refused.keys.length }));
    if (sender.kind === "migration") {
      await migrationOf(env, sender.id).deadRows(seq, refused.keys, refused.failure);
      return ACK;
    }
  }
  if (sender.kind === "migration") await migrationOf(env, sender.id).settleMessage(seq);
  else if ((await jobOf(env, sender.id).settleMessage(seq, hold)) && hold !== null) {
    await datasetOf(env, dataset).releaseSealing(hold);
  }
  return ACK;
}
