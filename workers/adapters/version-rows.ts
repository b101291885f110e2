import { failure } from "../core/failure.ts";
import type { ManifestQuery, Position, RowPage } from "../core/manifest/query.ts";
import type { Proof, Stage, StoredRow } from "../core/manifest/row.ts";
import { SortedPage } from "../core/manifest/sorted-rows.ts";
import type { SealedFile } from "../core/manifest/version.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { groupsOf, lastFrom, readGroup } from "./sealed-files.ts";

/** Row groups that one page may read: what is wanted may be rare. */
const GROUPS_MAX = 8;

/** One page of what a query finds in a sealed version, by key; it may be short, or empty, and have a `next`. */
export async function pageOfVersion(
  env: Env,
  version: { seq: number; files: readonly SealedFile[] },
  query: ManifestQuery,
  after: Position | null,
  limit: number,
): Promise<Result<RowPage>> {
  if (query.sort !== "key") {
    const detail = 'A sealed version is listed by key; leave sort out, or ask "live".';
    return fail(failure("invalid-query", detail, { field: "sort" }));
  }
  if (query.changedSince !== null) {
    const detail = 'What changed up to a sealed version is told by .../versions/A..B; changedSince is for "live".';
    return fail(failure("invalid-query", detail, { field: "changedSince" }));
  }
  const groups = groupsOf(version.files, "manifest");
  const page = new SortedPage(query, after, limit);
  for (let reads = 0, at = -1; page.from !== null; reads++) {
    at = Math.max(at + 1, lastFrom(groups, page.from));
    const group = groups[at];
    if (group === undefined || page.isPast(group.firstKey)) break;
    if (reads === GROUPS_MAX) return ok(page.page(version.seq, false));
    const records = await readGroup(env, group);
    if (!records.ok) return records;
    const isTaken = page.take({
      length: records.value.length,
      keyAt: (index) => String(records.value[index]?.["key"]),
      rowAt: (index) => rowOfRecord(records.value[index] ?? {}),
    });
    if (!isTaken) return ok(page.page(version.seq, false));
  }
  return ok(page.page(version.seq, true));
}

/** A row as it is in the Parquet file. */
function rowOfRecord(record: Readonly<Record<string, unknown>>): StoredRow {
  const key = String(record["key"]);
  const text = (name: string) => (typeof record[name] === "string" ? record[name] : null);
  const time = (name: string) => (record[name] instanceof Date ? record[name].getTime() : null);
  const tags = text("tags");
  return {
    key,
    size: Number(record["size"]),
    etag: text("etag") ?? "",
    uploadedAt: time("uploadedAt") ?? 0,
    contentType: text("contentType"),
    contentEncoding: text("contentEncoding"),
    md5: text("md5"),
    sha256: text("sha256"),
    crc64nvme: text("crc64nvme"),
    proof: text("proof") as Proof | null,
    ...originOf(text("sourceUri"), key),
    sourceEtag: text("sourceEtag"),
    sourceModifiedAt: time("sourceModifiedAt"),
    storageClass: text("storageClass"),
    tags: tags === null ? null : (JSON.parse(tags) as Record<string, string>),
    writer: text("writer") ?? "",
    stage: text("stage") as Stage | null,
    category: text("category"),
    updatedAt: time("updatedAt") ?? 0,
    seq: Number(record["seq"]),
  };
}

/** A source's URI is kept whole: what is before the key is the origin, and where the key was spelt otherwise, nothing is. */
function originOf(uri: string | null, key: string): Pick<StoredRow, "origin" | "sourceKey"> {
  if (uri === null) return { origin: null, sourceKey: null };
  return uri.endsWith(key)
    ? { origin: uri.slice(0, uri.length - key.length), sourceKey: null }
    : { origin: "", sourceKey: uri };
}
