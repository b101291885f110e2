/** The manifest as lines for other tools. */

/** A record of RFC 4180; null is an empty field. */
export const formatCsvRecord = (fields: readonly (string | number | null)[]): string =>
  `${fields.map((field) => (field === null ? "" : quoted(String(field)))).join(",")}\r\n`;

const quoted = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/**
 * A line that `sha256sum -c` reads: a name with a backslash or an end of line in it is escaped, which a backslash before the
 * sum says (GNU coreutils manual, "md5sum invocation"; a carriage return since 9.0). A file named "-" is not standard input.
 */
export function formatSha256Line(sha256: string, key: string): string {
  const name = key === "-" ? "./-" : key;
  const escaped = escapedName(name);
  return `${escaped === name ? "" : "\\"}${sha256}  ${escaped}\n`;
}

/** A comment, which `sha256sum -c` passes over: an object whose sum nobody knows is not left out in silence. */
export const formatUnsummedLine = (key: string): string => `# without a SHA-256: ${escapedName(key)}\n`;

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r" };
const escapedName = (key: string): string => key.replace(/[\\\n\r]/g, (char) => ESCAPES[char] ?? char);
