import { firstRecords } from "../../adapters/first-records.ts";
import { forEachLimited } from "../../adapters/for-each-limited.ts";
import { r2StoreOf } from "../../adapters/r2-stores.ts";
import { recordsByName } from "../../core/exports/croissant.ts";
import { formatRecordSet } from "../../core/exports/croissant-records.ts";
import { inferFields } from "../../core/exports/record-fields.ts";
import { type Failure, failure } from "../../core/failure.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { fail, ok, type Result } from "../../core/result.ts";

/** Files whose first records are read for their fields: 128 KiB of each. */
export const RECORD_SETS_MAX = 100;
/** Records of each that are looked at. */
const RECORDS_LOOKED_AT = 100;
/** Reads of R2 at once: an invocation has six connections. */
const READS_AT_ONCE = 4;

/**
 * The record sets of files whose first records tell their fields: of every folder's first file before any second one.
 * `remarks` is told what is missing.
 */
export async function recordSetsOf(
  env: Env,
  config: DatasetConfig,
  rows: readonly StoredRow[],
  remarks: string[],
): Promise<Result<string[]>> {
  const store = r2StoreOf(env, config.bucket);
  if (store === null) return fail(failure("misconfigured", `The R2 binding "${config.bucket}" is not there.`));
  const candidates = byTurns(rows.filter((row) => recordsByName(row) !== null));
  const looked = candidates.slice(0, RECORD_SETS_MAX);
  const sets = new Map<string, string>();
  const unread: Failure[] = [];
  await forEachLimited(looked, READS_AT_ONCE, async ({ key, size, etag, contentType }) => {
    const kind = recordsByName({ key, contentType });
    if (kind === null) return;
    const found = await firstRecords({ store, key: config.prefix + key, etag, size }, kind, RECORDS_LOOKED_AT);
    if (!found.ok) unread.push(found.failure);
    const set = found.ok ? formatRecordSet(key, kind, inferFields(found.value)) : null;
    if (set !== null) sets.set(key, set);
  });
  const throttled = unread.find(({ code }) => code === "store-throttled" || code === "store-unavailable");
  // Such a document would be another one in a minute.
  if (throttled !== undefined) return fail(throttled);
  if (unread.length > 0)
    remarks.push(`${unread.length} files of records have changed since, or cannot be read: they have no record set.`);
  const rest = candidates.length - looked.length;
  if (rest > 0)
    remarks.push(`${rest} files that may be of records have no record set: ${RECORD_SETS_MAX} files were looked at.`);
  return ok([...sets].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, set]) => set));
}

/** The first of every folder, then the second of every folder, and so on. */
function byTurns(rows: readonly StoredRow[]): StoredRow[] {
  const seen = new Map<string, number>();
  const turns = rows.map((row) => {
    const folder = JSON.stringify([row.category, row.key.slice(0, row.key.lastIndexOf("/") + 1)]);
    const turn = seen.get(folder) ?? 0;
    seen.set(folder, turn + 1);
    return { row, turn };
  });
  return turns.sort((a, b) => a.turn - b.turn).map(({ row }) => row);
}
