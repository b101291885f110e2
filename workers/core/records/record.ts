/**
 * Records of an object: the lines of JSONL, or the elements of one JSON array. A record is JSON text and has a number,
 * counted from 0; one that cannot be read has its number too, so that numbers do not depend on what is left out.
 */

export const KINDS = ["lines", "array"] as const;
export type Kind = (typeof KINDS)[number];

/**
 * Why a record cannot be read:
 * `not-json`  it is no JSON text (RFC 8259)
 * `not-utf8`  a string in it is not UTF-8
 * `too-long`  it has more bytes than `RECORD_MAX_BYTES`
 * `empty`     there is nothing between two commas of the array, or after the last one
 * `unclosed`  the object ends before the array does
 */
export const PROBLEMS = ["not-json", "not-utf8", "too-long", "empty", "unclosed"] as const;
export type Problem = (typeof PROBLEMS)[number];

/** Where a record begins. */
export interface Place {
  /** Bytes from the start of the object, after decompression. */
  offset: number;
  /** Its number, from 0. */
  record: number;
  /** The line of the object, from 1; blank ones count. */
  line: number;
}

/** A record as a splitter finds it: `bytes` from `start` to before `end`, without what separates it from the next one. */
export interface Found extends Place {
  bytes: Uint8Array;
  start: number;
  end: number;
  /** What is known to be wrong without having looked into it. */
  problem: Problem | null;
}

/** A record that cannot be read. */
export interface BrokenRecord {
  record: number;
  line: number;
  reason: Problem;
}

/** Where in the text of an object a place is: before its records, right after the "[", among them, or behind the "]". */
export type Phase = "before" | "opened" | "inside" | "after";

/** From where a splitter goes on: a place at which no record is half read. */
export interface Resume extends Place {
  phase: Phase;
}

export const START: Resume = { offset: 0, record: 0, line: 1, phase: "before" };

/** Finds the records in the bytes of an object, which come in chunks of any length. */
export interface Splitter {
  /** The records that end in this chunk, which follows the ones before. They may share its memory. */
  push(chunk: Uint8Array): Found[];
  /** Whatever the end of the object ends. */
  end(): Found[];
  /** Where to go on after what was found so far: another splitter, from there, finds the rest. */
  readonly resume: Resume;
  /** Bytes behind the end of the array, which make it none; null where there are none. */
  readonly trailing: number | null;
}
