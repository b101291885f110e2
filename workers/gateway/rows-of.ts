import { asked, datasetNamed } from "../adapters/ask.ts";
import { datasetOf } from "../adapters/objects.ts";
import type { ManifestQuery, Position, RowPage } from "../core/manifest/query.ts";
import { pageOfVersion } from "../adapters/version-rows.ts";
import { ok, type Result } from "../core/result.ts";
import type { Ctx } from "./context.ts";
import { versionOf } from "./version-of.ts";

/** The rows of one version of a dataset, in pages. */
export interface RowSource {
  /** As answers show it: "live", or the number. */
  version: string;
  /** Null: the live manifest, which changes. */
  number: number | null;
  datasetId: string;
  /** Of the live manifest its count of changes; null of what never changes. */
  seq: number | null;
  page(query: ManifestQuery, after: Position | null, limit: number): Promise<Result<RowPage>>;
}

/** Opens a version of a dataset to be listed. For the live one that is a cheap question: its `seq`. */
export async function rowsOf(c: Ctx, name: string, version: string): Promise<Result<RowSource>> {
  const found = await versionOf(c.env, name, version, "version");
  if (!found.ok) return found;
  const { sealed } = found.value;
  if (sealed !== null) {
    const { datasetId, files, info } = sealed;
    const ofVersion: RowSource["page"] = (query, after, limit) =>
      pageOfVersion(c.env, { seq: info.seq, files }, query, after, limit);
    return ok({ version: found.value.name, number: info.number, datasetId, seq: null, page: ofVersion });
  }
  const head = await asked(datasetNamed(name), async () => datasetOf(c.env, name).manifestHead());
  if (!head.ok) return head;
  const { datasetId, seq } = head.value;
  const page: RowSource["page"] = (query, after, limit) =>
    asked(datasetNamed(name), async () => datasetOf(c.env, name).query(query, after, limit));
  return ok({ version, number: null, datasetId, seq, page });
}
