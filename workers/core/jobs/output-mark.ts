import { OUTPUT_JOB } from "./job.ts";

/**
 * The custom metadata by which an output names the announcement that it was put for. A key may be announced anew after an
 * abort, and URLs of before still put: by its generation what they put is told from what was announced last.
 */
export const OUTPUT_GENERATION = "penstock-output";

type Custom = Readonly<Record<string, string>>;

/** What is stored with an output: who put it, and for which announcement. */
export const markOf = (job: string, generation: number): Record<string, string> => ({
  [OUTPUT_JOB]: job,
  [OUTPUT_GENERATION]: String(generation),
});

/** The announcement of this job that an object was put for; null: for none. */
export function generationOf(custom: Custom, job: string): number | null {
  const text = custom[OUTPUT_JOB] === job ? custom[OUTPUT_GENERATION] : undefined;
  return text !== undefined && /^[1-9]\d{0,14}$/.test(text) ? Number(text) : null;
}
