import type { SealedFile, VersionInfo } from "../../workers/core/manifest/version.ts";
import { CHANGE_COLUMNS, ROW_COLUMNS } from "../../workers/adapters/parquet-rows.ts";
import type { KeptVersion } from "./versions.ts";

/** `version.json`: what tools that read the bucket need to know of a version. */
export function versionDocument(
  dataset: { id: string; name: string },
  version: KeptVersion,
  info: VersionInfo,
  files: readonly SealedFile[],
  rowGroupRows: number,
  now: number,
): string {
  const { state: _state, problem: _problem, aliases: _aliases, ...rest } = info;
  const document = {
    format: "penstock-version/1",
    dataset: { id: dataset.id, name: dataset.name },
    ...rest,
    sealedAt: new Date(now).toISOString(),
    files: files.map(({ groups, ...file }) => ({
      ...file,
      firstKey: groups[0] ?? null,
      rowGroupFirstKeys: groups,
    })),
    rowGroupRows,
    schema: { manifest: ROW_COLUMNS, changes: CHANGE_COLUMNS },
    index: version.index,
    derived: version.derived,
    warnings: version.warnings,
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}
