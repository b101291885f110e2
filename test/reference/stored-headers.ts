/**
 * A plain reference for what is replayed of stored metadata: which texts are field values at all (RFC 9110, section
 * 5.5), which types a browser would run or render as markup, and what becomes of a stored Content-Disposition then.
 */

/** The value as it may go out; null for what cannot stand in a header. */
export function referenceFieldValue(text: string | undefined): string | null {
  const value = (text ?? "").trim();
  for (const char of text ?? "") {
    const code = char.codePointAt(0) ?? 0;
    const isControl = (code < 0x20 && code !== 0x09) || code === 0x7f;
    if (isControl || code > 0xff) return null;
  }
  return value === "" ? null : value;
}

const RUN_OR_RENDERED = ["text/html", "text/xml", "application/xml", "text/xsl", "application/xsl", "image/svg"];
const SCRIPTS = ["javascript", "ecmascript", "jscript", "livescript"];

/** Whether any word of the type is one that a browser would run or render. */
export function referenceIsActive(type: string): boolean {
  let word = "";
  for (const char of `${type.toLowerCase()},`) {
    const isBetween = char === "," || char === ";" || char === "(" || char.trim() === "";
    if (!isBetween) word += char;
    else if (isActiveWord(word)) return true;
    else word = "";
  }
  return false;
}

function isActiveWord(word: string): boolean {
  const slash = word.indexOf("/");
  if (slash < 0) return false;
  const [type, subtype] = [word.slice(0, slash), word.slice(slash + 1)];
  if (RUN_OR_RENDERED.includes(word) || type === "multipart") return true;
  if (type !== "" && subtype.endsWith("+xml")) return true;
  if (type !== "text" && type !== "application") return false;
  const plain = subtype.startsWith("x-") ? subtype.slice(2) : subtype;
  return SCRIPTS.some((script) => {
    const version = plain.slice(script.length);
    return plain.startsWith(script) && [...version].every((char) => "0123456789.".includes(char));
  });
}

const TOKEN = "!#$%&'*+.^_`|~0123456789abcdefghijklmnopqrstuvwxyz-";

/**
 * `attachment`, with the stored file names if all of the stored parameters can be read (RFC 6266, section 4.1), one
 * character at a time.
 */
export function referenceAttachment(stored: string | null): string {
  const text = stored ?? "";
  let at = text.indexOf(";");
  if (at < 0) return "attachment";
  const end = text.endsWith(";") ? text.length - 1 : text.length;
  const blanks = () => {
    while (at < end && (text[at] === " " || text[at] === "\t")) at++;
  };
  const token = () => {
    const from = at;
    while (at < end && TOKEN.includes((text[at] ?? "").toLowerCase())) at++;
    return text.slice(from, at);
  };
  const quoted = () => {
    const from = at++;
    while (at < end && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    at++;
    return at <= end ? text.slice(from, at) : "";
  };
  const kept = ["attachment"];
  while (at < end) {
    if (text[at++] !== ";") return "attachment";
    blanks();
    const name = token().toLowerCase();
    blanks();
    if (name === "" || text[at++] !== "=") return "attachment";
    blanks();
    const value = text[at] === '"' ? quoted() : token();
    if (value === "" || at > end) return "attachment";
    blanks();
    if (name === "filename" || name === "filename*") kept.push(`${name}=${value}`);
  }
  return kept.join("; ");
}
