import { env } from "cloudflare:workers";
import { expect } from "vitest";
import { migrationOf } from "../../../workers/adapters/objects.ts";
import type { ReportLine } from "../../../workers/core/migration/report-line.ts";
import { runFolder } from "../../../workers/core/migration/request.ts";
import type { TestRun } from "./run.ts";

/** The names of all parts of a run's report, asked for page by page. */
export async function reportNames(run: TestRun, pageOf = 3): Promise<string[]> {
  const all: string[] = [];
  for (;;) {
    const names = await migrationOf(env, run.id).reportNames(all.at(-1) ?? null, pageOf);
    all.push(...names);
    if (names.length < pageOf) return all;
  }
}

/** The lines of a run's report, of all parts that count, in the order of their keys. */
export async function reportLines(run: TestRun): Promise<ReportLine[]> {
  const lines: ReportLine[] = [];
  for (const name of await reportNames(run)) {
    const part = await env.SYSTEM.get(runFolder(run.id) + name);
    if (part === null) throw new Error(`${name} is named in the report, and not there`);
    const body = await part.text();
    expect(body.endsWith("\n"), `${name} ends with a whole line`).toBe(true);
    const read = body.split("\n").slice(0, -1);
    lines.push(...read.map((line) => JSON.parse(line) as ReportLine));
  }
  return lines.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

/** "key: outcome", and the failure's code or why it was kept. */
export const said = (lines: readonly ReportLine[]): string[] =>
  lines.map(({ key, outcome, code, why }) => [`${key}: ${outcome}`, code ?? why ?? ""].join(" ").trim());
