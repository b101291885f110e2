import * as z from "zod";
import { KINDS, PROBLEMS } from "./record.ts";
import { PLACE_NUMBERS, type RecordIndex } from "./record-index.ts";

/**
 * The file of an index, all numbers little-endian:
 *
 *     bytes            content
 *     0 to 7           "PSTKRECS"
 *     8 to 11          the layout's version, uint32: 2
 *     12 to 15         the head's length in bytes, uint32; blanks at its end make it a multiple of 8
 *     16 to ...        the head: JSON, as in `head` below
 *     from there on    the places: four float64 each (offset, record, line, broken records before), `places` of them
 *     the last 32      SHA-256 of all before; not known here, see adapters/record-indexes.ts
 */
const MAGIC = "PSTKRECS";
const VERSION = 2;
const HEAD_AT = 16;

const count = z.number().int().nonnegative();
const placeSchema = { offset: count, record: count, line: count };

const head = z.strictObject({
  key: z.string(),
  etag: z.string(),
  size: count,
  gzip: z.boolean(),
  said: z.strictObject({ kind: z.enum(KINDS).nullable(), encoding: z.string().nullable() }),
  kind: z.enum(KINDS),
  records: count,
  broken: count,
  named: z.array(z.strictObject({ record: count, line: count, reason: z.enum(PROBLEMS) })),
  refused: z.strictObject({ code: z.enum(["not-records", "record-broken"]), detail: z.string() }).nullable(),
  resume: z.strictObject({ ...placeSchema, phase: z.enum(["before", "opened", "inside", "after"]) }).nullable(),
  /** How many there are. */
  places: count,
});

/** An index as a file. The same index makes the same bytes. */
export function formatIndex({ places, ...index }: RecordIndex): Uint8Array<ArrayBuffer> {
  const text = JSON.stringify(head.parse({ ...index, places: places.length / PLACE_NUMBERS }));
  const short = new TextEncoder().encode(text);
  const length = Math.ceil(short.length / 8) * 8;
  const file = new Uint8Array(HEAD_AT + length + places.length * 8);
  file.set(new TextEncoder().encode(MAGIC));
  file.fill(0x20, HEAD_AT, HEAD_AT + length);
  file.set(short, HEAD_AT);
  const view = new DataView(file.buffer);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, length, true);
  places.forEach((number, i) => view.setFloat64(HEAD_AT + length + i * 8, number, true));
  return file;
}

/** Reads what {@link formatIndex} has written; null for anything else, also for another version of the layout. */
export function parseIndex(file: Uint8Array): RecordIndex | null {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < HEAD_AT || !new TextEncoder().encode(MAGIC).every((byte, i) => file[i] === byte)) return null;
  if (view.getUint32(8, true) !== VERSION) return null;
  const placesAt = HEAD_AT + view.getUint32(12, true);
  if (placesAt > file.length) return null;
  let told: unknown;
  try {
    told = JSON.parse(decoder.decode(file.subarray(HEAD_AT, placesAt)));
  } catch {
    return null;
  }
  const read = head.safeParse(told);
  if (!read.success) return null;
  const { places: length, ...index } = read.data;
  if (file.length !== placesAt + length * PLACE_NUMBERS * 8) return null;
  const places = new Float64Array(length * PLACE_NUMBERS);
  for (let i = 0; i < places.length; i++) places[i] = view.getFloat64(placesAt + i * 8, true);
  return { ...index, places };
}
