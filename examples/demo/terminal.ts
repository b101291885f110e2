import type { Migration } from "../../test/harness/client.ts";

const isTerminal = process.stdout.isTTY;

export const say = (text: string): void => console.log(text);
export const step = (number: number, text: string): void => console.log(`\n${number}. ${text}`);

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** One line that is drawn over in a terminal, and only at its end elsewhere. */
export function drawProgress(status: Migration): void {
  const { listed, copied, skipped, failed, rate, secondsLeft, state } = status;
  const settled = copied.bytes + skipped.bytes;
  const share = listed.bytes === 0 ? 0 : Math.min(1, settled / listed.bytes);
  const filled = Math.round(share * 24);
  const bar = "█".repeat(filled) + "░".repeat(24 - filled);
  const objects = `${copied.objects + skipped.objects + failed.objects}/${listed.objects}${listed.complete ? "" : "+"} objects`;
  const bytes = `${megabytes(settled)}/${megabytes(listed.bytes)}`;
  const left = secondsLeft === null ? "" : `, ${Math.ceil(secondsLeft)} s left`;
  const line = `   ${bar} ${objects}, ${bytes}, ${megabytes(rate.bytesPerSecond)}/s${left}`;
  const ended = state === "done" || state === "failed";
  if (isTerminal) process.stdout.write(`\r${line.padEnd(110)}${ended ? "\n" : ""}`);
  else if (ended) console.log(line);
}

/** Two columns, the first as wide as it must be. */
export function table(rows: [string, string | number][]): void {
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console.log(`   ${name.padEnd(width)}  ${value}`);
}
