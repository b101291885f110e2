import { RECORD_MAX_BYTES } from "../limits.ts";
import { Held } from "./held.ts";
import { type Found, type Resume, type Splitter, START } from "./record.ts";

const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

/**
 * Records of JSONL (also called NDJSON): each line that is not blank is one. Lines end with LF or CRLF, the last one
 * also with the object. A byte order mark at the start is skipped.
 */
export class LineSplitter implements Splitter {
  readonly trailing = null;
  readonly #held = new Held();
  /** Where the line that is being read begins. */
  #begin: number;
  #line: number;
  #record: number;

  constructor(from: Resume = START) {
    this.#begin = from.offset;
    this.#line = from.line;
    this.#record = from.record;
  }

  get resume(): Resume {
    return { offset: this.#begin, record: this.#record, line: this.#line, phase: "inside" };
  }

  push(chunk: Uint8Array): Found[] {
    const found: Found[] = [];
    let at = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, at)) {
      this.#close(found, chunk, at, end, 1);
      at = end + 1;
    }
    this.#held.add(chunk.subarray(at));
    return found;
  }

  end(): Found[] {
    const found: Found[] = [];
    if (this.#held.length > 0) this.#close(found, new Uint8Array(0), 0, 0, 0);
    return found;
  }

  /** Ends the line with the bytes from `start` to `end`; `newline` is the length of what ends it. */
  #close(found: Found[], chunk: Uint8Array, start: number, end: number, newline: number): void {
    let offset = this.#begin;
    const line = this.#line++;
    this.#begin += this.#held.length + (end - start) + newline;
    let bytes = chunk;
    if (this.#held.length > 0) {
      this.#held.add(chunk.subarray(start, end));
      const { isTooLong } = this.#held;
      bytes = this.#held.take();
      [start, end] = [0, bytes.length];
      if (isTooLong) {
        found.push({ bytes, start, end, offset, line, record: this.#record++, problem: "too-long" });
        return;
      }
    }
    if (offset === 0 && hasByteOrderMark(bytes, start, end)) {
      // The record begins after it: so does the range of bytes that is handed out from here.
      start += 3;
      offset += 3;
    }
    if (bytes[end - 1] === RETURN && end > start) end--;
    if (isBlank(bytes, start, end)) return;
    const problem = end - start > RECORD_MAX_BYTES ? "too-long" : null;
    found.push({ bytes, start, end, offset, line, record: this.#record++, problem });
  }
}

const hasByteOrderMark = (bytes: Uint8Array, start: number, end: number): boolean =>
  end - start >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf;

function isBlank(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte !== SPACE && byte !== TAB && byte !== RETURN) return false;
  }
  return true;
}
