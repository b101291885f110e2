import { RECORD_MAX_BYTES } from "../limits.ts";
import { Held } from "./held.ts";
import { type Found, type Phase, type Problem, type Resume, type Splitter, START } from "./record.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const NEWLINE = 0x0a;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];

/**
 * Records of one JSON array: its elements. It looks for no more than where an element ends: at a comma or a bracket that is
 * in no string and in no bracket within. Whether an element is JSON is another question; of one in which a quote or
 * a bracket is missing, the end is where the next ones happen to balance it.
 */
export class ArraySplitter implements Splitter {
  trailing: number | null = null;
  readonly #held = new Held();
  #phase: Phase;
  /** Offset of the next byte. */
  #offset: number;
  #line: number;
  #record: number;
  /** Where the element that is being read begins; null between elements. */
  #begun: { offset: number; line: number } | null = null;
  #depth = 0;
  #isInString = false;
  #isEscaped = false;

  constructor(from: Resume = START) {
    this.#phase = from.phase;
    this.#offset = from.offset;
    this.#line = from.line;
    this.#record = from.record;
  }

  get resume(): Resume {
    const { offset, line } = this.#begun ?? { offset: this.#offset, line: this.#line };
    return { offset, line, record: this.#record, phase: this.#begun === null ? this.#phase : "inside" };
  }

  push(chunk: Uint8Array): Found[] {
    const found: Found[] = [];
    let at = 0;
    while (at < chunk.length)
      at = this.#begun === null ? this.#between(chunk, at, found) : this.#within(chunk, at, found);
    this.#offset += chunk.length;
    return found;
  }

  end(): Found[] {
    if (this.#phase === "before" || this.#phase === "after") return [];
    this.#begun ??= { offset: this.#offset, line: this.#line };
    const found: Found[] = [];
    this.#close(found, new Uint8Array(0), 0, 0, "unclosed");
    this.#phase = "after";
    return found;
  }

  /** Reads on from `at`, where no element has begun; the answer is where to go on. */
  #between(chunk: Uint8Array, at: number, found: Found[]): number {
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (byte === NEWLINE) this.#line++;
      if (isBlank(byte)) continue;
      const offset = this.#offset + at;
      if (this.#phase === "before" && byte === BYTE_ORDER_MARK[offset]) continue;
      if (this.#phase === "before" && byte === OPEN_ARRAY) this.#phase = "opened";
      else if (this.#phase === "before" || this.#phase === "after") {
        this.trailing ??= offset;
        return chunk.length;
      } else if (byte === COMMA || byte === CLOSE_ARRAY) {
        if (byte === COMMA || this.#phase === "inside") {
          this.#begun = { offset, line: this.#line };
          this.#close(found, chunk, at, at, "empty");
        }
        this.#phase = byte === COMMA ? "inside" : "after";
      } else {
        this.#begun = { offset, line: this.#line };
        return at;
      }
    }
    return at;
  }

  /** Reads on within an element, which has begun at `start` or in a chunk before. */
  #within(chunk: Uint8Array, start: number, found: Found[]): number {
    let [isInString, depth, at] = [this.#isInString, this.#depth, start];
    if (this.#isEscaped) {
      if (chunk[at] === NEWLINE) this.#line++;
      this.#isEscaped = false;
      at++;
    }
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (isInString) {
        if (byte > BACKSLASH) continue; // most of a text
        if (byte === QUOTE) isInString = false;
        else if (byte === NEWLINE) this.#line++;
        else if (byte === BACKSLASH) {
          at++;
          this.#isEscaped = at === chunk.length;
          if (chunk[at] === NEWLINE) this.#line++;
        }
      } else if (byte === QUOTE) isInString = true;
      else if (byte === NEWLINE) this.#line++;
      else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) depth++;
      else if (depth > 0) {
        if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth--;
      } else if (byte === COMMA || byte === CLOSE_ARRAY) {
        this.#close(found, chunk, start, at, null);
        this.#phase = byte === COMMA ? "inside" : "after";
        return at + 1;
      }
    }
    [this.#isInString, this.#depth] = [isInString, depth];
    this.#held.add(chunk.subarray(start));
    return chunk.length;
  }

  #close(found: Found[], chunk: Uint8Array, start: number, end: number, known: Problem | null): void {
    const { offset, line } = this.#begun ?? { offset: this.#offset, line: this.#line };
    [this.#begun, this.#depth, this.#isInString, this.#isEscaped] = [null, 0, false, false];
    let bytes = chunk;
    let problem = known;
    if (this.#held.length > 0) {
      this.#held.add(chunk.subarray(start, end));
      if (this.#held.isTooLong) problem ??= "too-long";
      bytes = this.#held.take();
      [start, end] = [0, bytes.length];
    }
    while (end > start && isBlank(bytes[end - 1])) end--;
    if (end - start > RECORD_MAX_BYTES) problem ??= "too-long";
    found.push({ bytes, start, end, offset, line, record: this.#record++, problem });
  }
}

const isBlank = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09;
