/** A record of a CSV text. */
export interface CsvRecord {
  fields: string[];
  /** What is wrong with it; then the fields are of no use. */
  problem: string | null;
  /** Lines of text that it takes. */
  lines: number;
  /** Where the next record begins. */
  next: number;
}

/**
 * Reads one record of RFC 4180 from `at`. Lines end with CRLF or LF; a quoted field may hold line ends, commas and, doubled,
 * quotes. Null where the text ends before the record does, unless it `isEnd`.
 */
export function readRecord(text: string, at: number, isEnd: boolean): CsvRecord | null {
  const fields: string[] = [];
  let problem: string | null = null;
  let lines = 1;
  for (;;) {
    const quoted = text[at] === '"';
    const field = quoted ? readQuoted(text, at) : readPlain(text, at);
    if (field === null) {
      // A quote that is open to the end of all may have been open for long: what it holds is one line of nothing.
      const rest = {
        fields: [],
        problem: "A quote is never closed.",
        lines: linesIn(text, at) + lines,
        next: text.length,
      };
      return isEnd ? rest : null;
    }
    fields.push(field.value);
    if (quoted) lines += linesIn(text.slice(at, field.end), 0);
    else if (field.value.includes('"')) problem ??= 'A quote stands within a field; quote it all, with "" for a quote.';
    const after = endOfField(text, field.end);
    if (after === "end" && !isEnd) return null;
    if (after === "end") return { fields, problem, lines, next: text.length };
    if (after === null) {
      // Behind a closing quote: the line is skipped, up to its end.
      const newline = text.indexOf("\n", field.end);
      if (newline < 0 && !isEnd) return null;
      return {
        fields,
        problem: "Something follows a closing quote.",
        lines,
        next: newline < 0 ? text.length : newline + 1,
      };
    }
    at = after.next;
    if (after.isNewline) return { fields, problem, lines, next: at };
  }
}

function readPlain(text: string, at: number): { value: string; end: number } {
  let end = at;
  while (end < text.length && text[end] !== "," && text[end] !== "\n") end++;
  // Of CRLF, both end the line.
  if (text[end] !== "," && text[end - 1] === "\r" && end > at) end--;
  return { value: text.slice(at, end), end };
}

function readQuoted(text: string, at: number): { value: string; end: number } | null {
  let close = text.indexOf('"', at + 1);
  while (close >= 0 && text[close + 1] === '"') close = text.indexOf('"', close + 2);
  return close < 0 ? null : { value: text.slice(at + 1, close).replaceAll('""', '"'), end: close + 1 };
}

function endOfField(text: string, at: number): { next: number; isNewline: boolean } | "end" | null {
  if (text[at] === ",") return { next: at + 1, isNewline: false };
  if (text[at] === "\n") return { next: at + 1, isNewline: true };
  if (text[at] === "\r" && text[at + 1] === "\n") return { next: at + 2, isNewline: true };
  if (at >= text.length || (text[at] === "\r" && at + 1 >= text.length)) return "end";
  return null;
}

function linesIn(text: string, from: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", from); at >= 0; at = text.indexOf("\n", at + 1)) count++;
  return count;
}
