import { datasetOf } from "../../workers/adapters/objects.ts";
import { r2StoreOf } from "../../workers/adapters/r2-stores.ts";
import { INDEXING, type IndexingLimits, stepIndex } from "../../workers/adapters/record-indexing.ts";
import { recordIndexesIn } from "../../workers/adapters/record-indexes.ts";
import { storeKey } from "../../workers/core/migration/join.ts";
import type { RecordsMessage } from "../../workers/core/records/message.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";

/**
 * Indexes the next stretch of an object's records, and sends the message for the one after it. Safe to run twice: two
 * messages of one stretch make the same index, and the first to keep it is the one that goes on. One that was killed when it
 * had kept it sends the next message when it is delivered again; a chain that was lost is begun again, where it was, by whoever
 * asks for the records ten minutes later.
 */
export async function indexRecords(
  message: RecordsMessage,
  env: Env,
  limits: IndexingLimits = INDEXING,
): Promise<Settlement> {
  const { dataset, datasetId, key, etag, as } = message;
  const config = await datasetOf(env, dataset).config();
  if (!config.ok || config.value.id !== datasetId) return ACK;
  const { bucket, prefix } = config.value;
  const [store, system] = [r2StoreOf(env, bucket), r2StoreOf(env, "SYSTEM")];
  if (store === null || system === null) return ACK;
  const name = { datasetId, key: prefix + storeKey(key), etag, as };
  const send = async (from: number) => void (await env.MANIFEST_QUEUE.send({ ...message, from }));
  const work = { name, store, indexes: recordIndexesIn(system), now: Date.now(), limits, send };
  const stepped = await stepIndex(work, message.from);
  if (stepped.ok) return ACK;
  console.error(JSON.stringify({ message: "records not indexed", dataset, key, ...stepped.failure }));
  return settlementOf(stepped.failure);
}
