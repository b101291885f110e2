import type { SealedVersion } from "../../../durable-objects/dataset/dataset.ts";
import { pageOfVersion } from "../../adapters/version-rows.ts";
import { asked, datasetNamed } from "../../adapters/ask.ts";
import { datasetOf } from "../../adapters/objects.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { formatDataUrl } from "../../core/http/key-path.ts";
import type { DatasetConfig } from "../../core/manifest/dataset.ts";
import { EVERYTHING } from "../../core/manifest/query.ts";
import { md5OfEtag, type StoredRow } from "../../core/manifest/row.ts";
import type { SealedFile } from "../../core/manifest/version.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import { Listing } from "../manifest/listing.ts";
import { signedRoot } from "../routes/capabilities.ts";

/** Objects that one document lists, each by itself; of more, it names the Parquet files that list them. */
export const LISTED_MAX = 10_000;

/** A sealed version to be exported. */
export interface Exported {
  /** The dataset's. */
  name: string;
  sealed: SealedVersion;
  /** Its Parquet files with the objects. */
  lists: SealedFile[];
}

/**
 * Why a document may not have URLs under a base of the caller's own: it would be of the version's own files, which are
 * nowhere but here.
 */
export function refusedBase({ sealed }: Exported, base: string | undefined): Failure | null {
  if (base === undefined || sealed.info.objects <= LISTED_MAX) return null;
  const detail =
    `base: The version has ${sealed.info.objects} objects, and a document lists at most ${LISTED_MAX}: this one is of the ` +
    "Parquet files that list them, which have signed URLs only. Leave base out.";
  return failure("invalid-query", detail, { field: "base" });
}

/** The configuration of the dataset that is exported. */
export const configOf = (c: Ctx, { name }: Exported): Promise<Result<DatasetConfig>> =>
  asked(datasetNamed(name), async () => datasetOf(c.env, name).config());

/** All rows of these files of a version, by key. */
export function listingOf(c: Ctx, { sealed }: Exported, files: readonly SealedFile[]): Listing {
  const { info } = sealed;
  const source = {
    page: (query: typeof EVERYTHING, after: Parameters<typeof pageOfVersion>[3], limit: number) =>
      pageOfVersion(c.env, { seq: info.seq, files }, query, after, limit),
  };
  return new Listing(source, EVERYTHING, null, Number.MAX_SAFE_INTEGER);
}

/**
 * What the edge serves of a version at an object's URL: for some metadata, the consolidated one that was made when it was
 * sealed. What a base of the caller's serves is the object itself.
 */
export function served({ sealed }: Exported): (row: StoredRow) => StoredRow {
  const made = new Map((sealed.index?.derived ?? []).map((document) => [document.key, document]));
  return (row) => {
    const document = made.get(row.key);
    if (document === undefined) return row;
    return { ...row, size: document.size, md5: md5OfEtag(document.etag), sha256: null };
  };
}

/** Where the objects, or the version's own files, are read. */
export interface Urls {
  /** Of a key, or of a file's name. */
  of(key: string): string;
  /** Ends with a slash. */
  root: string;
  /** RFC 3339; null: never. */
  expiresAt: string | null;
}

/** URLs under a root of the caller's own. */
export const urlsUnder = (base: string): Urls => ({
  of: (key) => formatDataUrl(base, key),
  root: `${base}/`,
  expiresAt: null,
});

/** URLs at the edge, with one capability for all objects of the version, or for its files. */
export async function signedUrls(
  c: Ctx,
  { name, sealed }: Pick<Exported, "name" | "sealed">,
  of: "objects" | "files",
  expiresSeconds: number,
): Promise<Result<Urls & { config: DatasetConfig; serverTime: string }>> {
  // By the dataset's own clock, which revokes too: see `mint`.
  const view = await asked(datasetNamed(name), async () => datasetOf(c.env, name).readerView());
  if (!view.ok) return view;
  const { config, revoked, nowSeconds } = view.value;
  const version = `${sealed.info.number}${of === "files" ? ".files" : ""}`;
  const notBefore = Math.max(nowSeconds, revoked.upTo + 1);
  const dataset = { id: sealed.datasetId, name };
  const scope = { prefixes: [""], keys: [] };
  const root = await signedRoot(c, dataset, scope, null, expiresSeconds, { notBefore, version });
  if ("failure" in root) return fail(root.failure);
  const base = root.rootUrl.slice(0, -1);
  const { rootUrl, expiresAt, serverTime } = root;
  return ok({ config, of: (key) => formatDataUrl(base, key), root: rootUrl, expiresAt, serverTime });
}
