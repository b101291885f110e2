import { CONTEXT, CROISSANT, formatFileObject, whyNoFile } from "../../core/exports/croissant.ts";
import { formatTable } from "../../core/exports/croissant-records.ts";
import { Entries, formatAround } from "../../core/exports/long-json.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { filesOf } from "../../core/manifest/version.ts";
import { ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import { streamOf } from "../stream-of.ts";
import type { CroissantQuery } from "./query.ts";
import { RECORD_SETS_MAX, recordSetsOf } from "./record-sets.ts";
import { summaryOf } from "./summary.ts";
import { configOf, type Exported, LISTED_MAX, listingOf, served, signedUrls, type Urls, urlsUnder } from "./version.ts";

const ENTRIES_AT_ONCE = 500;

/** What a document is made of; the entries are JSON, made as they are sent. */
interface Parts {
  urls: Urls;
  distribution: Iterable<string>;
  recordSets: readonly string[];
  /** What there is to say of what is not in it. */
  remarks: string[];
  /** Objects that are not in the distribution. */
  leftOut: number;
}

/** A version as MLCommons Croissant: its objects, or, of very many, the Parquet files that list them. */
export async function croissant(
  c: Ctx,
  from: Exported,
  query: CroissantQuery,
): Promise<Result<{ body: ReadableStream<Uint8Array>; headers: Record<string, string> }>> {
  const parts =
    from.sealed.info.objects <= LISTED_MAX ? await ofObjects(c, from, query) : await ofLists(c, from, query);
  if (!parts.ok) return parts;
  const { leftOut } = parts.value;
  const body = streamOf(() => documentOf(headOf(c, from, query, parts.value), parts.value));
  return ok({ body, headers: { "x-penstock-left-out": String(leftOut) } });
}

function headOf(c: Ctx, from: Exported, query: CroissantQuery, { urls, remarks }: Parts): object {
  const { number, createdAt, sealedAt } = from.sealed.info;
  const { license, creator, citeAs } = query;
  return {
    "@context": CONTEXT,
    "@type": "sc:Dataset",
    conformsTo: CROISSANT,
    name: from.name,
    description: [summaryOf(from, urls), ...remarks].join(" "),
    url: `${new URL(c.req.url).origin}/v1/datasets/${from.name}/versions/${number}`,
    // Every sealed version may have changed anything: a major one (Semantic Versioning 2.0.0).
    version: `${number}.0.0`,
    dateCreated: createdAt,
    datePublished: sealedAt ?? createdAt,
    ...(license === undefined ? {} : { license }),
    ...(creator === undefined ? {} : { creator: { "@type": "sc:Organization", name: creator } }),
    ...(citeAs === undefined ? {} : { citeAs }),
  };
}

async function* documentOf(head: object, parts: Parts): AsyncGenerator<Uint8Array, void, void> {
  const encoder = new TextEncoder();
  const { before, after } = formatAround(head, "distribution", "[]", {});
  yield encoder.encode(before);
  yield* inPieces(parts.distribution, encoder);
  yield encoder.encode('],"recordSet":[');
  yield* inPieces(parts.recordSets, encoder);
  yield encoder.encode(after);
}

async function* inPieces(all: Iterable<string>, encoder: TextEncoder): AsyncGenerator<Uint8Array, void, void> {
  const entries = new Entries();
  let held: string[] = [];
  for (const entry of all) {
    held.push(entry);
    if (held.length < ENTRIES_AT_ONCE) continue;
    yield encoder.encode(entries.format(held));
    held = [];
  }
  if (held.length > 0) yield encoder.encode(entries.format(held));
}

async function ofObjects(c: Ctx, from: Exported, { base, expiresSeconds }: CroissantQuery): Promise<Result<Parts>> {
  const config = await configOf(c, from);
  if (!config.ok) return config;
  const urls = base === undefined ? await signedUrls(c, from, "objects", expiresSeconds) : ok(urlsUnder(base));
  if (!urls.ok) return urls;
  const objects = await rowsOf(c, from);
  if (!objects.ok) return objects;
  const rows = base === undefined ? objects.value.map(served(from)) : objects.value;
  const listed = rows.filter((row) => whyNoFile(row) === null);
  const remarks: string[] = [];
  for (const [why, rule] of WHY) {
    const number = rows.filter((row) => whyNoFile(row) === why).length;
    if (number > 0) remarks.push(`${number} objects are not in this document, for ${rule}.`);
  }
  const sets = config.value.kind === "zarr" ? ok([]) : await recordSetsOf(c.env, config.value, listed, remarks);
  if (!sets.ok) return sets;
  const distribution = entriesOf(listed, (row) => formatFileObject(row, urls.value.of(row.key)));
  return ok({
    urls: urls.value,
    distribution,
    recordSets: sets.value,
    remarks,
    leftOut: rows.length - listed.length,
  });
}

const WHY = [
  ["unsummed", "neither their SHA-256 nor their MD5 is known"],
  ["encoded", "they are stored with a Content-Encoding, and clients that decode it find another checksum"],
] as const;

async function rowsOf(c: Ctx, from: Exported): Promise<Result<StoredRow[]>> {
  const listing = listingOf(c, from, from.lists);
  const rows: StoredRow[] = [];
  for (;;) {
    const page = await listing.next();
    if (!page.ok) return page;
    if (page.value === null) return ok(rows);
    rows.push(...page.value.rows);
  }
}

const LIST_COLUMNS = [
  ["key", "Text"],
  ["size", "Integer"],
  ["etag", "Text"],
  ["md5", "Text"],
  ["sha256", "Text"],
  ["contentType", "Text"],
  ["stage", "Text"],
  ["category", "Text"],
] as const;

async function ofLists(c: Ctx, from: Exported, { expiresSeconds }: CroissantQuery): Promise<Result<Parts>> {
  const { sealed, lists } = from;
  const urls = await signedUrls(c, from, "files", expiresSeconds);
  if (!urls.ok) return urls;
  const keys = new Set(lists.map(({ key }) => key));
  const files = [...filesOf(sealed.datasetId, sealed)].filter(([, { key }]) => keys.has(key));
  const unknown = { md5: null, contentType: null, contentEncoding: null };
  const distribution = files.map(([key, { size, sha256 }]) =>
    formatFileObject({ key, size, sha256, ...unknown }, urls.value.of(key)),
  );
  const description = "Objects of the version: one record each.";
  const recordSets = files.slice(0, RECORD_SETS_MAX).map(([key]) => formatTable(key, description, LIST_COLUMNS));
  const remarks = [
    `They are more than the ${LISTED_MAX} that a document lists: it is of the Parquet files that list them.`,
  ];
  return ok({ urls: urls.value, distribution, recordSets, remarks, leftOut: 0 });
}

function* entriesOf<T>(items: readonly T[], format: (item: T) => string): Iterable<string> {
  for (const item of items) yield format(item);
}
