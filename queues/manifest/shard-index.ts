import type { SaidAt, SaidChecksums } from "../../durable-objects/dataset/rows.ts";
import { datasetOf } from "../../workers/adapters/objects.ts";
import type { Failure } from "../../workers/core/failure.ts";
import { SEND_BATCH_MAX_MESSAGES, SHARD_INDEX_MAX_BYTES } from "../../workers/core/limits.ts";
import type { ShardIndexMessage } from "../../workers/core/manifest/message.ts";
import { besideIndex, isShardIndex, parseShardIndex, type Shard } from "../../workers/core/manifest/mosaic.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import { ACK, type Settlement, settlementOf } from "../settle.ts";
import { openPlace, type Place } from "./answer.ts";

/** Seconds that the rows of the shards have, from the first look at their index to the last: an hour and a half. */
const WAITS = [10, 60, 600, 4800];
/** Shards that a Dataset is told of at once. */
const SHARDS_AT_ONCE = 1000;

/** Has those of these keys looked at that may be indexes of shards, and have a row: what is not to be seen says nothing. */
export async function sendShardIndexes(
  env: Env,
  of: { dataset: string; datasetId: string },
  keys: readonly string[],
): Promise<void> {
  const named = [...new Set(keys.filter(isShardIndex))];
  if (named.length === 0) return;
  const rows = await datasetOf(env, of.dataset).remember(named);
  const bodies = rows.map(({ key }): { body: ShardIndexMessage } => ({
    body: { v: 1, type: "shard-index", ...of, key, tries: 0 },
  }));
  for (let i = 0; i < bodies.length; i += SEND_BATCH_MAX_MESSAGES) {
    await env.MANIFEST_QUEUE.sendBatch(bodies.slice(i, i + SEND_BATCH_MAX_MESSAGES));
  }
}

/** Reads an index of shards, and takes what it says of them into the rows that are there. Safe to run twice. */
export async function takeShardIndex(message: ShardIndexMessage, env: Env): Promise<Settlement> {
  const { dataset, datasetId, key, tries } = message;
  const place = await openPlace(env, dataset, datasetId);
  if (!place.ok) return giveUp(message, place.failure);
  const index = await readIndex(place.value, key);
  if (!index.ok) return giveUp(message, index.failure);
  const { shards, saidAt } = index.value;
  const said = shards
    .filter(({ md5, sha256 }) => md5 !== null || sha256 !== null)
    .map(({ name, ...shard }): SaidChecksums => ({ key: besideIndex(key, name), ...shard, etag: null, saidAt }));
  let [missing, other] = [0, 0];
  for (let i = 0; i < said.length; i += SHARDS_AT_ONCE) {
    const taken = await datasetOf(env, dataset).takeChecksums(datasetId, said.slice(i, i + SHARDS_AT_ONCE));
    if (!taken.ok) return giveUp(message, taken.failure);
    missing += taken.value.missing;
    other += taken.value.other;
  }
  if (other > 0) console.warn(JSON.stringify({ message: "shards are not what their index says", dataset, key, other }));
  const delaySeconds = WAITS[tries];
  if (missing > 0 && delaySeconds !== undefined) {
    await env.MANIFEST_QUEUE.send({ ...message, tries: tries + 1 }, { delaySeconds });
  }
  return ACK;
}

/** No shards where it is no index, too large for one, or gone. */
async function readIndex({ dataset, store, config }: Place, key: string): Promise<Result<ShardIndex>> {
  const got = await store.get(config.prefix + key);
  if (!got.ok) return got.failure.code === "object-not-found" ? ok(NO_INDEX) : got;
  const { size, etag, lastModified, body, http } = got.value;
  // What is not in the manifest, an output that is not committed say, says nothing of what is. Nor does what has been put
  // since: when that has its row, it is read.
  const [row] = await dataset.remember([key]);
  if (row?.etag !== etag) {
    await body.cancel();
    return ok(NO_INDEX);
  }
  if (size > SHARD_INDEX_MAX_BYTES || http.contentEncoding !== undefined) {
    await body.cancel();
    return ok(NO_INDEX);
  }
  const shards = parseShardIndex(await new Response(body).text());
  if (shards === null || shards.length === 0) return ok(NO_INDEX);
  // What the index says of itself may be anybody's word; the row knows whether it is a copy.
  const { sourceModifiedAt } = row;
  return ok({ shards, saidAt: { uploadedAt: lastModified, sourceModifiedAt } });
}

interface ShardIndex {
  shards: readonly Shard[];
  saidAt: SaidAt;
}

const NO_INDEX: ShardIndex = { shards: [], saidAt: { uploadedAt: 0, sourceModifiedAt: null } };

function giveUp({ dataset, key }: ShardIndexMessage, { code, detail }: Failure): Settlement {
  console.warn(JSON.stringify({ message: "index of shards not read", dataset, key, code, detail }));
  return settlementOf({ code, detail });
}
