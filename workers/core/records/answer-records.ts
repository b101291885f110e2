import { BROKEN_NAMED_MAX, RECORDS_ANSWER_MAX_BYTES } from "../limits.ts";
import { checkJson } from "./check-json.ts";
import type { BrokenRecord, Found } from "./record.ts";
import { placeAt, placeBefore, type RecordIndex } from "./record-index.ts";
import type { Stretch } from "./selection.ts";

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;

/**
 * Makes the lines of an answer from the records as they are found, and keeps the account of it. A record is sent as it
 * stands in the object, but for its line ends, which become blanks: in JSON they stand between tokens only. Whether it is JSON
 * was found out when the index was made: a record is looked at again only between two places that have a broken one
 * between them.
 */
export class RecordAnswer {
  readonly #index: RecordIndex;
  readonly #stretch: Stretch;
  readonly #refuses: boolean;
  readonly #maxBytes: number;
  #place: number;
  #checksUntil = 0;
  #isChecking = false;
  #bytes = 0;
  /** Records sent. */
  sent = 0;
  /** Records left out. */
  skipped = 0;
  /** The first of them. */
  readonly named: BrokenRecord[] = [];
  /** The record that comes next. */
  next: number;
  /** The record at which the answer ends, since broken ones are refused. */
  refused: BrokenRecord | null = null;

  constructor(index: RecordIndex, stretch: Stretch, refuses: boolean, maxBytes: number = RECORDS_ANSWER_MAX_BYTES) {
    this.#index = index;
    this.#stretch = stretch;
    this.#refuses = refuses;
    this.#maxBytes = maxBytes;
    this.#place = placeBefore(index.places, stretch.first) - 1;
    this.next = stretch.first;
  }

  /** The record that it begins with. */
  get first(): number {
    return this.#stretch.first;
  }

  /** Whether nothing more is wanted. */
  get isOver(): boolean {
    return this.next >= this.#stretch.end || this.refused !== null || this.#bytes >= this.#maxBytes;
  }

  /** The lines of those of the records that are wanted; null where none is. */
  take(found: readonly Found[]): Uint8Array | null {
    const wanted: Found[] = [];
    let length = 0;
    for (const record of found) {
      if (record.record < this.#stretch.first) continue;
      if (this.isOver) break;
      const reason = this.#reasonOf(record);
      if (reason !== null && this.#refuses) {
        this.refused = { record: record.record, line: record.line, reason };
        break;
      }
      this.next = record.record + 1;
      if (reason === null) {
        wanted.push(record);
        const bytes = record.end - record.start + 1;
        length += bytes;
        this.#bytes += bytes;
        continue;
      }
      this.skipped++;
      if (this.named.length < BROKEN_NAMED_MAX) this.named.push({ record: record.record, line: record.line, reason });
    }
    this.sent += wanted.length;
    return wanted.length === 0 ? null : linesOf(wanted, length);
  }

  #reasonOf({ bytes, start, end, record, problem }: Found): BrokenRecord["reason"] | null {
    while (record >= this.#checksUntil) {
      const { places, broken, records } = this.#index;
      this.#place++;
      const following = placeAt(places, this.#place + 1);
      this.#isChecking = (following?.broken ?? broken) > (placeAt(places, this.#place)?.broken ?? broken);
      this.#checksUntil = following?.record ?? Math.max(records, record + 1);
    }
    return problem ?? (this.#isChecking ? checkJson(bytes, start, end) : null);
  }
}

function linesOf(records: readonly Found[], length: number): Uint8Array {
  const lines = new Uint8Array(length);
  let at = 0;
  for (const { bytes, start, end } of records) {
    const line = lines.subarray(at, at + end - start);
    line.set(bytes.subarray(start, end));
    blank(line, NEWLINE);
    blank(line, RETURN);
    at += line.length;
    lines[at++] = NEWLINE;
  }
  return lines;
}

function blank(bytes: Uint8Array, byte: number): void {
  for (let at = bytes.indexOf(byte); at >= 0; at = bytes.indexOf(byte, at + 1)) bytes[at] = SPACE;
}
