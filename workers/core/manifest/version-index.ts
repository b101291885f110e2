/**
 * A sealed version as the gateway reads it, `index.bin`: for each key its size and ETag, found by a hash of the key with at
 * most one read, and without decoding.
 *
 * Pages of 64 KiB, each with a head of 16 bytes ("PNIX", the number of its rows, zeros) and rows of 48 bytes in the order of
 * their hashes; what is left of the page is zeros. A row is
 *
 *     0   16  hash of the key, with the version's salt
 *     16   8  size in bytes, little-endian
 *     24  16  the MD5 that the ETag is, or is made of; or up to 16 bytes of an ETag that is none
 *     40   4  0: the ETag is that MD5; n: it ends in "-n"; 0xffffff00 + n: it is n bytes of text
 *     44   4  zeros
 *
 * A key's page follows from the first 32 bits of its hash. Hashes are salted, so that nobody can choose keys that fill one
 * page; at some 1,150 rows a page, of 1,365 that fit, a page is full once in ten thousand million.
 */
import { type Failure, failure } from "../failure.ts";
import { fail, ok, type Result } from "../result.ts";

export interface IndexEntry {
  /** Bytes. */
  size: number;
  /** R2's, without quotes. */
  etag: string;
}

export const INDEX_PAGE_BYTES = 65_536;
export const HASH_BYTES = 16;
export const ENTRY_BYTES = 48;
const HEAD_BYTES = 16;
const MAGIC = 0x58_49_4e_50; // "PNIX", little-endian
const PAGE_ENTRIES_MAX = Math.floor((INDEX_PAGE_BYTES - HEAD_BYTES) / ENTRY_BYTES);
const PAGE_ENTRIES = 1150;
const TEXT = 0xff_ff_ff_00;

/** Pages that an index of so many objects has; at least one. */
export const indexPages = (objects: number): number =>
  objects <= PAGE_ENTRIES_MAX ? 1 : Math.ceil(objects / PAGE_ENTRIES);

/** The page of a hash among so many. */
export const pageOfHash = (hash: Uint8Array, pages: number): number =>
  Math.floor((viewOf(hash).getUint32(0) * pages) / 2 ** 32);

const MULTIPART = /^([0-9a-f]{32})(?:-([1-9][0-9]{0,4}))?$/;

/** Writes an entry at `offset`; a failure where R2 could not have given such an ETag. */
export function writeEntry(
  into: Uint8Array,
  offset: number,
  hash: Uint8Array,
  { size, etag }: IndexEntry,
): Failure | null {
  const view = viewOf(into);
  into.set(hash, offset);
  view.setBigUint64(offset + 16, BigInt(size), true);
  const [, md5, parts = "0"] = MULTIPART.exec(etag) ?? [];
  if (md5 !== undefined) {
    into.set(Uint8Array.fromHex(md5), offset + 24);
    view.setUint32(offset + 40, Number(parts), true);
    return null;
  }
  const text = new TextEncoder().encode(etag);
  if (text.length > 16) {
    return failure("internal", `The ETag "${etag.slice(0, 100)}" is none that R2 gives, and too long for the index.`);
  }
  into.set(text, offset + 24);
  view.setUint32(offset + 40, TEXT + text.length, true);
  return null;
}

/** Puts entries (any number of them, one after the other, in any order) into pages `first` to before `end` of `pages`. */
export function buildPages(entries: Uint8Array, first: number, end: number, pages: number): Result<Uint8Array> {
  const built = new Uint8Array((end - first) * INDEX_PAGE_BYTES);
  const view = viewOf(entries);
  const ofPage: number[][] = Array.from({ length: end - first }, () => []);
  for (let offset = 0; offset < entries.length; offset += ENTRY_BYTES) {
    const page = Math.floor((view.getUint32(offset) * pages) / 2 ** 32);
    const list = ofPage[page - first];
    if (list === undefined) return fail(failure("internal", `An entry of page ${page} is not of ${first} to ${end}.`));
    list.push(offset);
  }
  for (const [index, offsets] of ofPage.entries()) {
    if (offsets.length > PAGE_ENTRIES_MAX) {
      return fail(failure("internal", `Page ${first + index} of the index has ${offsets.length} entries.`));
    }
    offsets.sort((a, b) => compareHashes(view, a, view, b));
    const start = index * INDEX_PAGE_BYTES;
    const head = new DataView(built.buffer, start);
    head.setUint32(0, MAGIC, true);
    head.setUint32(4, offsets.length, true);
    for (const [row, offset] of offsets.entries()) {
      const before = offsets[row - 1];
      if (before !== undefined && compareHashes(view, before, view, offset) === 0) {
        return fail(failure("internal", "Two keys of the version have the same hash."));
      }
      built.set(entries.subarray(offset, offset + ENTRY_BYTES), start + HEAD_BYTES + row * ENTRY_BYTES);
    }
  }
  return ok(built);
}

/** Looks a hash up in its page. */
export function findEntry(page: Uint8Array, hash: Uint8Array): Result<IndexEntry> {
  const view = viewOf(page);
  const entries =
    page.length === INDEX_PAGE_BYTES && view.getUint32(0, true) === MAGIC ? view.getUint32(4, true) : null;
  if (entries === null || entries > PAGE_ENTRIES_MAX) {
    return fail(failure("version-damaged", "A page of the version's index.bin is not one."));
  }
  const wanted = viewOf(hash);
  let [low, high] = [0, entries];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = compareHashes(view, HEAD_BYTES + middle * ENTRY_BYTES, wanted, 0);
    if (order === 0) return ok(entryAt(page, view, HEAD_BYTES + middle * ENTRY_BYTES));
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return fail(failure("object-not-found"));
}

function entryAt(page: Uint8Array, view: DataView, offset: number): IndexEntry {
  const size = Number(view.getBigUint64(offset + 16, true));
  const form = view.getUint32(offset + 40, true);
  const etag = page.subarray(offset + 24, offset + 40);
  if (form >= TEXT) return { size, etag: new TextDecoder().decode(etag.subarray(0, form - TEXT)) };
  return { size, etag: form === 0 ? etag.toHex() : `${etag.toHex()}-${form}` };
}

/** Orders the hashes at two places as bytes. */
function compareHashes(a: DataView, at: number, b: DataView, bt: number): number {
  for (let offset = 0; offset < HASH_BYTES; offset += 4) {
    const [x, y] = [a.getUint32(at + offset), b.getUint32(bt + offset)];
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
