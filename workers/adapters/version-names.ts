import { failure } from "../core/failure.ts";
import { EVERYTHING } from "../core/manifest/query.ts";
import { lastSegment } from "../core/manifest/registry.ts";
import type { NamedRow } from "../core/manifest/resolve.ts";
import { STAGES, type StoredRow } from "../core/manifest/row.ts";
import type { SealedFile } from "../core/manifest/version.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { groupsOf, readGroup } from "./sealed-files.ts";
import { pageOfVersion } from "./version-rows.ts";

/** Row groups, of up to 5,000 rows each, that are looked through for a name: a sealed version has no index of names. */
const GROUPS_LOOKED_THROUGH_MAX = 100;

/** Shows all objects of a sealed version that have a stage and whose keys end in `/name`, by key; reads three columns. */
export async function visitNamed(
  env: Env,
  files: readonly SealedFile[],
  name: string,
  visit: (row: NamedRow) => void,
): Promise<Result<null>> {
  const groups = groupsOf(files, "manifest");
  if (groups.length > GROUPS_LOOKED_THROUGH_MAX) {
    const detail =
      "version: is too large to be looked through by name; list its manifest with a prefix and " +
      `suffix=${name.slice(0, 200)}, or resolve in "live".`;
    return fail(failure("invalid-query", detail, { field: "version" }));
  }
  for (const group of groups) {
    const records = await readGroup(env, group, ["key", "stage", "category"]);
    if (!records.ok) return records;
    for (const { key, stage, category } of records.value) {
      const known = STAGES.find((each) => each === stage);
      if (typeof key !== "string" || known === undefined || lastSegment(key) !== name) continue;
      visit({ key, stage: known, category: typeof category === "string" ? category : null });
    }
  }
  return ok(null);
}

/** All that a sealed version says of one object. */
export async function rowOfVersion(env: Env, files: readonly SealedFile[], key: string): Promise<Result<StoredRow>> {
  const page = await pageOfVersion(env, { seq: 0, files }, { ...EVERYTHING, prefix: key }, null, 1);
  if (!page.ok) return page;
  const [row] = page.value.rows;
  return row?.key === key
    ? ok(row)
    : fail(failure("version-damaged", "A key is in one of its columns and not in a row."));
}
