/**
 * The list of a job's units, as it is stored:
 *
 *     jobs/<id>/units/0, 1, ...   pages, one behind the other
 *     jobs/<id>/units/index.json  which units are on which page
 *
 * A page is a JSON array of units, a unit an array of parts, and a part one of
 *
 *     [key, size]                        an object
 *     [key, size, offset, first, count]  a range of its bytes, of `size`, with `count` records from number `first` on
 *     [key, size, array, [0, 1]]         a chunk of an array
 *
 * The same units make the same pages. Their digest, into which that of the ETags goes, which are not stored here, says whether two
 * jobs have the same units of the same bytes.
 */
import * as z from "zod";
import type { Part, Unit } from "./unit.ts";

/** Bytes of a page, but where one unit alone has more; and of a file of pages. */
export const UNIT_PAGE_BYTES = 64 * 1024;
export const UNIT_FILE_BYTES = 4 * 1024 * 1024;

type StoredPart =
  | [key: string, size: number]
  | [key: string, size: number, offset: number, first: number, count: number]
  | [key: string, size: number, array: string, chunk: number[]];

/** A page as it is written. */
export interface UnitPage {
  /** The number of its first unit, from 0. */
  first: number;
  bytes: Uint8Array;
}

/** Collects units until they fill a page. */
export class PageWriter {
  #first = 0;
  #count = 0;
  #texts: string[] = [];
  #bytes = 0;

  /** Takes the next unit; answers with the page that was full before it. */
  push(unit: Unit): UnitPage | null {
    const text = JSON.stringify(unit.parts.map(storedPart));
    const bytes = byteLength(text) + 1;
    const full = this.#bytes > 0 && this.#bytes + bytes + 1 > UNIT_PAGE_BYTES ? this.end() : null;
    this.#texts.push(text);
    this.#bytes += bytes;
    this.#count++;
    return full;
  }

  /** The last page; null where no unit is left. */
  end(): UnitPage | null {
    if (this.#texts.length === 0) return null;
    const page = { first: this.#first, bytes: encoder.encode(`[${this.#texts.join(",")}]`) };
    this.#first = this.#count;
    this.#texts = [];
    this.#bytes = 0;
    return page;
  }

  /** Units taken so far. */
  get count(): number {
    return this.#count;
  }
}

const encoder = new TextEncoder();
const ASCII = /^[\0-\x7f]*$/;
const byteLength = (text: string): number => (ASCII.test(text) ? text.length : encoder.encode(text).length);

function storedPart({ key, size, range, records, array, chunk }: Part): StoredPart {
  if (range !== undefined && records !== undefined) return [key, size, range.offset, records.first, records.count];
  return array === undefined || chunk === undefined ? [key, size] : [key, size, array, chunk];
}

/**
 * The units of a page; null for what is none. Looked at by hand: a lease of a thousand units reads as many pages, and a schema
 * takes several times as long as the parsing.
 */
export function parsePage(text: string): Unit[] | null {
  const page = jsonOf(text);
  if (!Array.isArray(page)) return null;
  const units: Unit[] = [];
  for (const stored of page as unknown[]) {
    if (!Array.isArray(stored)) return null;
    const unit: Unit = { parts: [], bytes: 0 };
    for (const each of stored as unknown[]) {
      const part = Array.isArray(each) ? partOf(each) : null;
      if (part === null) return null;
      unit.parts.push(part);
      unit.bytes += part.size;
    }
    units.push(unit);
  }
  return units;
}

function partOf([key, size, third, fourth, count, more]: unknown[]): Part | null {
  if (typeof key !== "string" || !isCount(size) || more !== undefined) return null;
  if (third === undefined) return { key, size };
  if (typeof third === "string") {
    const isChunk = count === undefined && Array.isArray(fourth) && fourth.every(isCount);
    return isChunk ? { key, size, array: third, chunk: fourth } : null;
  }
  if (!isCount(third) || !isCount(fourth) || !isCount(count)) return null;
  return { key, size, range: { offset: third, length: size }, records: { first: fourth, count } };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const number = z.number().int().nonnegative();
const unitIndexSchema = z.strictObject({
  v: z.literal(1),
  /** How many units there are, and the bytes of all their parts. */
  units: number,
  bytes: number,
  /** Hex SHA-256 of the pages, one behind the other, and of what the bytes of their objects are (`ContentDigest`). */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  files: z.array(
    z.strictObject({
      etag: z.string().min(1),
      /** Of each page its first unit, and where in the file it is: offset and length in bytes. */
      pages: z.array(z.tuple([number, number, number])).min(1),
    }),
  ),
});
export type UnitIndex = z.infer<typeof unitIndexSchema>;

export const formatUnitIndex = (index: UnitIndex): string => JSON.stringify(index);

/** Null for what is no index. */
export function parseUnitIndex(text: string): UnitIndex | null {
  const read = unitIndexSchema.safeParse(jsonOf(text));
  return read.success ? read.data : null;
}

/** A page, and where it is. */
export interface PlacedPage {
  /** The number of its file. */
  file: number;
  etag: string;
  offset: number;
  length: number;
  /** Its units: from `first` to before `end`. */
  first: number;
  end: number;
}

/** The pages that these units are on, each once, in the order in which they are first needed; null where one is on none. */
export function findPages({ units, files }: UnitIndex, numbers: readonly number[]): PlacedPage[] | null {
  const found = new Map<number, PlacedPage>();
  for (const wanted of numbers) {
    if (!Number.isInteger(wanted) || wanted < 0 || wanted >= units) return null;
    const file = lastFrom(files, wanted, ({ pages }) => pages[0]?.[0]);
    const { etag = "", pages = [] } = files[file] ?? {};
    const at = lastFrom(pages, wanted, ([first]) => first);
    const page = pages[at];
    if (page === undefined) return null;
    const [first, offset, length] = page;
    const end = pages[at + 1]?.[0] ?? files[file + 1]?.pages[0]?.[0] ?? units;
    if (!found.has(first)) found.set(first, { file, etag, offset, length, first, end });
  }
  return [...found.values()];
}

/** The last item that begins at the number or before it; -1 where none does. */
function lastFrom<T>(items: readonly T[], wanted: number, begins: (item: T) => number | undefined): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && (begins(item) ?? 0) <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
