import { sha256Of } from "../../workers/adapters/digest.ts";
import { failure } from "../../workers/core/failure.ts";
import type { SealedFile } from "../../workers/core/manifest/version.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectStore } from "../../workers/ports/object-store.ts";

/**
 * Writes a Parquet file.
 *
 * @param keys of its rows, in their order
 */
export async function putFile(
  system: ObjectStore,
  kind: SealedFile["kind"],
  key: string,
  bytes: Uint8Array,
  keys: readonly string[],
  groupRows: number,
): Promise<Result<SealedFile>> {
  const put = await putNew(system, key, bytes, { contentType: "application/vnd.apache.parquet" });
  if (!put.ok) return put;
  const groups = keys.filter((_, index) => index % groupRows === 0);
  const lastKey = keys.at(-1) ?? "";
  return ok({ kind, key, rows: keys.length, bytes: bytes.length, ...put.value, groups, lastKey });
}

/**
 * Puts an object that nobody has put; where these bytes are there already, that is as good. Never over another: a step that was
 * done again may have cut its rows elsewhere, and the put of the one before may still be on its way.
 */
export async function putNew(
  system: ObjectStore,
  key: string,
  bytes: Uint8Array,
  http: { contentType?: string },
): Promise<Result<{ etag: string; sha256: string }>> {
  const sha256 = await sha256Of(bytes);
  const put = await system.put(key, bytes, { size: bytes.length, sha256, http, custom: {}, onlyIf: "absent" });
  if (put.ok) return ok({ etag: put.value.etag, sha256 });
  if (put.failure.code !== "precondition-failed") return put;
  const there = await system.head(key, { checksums: true });
  if (!there.ok) return there;
  if (there.value.checksums?.sha256 === sha256) return ok({ etag: there.value.etag, sha256 });
  const gone = await system.delete(key);
  return gone.ok ? fail(failure("store-unavailable", `"${key}" was of a step before, and is put again.`)) : gone;
}

/** Whether what was made is as it was written; what else goes by the name of a file is deleted. */
export async function checkFolder(
  system: ObjectStore,
  folder: string,
  made: readonly { key: string; etag: string }[],
): Promise<Result<null>> {
  const missing = new Map(made.map(({ key, etag }) => [key, etag]));
  for (let after: string | null = null; ;) {
    const page = await system.list({ prefix: folder, after });
    if (!page.ok) return page;
    for (const { key, etag } of page.value.objects) {
      if (missing.get(key) === etag) missing.delete(key);
      else if (!missing.has(key) && IS_FILE.test(key.slice(folder.length))) {
        const deleted = await system.delete(key);
        if (!deleted.ok) return deleted;
      }
    }
    after = page.value.next;
    if (after === null) break;
  }
  const [key] = missing.keys();
  return key === undefined ? ok(null) : fail(failure("version-damaged", `"${key}" is not as it was written.`));
}

const IS_FILE = /^(?:manifest|changes)-\d+\.parquet$/;

/** Deletes what is in a folder, a page of it; whether nothing is left. */
export async function emptyFolder(system: ObjectStore, folder: string): Promise<Result<boolean>> {
  const page = await system.list({ prefix: folder, after: null });
  if (!page.ok) return page;
  for (const { key } of page.value.objects) {
    const deleted = await system.delete(key);
    if (!deleted.ok) return deleted;
  }
  return ok(page.value.next === null);
}
