/** A word of POSIX sh that stands for exactly this text (XCU, section 2.2.2): quotes within end the word, and begin it again. */
export const shellQuoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Lines that set and export these variables, to be pasted or sourced; those without a value are left out. */
export function exportLines(variables: Readonly<Record<string, string | null | undefined>>): string {
  const lines: string[] = [];
  for (const [name, value] of Object.entries(variables)) {
    if (value !== null && value !== undefined) lines.push(`export ${name}=${shellQuoted(value)}`);
  }
  return lines.join("\n");
}
