import { Entries, formatAround } from "../../core/exports/long-json.ts";
import { formatStacAsset, formatStacList, formatStacStore, stacItem } from "../../core/exports/stac.ts";
import { modifiedAt } from "../../core/manifest/query.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { filesOf } from "../../core/manifest/version.ts";
import { ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import type { Listing } from "../manifest/listing.ts";
import { whole } from "../manifest/stream.ts";
import { streamOf } from "../stream-of.ts";
import type { StacQuery } from "./query.ts";
import { configOf, type Exported, LISTED_MAX, listingOf, served, signedUrls, type Urls, urlsUnder } from "./version.ts";
import { summaryOf } from "./summary.ts";

/** A version as a STAC Item: an asset for each object, or, of very many, for the files that list them. */
export async function stac(
  c: Ctx,
  from: Exported,
  { base, expiresSeconds }: StacQuery,
): Promise<Result<{ body: ReadableStream<Uint8Array> }>> {
  const { info } = from.sealed;
  const config = await configOf(c, from);
  if (!config.ok) return config;
  const isListed = info.objects <= LISTED_MAX;
  const own = base === undefined ? null : urlsUnder(base);
  const objects = own === null ? await signedUrls(c, from, "objects", expiresSeconds) : ok(own);
  if (!objects.ok) return objects;
  const files = isListed ? null : await signedUrls(c, from, "files", expiresSeconds);
  if (files?.ok === false) return files;
  const listing = isListed ? listingOf(c, from, from.lists) : null;
  const first = await listing?.begin();
  if (first?.ok === false) return first;
  const lists = files === null ? "" : " Its assets are the Parquet files that list them.";
  const { number: version, createdAt, sealedAt } = info;
  const description = summaryOf(from, objects.value) + lists;
  const item = stacItem({ dataset: from.name, version, description, createdAt, sealedAt });
  const store = config.value.kind === "zarr" ? [formatStacStore(objects.value.root)] : [];
  const as = own === null ? served(from) : (row: StoredRow) => row;
  const assetOf = (row: StoredRow) =>
    formatStacAsset({ ...as(row), modifiedAt: new Date(modifiedAt(row)).toISOString() }, objects.value.of(row.key));
  const more = files === null ? store : [...store, ...listAssets(from, files.value)];
  return ok({ body: streamOf(() => documentOf(item, more, listing, assetOf)) });
}

function listAssets({ sealed, lists }: Exported, urls: Urls): string[] {
  const names = new Set(lists.map(({ key }) => key));
  const named = [...filesOf(sealed.datasetId, sealed)].filter(([, { key }]) => names.has(key));
  return named.map(([name, { size, sha256 }]) => formatStacList({ name, size, sha256 }, urls.of(name)));
}

async function* documentOf(
  item: object,
  more: readonly string[],
  listing: Listing | null,
  assetOf: (row: StoredRow) => string,
): AsyncGenerator<Uint8Array, void, void> {
  const encoder = new TextEncoder();
  const { before, after } = formatAround(item, "assets", "{}", {});
  const entries = new Entries();
  yield encoder.encode(before + entries.format(more));
  if (listing !== null) {
    for await (const { rows } of whole(listing)) {
      const assets = rows.map(assetOf);
      if (assets.length > 0) yield encoder.encode(entries.format(assets));
    }
  }
  yield encoder.encode(after);
}
