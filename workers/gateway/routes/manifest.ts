import { rowsToParquet } from "../../adapters/parquet-rows.ts";
import { sha256Hex } from "../../adapters/web-hmac.ts";
import { documentHeaders, unchanged } from "../tagged.ts";
import { boundTo, formatManifestCursor, type ManifestCursor, parseManifestCursor } from "../../core/manifest/cursor.ts";
import { checkReached } from "../../core/manifest/query.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { ok, type Result } from "../../core/result.ts";
import { type Ctx, refuse } from "../context.ts";
import { entryOf, removedOf } from "../manifest/entry.ts";
import { Listing, PAGES_MAX } from "../manifest/listing.ts";
import { type Asked, type Format, readManifestQuery } from "../manifest/query.ts";
import { type Signer, signerOf } from "../manifest/sign.ts";
import { csv, ndjson, sha256sum, signed, type Streamed } from "../manifest/stream.ts";
import { type RowSource, rowsOf } from "../rows-of.ts";
import { streamOf } from "../stream-of.ts";

const TYPES: Record<Format, string> = {
  json: "application/json",
  ndjson: "application/x-ndjson",
  csv: "text/csv; charset=utf-8; header=present",
  sha256sum: "text/plain; charset=utf-8",
  parquet: "application/vnd.apache.parquet",
};
const STREAMS = { ndjson, csv, sha256sum };
/**
 * UTF-16 units of the rows of one Parquet file, after which it ends; the page that came last may have 4,000,000 more. They
 * are in memory as rows, as columns and as pages of the file: some 60 MB of an isolate's 128.
 */
const PARQUET_UNITS_MAX = 8_000_000;
/** What a row takes beside its text. */
const ROW_UNITS = 200;

/** A request that has been looked at. */
interface Question {
  name: string;
  asked: Asked;
  source: RowSource;
  /** The digest of what cursors are bound to. */
  bound: string;
  begun: ManifestCursor | null;
  signer: Signer | null;
  headers: Record<string, string>;
}

/** `GET /v1/datasets/:dataset/manifest`: the objects of a version that a query finds, in one of five formats. */
export async function manifest(c: Ctx): Promise<Response> {
  const name = c.req.param("dataset") ?? "";
  const read = readManifestQuery(c);
  if (!read.ok) return refuse(c, read.failure);
  const { value: asked } = read;
  const { sign, format } = asked;
  const opened = await rowsOf(c, name, asked.version);
  if (!opened.ok) return refuse(c, opened.failure);
  const { value: source } = opened;
  const bound = (await sha256Hex(boundTo(source.datasetId, source.number, asked.query))).slice(0, 16);
  const begun = asked.cursor === null ? ok(null) : parseManifestCursor(asked.cursor, bound);
  if (!begun.ok) return refuse(c, begun.failure);
  // Before a condition is looked at: what is wrong is not what anyone holds.
  const beyond = source.seq === null ? null : checkReached(asked.query.changedSince, source.seq);
  if (beyond !== null) return refuse(c, beyond);
  const etag = sign === null ? await etagOf(asked, source, bound) : null;
  const headers = documentHeaders(c, TYPES[format], etag);
  const held = unchanged(c, etag, headers);
  if (held !== null) return held;
  const signer = await openSigner(c, name, asked, source);
  if (!signer.ok) return refuse(c, signer.failure);
  const question = { name, asked, source, bound, begun: begun.value, signer: signer.value, headers };
  if (format === "json") return onePage(c, question);
  if (format === "parquet") return oneFile(c, question);
  const listing = listingOf(question);
  const first = await listing.begin();
  if (!first.ok) return refuse(c, first.failure);
  return new Response(
    streamOf(() => STREAMS[format](streamed(question, listing))),
    { headers },
  );
}

async function openSigner(c: Ctx, name: string, asked: Asked, source: RowSource): Promise<Result<Signer | null>> {
  if (asked.sign === null) return ok(null);
  return signerOf(c, name, asked.sign, source.number, asked.expiresSeconds);
}

const listingOf = ({ source, asked: { query, limit, sign }, begun }: Question): Listing =>
  new Listing(source, query, begun, limit, sign === null ? PAGES_MAX.shown : PAGES_MAX.signed);

const streamed = (question: Question, listing: Listing): Streamed => ({
  listing,
  isLive: question.source.number === null,
  signer: question.signer,
  format: (cursor) => formatManifestCursor(question.bound, cursor),
  begun: question.begun,
});

async function onePage(c: Ctx, question: Question): Promise<Response> {
  const { name, source, signer, bound, begun, headers } = question;
  const listing = listingOf(question);
  const page = await listing.next();
  if (!page.ok) return refuse(c, page.failure);
  const { rows = [], removed = [], prefixes = [] } = page.value ?? {};
  const objects: object[] = [];
  for (const row of rows) objects.push({ ...entryOf(row), ...(await signed(row, signer)) });
  const { cursor } = listing;
  const { delimiter, changedSince } = question.asked.query;
  const body = {
    dataset: name,
    version: source.version,
    objects,
    ...(delimiter === null ? {} : { prefixes }),
    ...(changedSince === null ? {} : { removed: removed.map(removedOf) }),
    ...(cursor === null ? {} : { cursor: formatManifestCursor(bound, cursor) }),
    // Only at the end: before, it would be used too early.
    ...(cursor === null && source.number === null ? { changedSince: listing.seq } : {}),
    ...(signer === null
      ? {}
      : {
          expiresAt: signer.expiresAt,
          serverTime: signer.serverTime,
          refresh: formatManifestCursor(bound, begun ?? { position: null, seq: listing.seq }),
        }),
  };
  return new Response(JSON.stringify(body), { headers });
}

/** Rows as one Parquet file. What is more than it holds goes on at `Link: rel="next"` (RFC 8288). */
async function oneFile(c: Ctx, question: Question): Promise<Response> {
  const listing = listingOf(question);
  const rows: StoredRow[] = [];
  let units = 0;
  while (units < PARQUET_UNITS_MAX) {
    const page = await listing.next();
    if (!page.ok) return refuse(c, page.failure);
    if (page.value === null) break;
    for (const row of page.value.rows) {
      units += unitsOf(row);
      rows.push(row);
    }
  }
  const { cursor } = listing;
  const headers = { ...question.headers, ...(cursor === null ? {} : { link: nextLink(c, question, cursor) }) };
  return new Response(rowsToParquet(rows), { headers });
}

/** All of its text: most of a row are checksums, and where it came from. */
function unitsOf({ tags, ...row }: StoredRow): number {
  const texts = Object.values(row).filter((value) => typeof value === "string");
  return texts.reduce((sum, { length }) => sum + length, ROW_UNITS + (tags === null ? 0 : JSON.stringify(tags).length));
}

function nextLink(c: Ctx, { name, bound }: Question, cursor: ManifestCursor): string {
  const again = new URLSearchParams({ ...c.req.query(), cursor: formatManifestCursor(bound, cursor) });
  return `</v1/datasets/${name}/manifest?${again.toString()}>; rel="next"`;
}

/**
 * Weak: two answers of one tag say the same. Of the live manifest it is that of the `seq` before the page was read, so that
 * what is newer than its tag is asked for once more, and what is older never held.
 */
async function etagOf({ format, cursor, limit }: Asked, source: RowSource, bound: string): Promise<string> {
  const { datasetId, version, seq } = source;
  const said = JSON.stringify([datasetId, version, seq ?? "sealed", bound, format, cursor, String(limit)]);
  return (await sha256Hex(said)).slice(0, 32);
}
