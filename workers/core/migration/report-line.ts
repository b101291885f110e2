import { checkKey, utf8Length } from "../http/key-path.ts";
import type { Proof } from "../manifest/row.ts";
import { readRecord } from "./csv.ts";
import type { WhyKept } from "./join.ts";

/** What became of an object. `would-*` is a dry run's; verified, missing, different and unproved a verification's. */
export const REPORT_OUTCOMES = [
  "copied",
  "same",
  "kept",
  "failed",
  "deleted",
  "verified",
  "missing",
  "different",
  "unproved",
  "would-copy",
  "would-delete",
] as const;
export type ReportOutcome = (typeof REPORT_OUTCOMES)[number];

/** Why an object that the source has no more stays in R2 after all. */
export type WhyNotDeleted = "changed" | "at-source" | "sealed";

/** A line of a migration's report: one object, keyed as its store spells it, relative to the dataset's prefix. */
export interface ReportLine {
  key: string;
  outcome: ReportOutcome;
  /** Bytes; null where nothing is known of the object. */
  size: number | null;
  /** R2's; the source's where R2 was not written to. */
  etag?: string;
  proof?: Proof;
  /** Of a failure: its code, and a sentence about it. */
  code?: string;
  detail?: string;
  /** Why the destination kept what it has. */
  why?: WhyKept | WhyNotDeleted;
}

/** NDJSON: one object a line, each with its newline. A report is a key list as it is, see {@link parseKeyList}. */
export const formatLines = (lines: readonly ReportLine[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join("");

/** The outcome that a failure's code makes: a verification's findings are outcomes of their own. */
export function outcomeOf(code: string): ReportOutcome {
  switch (code) {
    case "copy-missing":
      return "missing";
    case "copy-different":
      return "different";
    case "copy-unproved":
      return "unproved";
    default:
      return "failed";
  }
}

/** How a CSV list is to be read, which its first line tells. */
export interface CsvLayout {
  /** Where the key is, counted from 0. */
  column: number;
  /** Whether keys are percent-encoded. */
  encoded: boolean;
}

export interface KeyListOptions {
  /** Keys and bad lines after which reading stops. */
  max: number;
  /** Whether the text is the beginning of the list. */
  isStart: boolean;
  /** Whether the list ends with the text: its last line may then do without a newline. */
  isEnd: boolean;
  /** Of a CSV that is read on, and not from its start: what its first line told, see {@link csvLayoutOf}. */
  layout?: CsvLayout | null;
  /** Only lines of a report with one of these outcomes. */
  outcomes?: readonly string[];
}

export interface KeyLines {
  /** In the order of the list; a key that stands there twice is named once. */
  keys: string[];
  /** Lines that name no key, by their number in the text, from 1. */
  bad: { line: number; detail: string }[];
  /** Bytes of UTF-8 that were read, to the end of a line. 0: the text holds no whole line. */
  consumed: number;
  /** Of a CSV, once a line of it was read. */
  layout: CsvLayout | null;
}

/** What a line says: a key, something wrong, or nothing. */
type Line = { key: string } | { wrong: string } | null;

/**
 * Reads keys, relative to the dataset's prefix, from a text that starts where a line of a list does.
 *
 * NDJSON: a JSON string a line, or an object with a `key`, so that a migration's report is a list as it is.
 *
 * CSV (RFC 4180): where the first line has a column named "key", in whatever case, that one. Else there are no names: a
 * single column is the key. Of several the second is, percent-encoded and with "+" for a space: so AWS writes its lists,
 * `bucket,key` for S3 Batch Operations, with more columns in S3 Inventory.
 *
 * @param text well-formed: bytes that are no UTF-8 were refused before, else `consumed` is wrong
 */
export function parseKeyList(text: string, format: "ndjson" | "csv", options: KeyListOptions): KeyLines {
  const { max, isStart, isEnd, outcomes } = options;
  let layout = options.layout ?? null;
  if (format === "csv" && !isStart && layout === null) throw new Error("A CSV is read on by what its first line told.");
  const keys = new Set<string>();
  const bad: KeyLines["bad"] = [];
  let line = 1;
  let consumed = 0;
  // A byte order mark, as spreadsheets write it, is no part of the first line.
  let at = isStart && text.startsWith("\uFEFF") ? 1 : 0;
  while (at < text.length && keys.size + bad.length < max) {
    const record = format === "csv" ? readRecord(text, at, isEnd) : readLine(text, at, isEnd);
    if (record === null) break;
    let read: Line;
    if (record.problem !== null) read = { wrong: record.problem };
    else if (format === "ndjson") read = keyOfJson(record.fields[0] ?? "", outcomes);
    else if (isBlank(record.fields)) read = null;
    else if (layout !== null) read = keyOfRecord(record.fields, layout);
    else {
      layout = layoutOf(record.fields);
      read = record.fields.some(isName) ? null : keyOfRecord(record.fields, layout);
    }
    if (read !== null && "wrong" in read) bad.push({ line, detail: read.wrong });
    else if (read !== null) keys.add(read.key);
    line += record.lines;
    at = record.next;
    consumed = at;
  }
  return { keys: [...keys], bad, consumed: utf8Length(text.slice(0, consumed)), layout };
}

/** How a CSV list is read, by its beginning; null where that holds no whole line. */
export const csvLayoutOf = (text: string, isEnd: boolean): CsvLayout | null =>
  parseKeyList(text, "csv", { max: 1, isStart: true, isEnd }).layout;

function readLine(text: string, at: number, isEnd: boolean) {
  const newline = text.indexOf("\n", at);
  if (newline < 0 && !isEnd) return null;
  const end = newline < 0 ? text.length : newline;
  return { fields: [text.slice(at, end)], problem: null, lines: 1, next: newline < 0 ? end : end + 1 };
}

function keyOfJson(line: string, outcomes: readonly string[] | undefined): Line {
  if (line.trim() === "") return null;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { wrong: "The line is not JSON." };
  }
  const entry: { key?: unknown; outcome?: unknown } =
    typeof value === "object" && value !== null ? value : { key: value };
  if (typeof entry.key !== "string") return { wrong: 'The line is neither a JSON string nor an object with a "key".' };
  if (outcomes !== undefined) {
    if (typeof entry.outcome !== "string") return { wrong: 'The line has no "outcome", by which it is chosen.' };
    if (!outcomes.includes(entry.outcome)) return null;
  }
  return checked(entry.key);
}

const isBlank = (fields: readonly string[]): boolean => fields.length === 1 && fields[0]?.trim() === "";
const isName = (field: string): boolean => field.trim().toLowerCase() === "key";

function layoutOf(fields: readonly string[]): CsvLayout {
  const column = fields.findIndex(isName);
  if (column >= 0) return { column, encoded: false };
  return fields.length === 1 ? { column: 0, encoded: false } : { column: 1, encoded: true };
}

function keyOfRecord(fields: readonly string[], { column, encoded }: CsvLayout): Line {
  const field = fields[column];
  if (field === undefined) return { wrong: `The line has no column ${column + 1}, where the key is.` };
  if (!encoded) return checked(field);
  try {
    return checked(decodeURIComponent(field.replaceAll("+", " ")));
  } catch {
    return { wrong: "The key is not percent-encoded UTF-8, as in lists by AWS; or name the columns in a first line." };
  }
}

function checked(key: string): Line {
  const result = checkKey(key);
  return result.ok ? { key } : { wrong: result.failure.detail };
}
