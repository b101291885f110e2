import type { Failure } from "../../core/failure.ts";
import type { ManifestCursor } from "../../core/manifest/cursor.ts";
import { formatCsvRecord, formatSha256Line, formatUnsummedLine } from "../../core/manifest/lists.ts";
import type { RowPage } from "../../core/manifest/query.ts";
import type { StoredRow } from "../../core/manifest/row.ts";
import { type Entry, entryOf, removedOf } from "./entry.ts";
import type { Listing } from "./listing.ts";
import type { Signer } from "./sign.ts";

/** What a stream of a manifest is made of. */
export interface Streamed {
  listing: Listing;
  /** Whether it is the live manifest, which has changes. */
  isLive: boolean;
  signer: Signer | null;
  format: (cursor: ManifestCursor) => string;
  /** Where the listing was begun, to be asked again for URLs that are new. */
  begun: ManifestCursor | null;
}

type Chunks = AsyncGenerator<Uint8Array, void, void>;

const encode = (lines: readonly string[]): Uint8Array => new TextEncoder().encode(lines.join(""));
const json = (value: unknown): string => `${JSON.stringify(value)}\n`;

/** A URL, what to send with it, and when it expires; or why there is none. */
export async function signed(row: StoredRow, signer: Signer | null): Promise<object> {
  if (signer === null) return {};
  const made = await signer.sign(row);
  if (made.ok) return { ...made.value, expiresAt: signer.expiresAt };
  return { url: null, headers: {}, expiresAt: null, failure: made.failure };
}

/**
 * A line an object, and one at the end that says that it is the end, of all there is or of the limit that was asked for: an
 * answer without it was cut off. What goes wrong on the way is said in its place, with the cursor to go on from.
 */
export async function* ndjson(streamed: Streamed): Chunks {
  const { listing, signer } = streamed;
  let objects = 0;
  let bytes = 0;
  for (;;) {
    const page = await listing.next();
    const failed = page.ok ? (page.value === null ? listing.cutOff : null) : page.failure;
    if (!page.ok || page.value === null) {
      const { code, detail } = failed ?? {};
      const how = failed === null ? { end: true } : { end: false, failure: { code, detail } };
      yield encode([json({ ...how, objects, bytes, ...endOf(streamed, failed === null) })]);
      return;
    }
    const { rows, removed, prefixes } = page.value;
    const lines: string[] = [];
    for (const row of rows) {
      lines.push(json({ ...entryOf(row), ...(await signed(row, signer)) }));
      bytes += row.size;
    }
    objects += rows.length;
    lines.push(...removed.map((each) => json(removedOf(each))), ...prefixes.map((prefix) => json({ prefix })));
    if (lines.length > 0) yield encode(lines);
  }
}

/** Where to go on, or since when to ask for changes: not both, for what is still to come would be taken for known. */
function endOf({ listing, isLive, signer, format, begun }: Streamed, isEnd: boolean): object {
  const { cursor } = listing;
  const goOn = cursor === null ? {} : { cursor: format(cursor) };
  if (!isEnd) return goOn;
  const since = cursor === null && isLive ? { changedSince: listing.seq } : {};
  if (signer === null) return { ...since, ...goOn };
  const { expiresAt, serverTime } = signer;
  return { ...since, ...goOn, expiresAt, serverTime, refresh: format(begun ?? { position: null, seq: listing.seq }) };
}

const COLUMNS = [
  "key",
  "size",
  "etag",
  "md5",
  "sha256",
  "crc64nvme",
  "proof",
  "contentType",
  "contentEncoding",
  "stage",
  "category",
  "storageClass",
  "tags",
  "sourceUri",
  "sourceEtag",
  "sourceModifiedAt",
  "writer",
  "modifiedAt",
  "uploadedAt",
  "updatedAt",
  "seq",
] as const satisfies readonly (keyof Entry)[];

/** RFC 4180 with a header. There is no room for a failure in it: what goes wrong breaks the transfer off. */
export async function* csv({ listing, signer }: Pick<Streamed, "listing" | "signer">): Chunks {
  yield encode([formatCsvRecord([...COLUMNS, ...(signer === null ? [] : ["url", "headers", "expiresAt"])])]);
  for await (const { rows } of whole(listing)) {
    const lines: string[] = [];
    for (const row of rows) {
      const entry = entryOf(row);
      const fields = COLUMNS.map((name) => (name === "tags" ? textOf(entry.tags) : entry[name]));
      lines.push(formatCsvRecord([...fields, ...(signer === null ? [] : await urlFields(row, signer))]));
    }
    if (lines.length > 0) yield encode(lines);
  }
}

async function urlFields(row: StoredRow, signer: Signer): Promise<(string | null)[]> {
  const made = await signer.sign(row);
  return made.ok ? [made.value.url, JSON.stringify(made.value.headers), signer.expiresAt] : [null, null, null];
}

const textOf = (tags: StoredRow["tags"]): string | null => (tags === null ? null : JSON.stringify(tags));

/** A list for `sha256sum -c`. Objects whose sum is not known are comments in it, counted at the end. */
export async function* sha256sum({ listing }: Pick<Streamed, "listing">): Chunks {
  let unknown = 0;
  for await (const { rows } of whole(listing)) {
    unknown += rows.filter(({ sha256 }) => sha256 === null).length;
    const lines = rows.map(({ key, sha256 }) =>
      sha256 === null ? formatUnsummedLine(key) : formatSha256Line(sha256, key),
    );
    if (lines.length > 0) yield encode(lines);
  }
  if (unknown > 0) yield encode([`# ${unknown} objects without a SHA-256\n`]);
}

/** All pages of a listing; what cannot be had to its end, or to its limit, is thrown. */
export async function* whole(listing: Listing): AsyncGenerator<RowPage, void, void> {
  for (;;) {
    const page = await listing.next();
    if (!page.ok) throw broken(page.failure);
    if (page.value === null && listing.cutOff !== null) throw broken(listing.cutOff);
    if (page.value === null) return;
    yield page.value;
  }
}

function broken(failed: Failure): Error {
  console.error(JSON.stringify({ message: "listing broken off", ...failed }));
  return new Error(`The listing broke off: ${failed.code}`);
}
