import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { changedObject } from "../../adapters/record-bytes.ts";
import { INDEXING, type IndexingLimits, isStillSaid, lookAt, makeIndex } from "../../adapters/record-indexing.ts";
import { type IndexName, recordIndexesIn } from "../../adapters/record-indexes.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { checkKey } from "../../core/http/key-path.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import { storeKey } from "../../core/migration/join.ts";
import type { RecordsMessage } from "../../core/records/message.ts";
import type { Kind } from "../../core/records/record.ts";
import type { RecordIndex } from "../../core/records/record-index.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { ObjectStore } from "../../ports/object-store.ts";
import type { Ctx } from "../context.ts";

/** An object of a dataset whose records are asked for. */
export interface RecordsTarget {
  config: DatasetConfig;
  /** Relative to the dataset's prefix, as the client spelt it. */
  key: string;
  /** The version whose object it is, and R2's ETag that it was sealed with; null: whatever is there. */
  sealed: { version: string; etag: string } | null;
  /** What the client says of it: the ETag that it had, and the kind. */
  query: { etag?: string | undefined; as?: Kind | undefined };
}

/** The index of the object that is there, made within `limits`; `isCurrent`: R2 has just said that the object has its ETag. */
export async function findIndex(
  c: Ctx,
  target: RecordsTarget,
  limits: IndexingLimits = INDEXING,
): Promise<Result<{ index: RecordIndex; store: ObjectStore; isCurrent: boolean }>> {
  const { config, query } = target;
  const { etag: asked = null } = query;
  const key = checkKey(config.prefix + storeKey(target.key));
  if (!key.ok) return key;
  const sealed = target.sealed?.etag ?? null;
  if (sealed !== null && asked !== null && asked !== sealed) return fail(changedObject(asked));
  const store = r2StoreOf(c.env, config.bucket);
  const system = r2StoreOf(c.env, "SYSTEM");
  if (store === null || system === null) {
    return fail(
      failure("misconfigured", `The R2 binding "${store === null ? config.bucket : "SYSTEM"}" is not there.`),
    );
  }
  const indexes = recordIndexesIn(system);
  const pin = sealed ?? asked;
  const first = pin === null ? await lookAt(store, { key: key.value }) : null;
  if (first?.ok === false) return fail(named(first.failure, target));
  const etag = pin ?? first?.value.info.etag ?? "";
  const name: IndexName = { datasetId: config.id, key: key.value, etag, as: query.as ?? null };
  const found = await indexes.find(name);
  if (!found.ok) return found;
  const index = found.value;
  // What is said of the object may be another thing by now. Who names the ETag goes on with the records that were counted: only
  // a refusal is worth another look.
  if (index?.refused === null && first === null) return ok({ index, store, isCurrent: false });
  const looked = first ?? (await lookAt(store, name));
  if (!looked.ok) return fail(named(looked.failure, target));
  if (index !== null && isStillSaid(index, name, looked.value)) return ok({ index, store, isCurrent: true });
  const send = async (from: number) => {
    const { as, etag: at } = name;
    const message: RecordsMessage = {
      v: 1,
      type: "records",
      dataset: config.name,
      datasetId: config.id,
      key: target.key,
      etag: at,
      as,
      from,
    };
    await c.env.MANIFEST_QUEUE.send(message);
  };
  const made = await makeIndex({ name, store, indexes, now: Date.now(), limits, send }, looked.value);
  return made.ok ? ok({ index: made.value, store, isCurrent: true }) : fail(named(made.failure, target));
}

/** A missing object's failure says which one, and where it was looked for. */
export function named(failed: Failure, { config, key, sealed }: RecordsTarget): Failure {
  if (sealed !== null && (failed.code === "object-changed" || failed.code === "object-not-found")) {
    const detail = `"${key}" is no longer what version ${sealed.version} of "${config.name}" sealed; read a later version.`;
    return failure("object-changed", detail, { field: "version" });
  }
  if (failed.code !== "object-not-found") return failed;
  const detail = `There is no object "${key}" in R2, in the dataset "${config.name}"; records are read from R2 alone.`;
  return failure("object-not-found", detail, { field: "key" });
}
