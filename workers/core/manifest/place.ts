import * as z from "zod";
import { storeKey } from "../migration/join.ts";
import { type Place, type Stage, stageSchema, STAGES } from "./row.ts";

/**
 * How a key says what stage and category it is of. A pattern is folders with "/" between them: a word is itself, `*` any
 * one, `<category>` one that is the category, and `...` at the end whatever is left. What the rule itself names goes before
 * what its pattern takes from the key.
 */
export interface PlaceRule {
  pattern: string;
  stage?: Stage | undefined;
  category?: string | undefined;
}

/** A category as it is asked for or set, in Unicode NFC: those that keys say are, as the keys. */
export const categorySchema = (maxLength: number) => z.string().min(1).max(maxLength).transform(storeKey);

/** Rules of one dataset: each key that is written is held against them. */
export const PLACE_RULES_MAX = 100;

const PATTERN = /^(?:(?:\*|<category>|(?!\.\.\.\/)[^/<>*]+)\/)*(?:\*|\.\.\.|<category>|[^/<>*]+)$/;

export const placeRuleSchema = z.strictObject({
  pattern: z
    .string()
    .max(1024)
    .regex(
      PATTERN,
      'must be folders with "/" between them, each a word, "*" or "<category>", and "..." only at the end',
    )
    // As keys are.
    .transform(storeKey),
  stage: stageSchema.optional(),
  category: categorySchema(256).optional(),
});

/** `processed/<category>/...`, `raw/...`, `acquired/...`, or `<category>/...`. */
export const DEFAULT_RULES: readonly PlaceRule[] = [
  ...STAGES.flatMap((stage): PlaceRule[] => [
    { pattern: `${stage}/<category>/...`, stage },
    { pattern: `${stage}/...`, stage },
  ]),
  { pattern: "<category>/..." },
];

const NOWHERE: Place = { stage: null, category: null };

/** The stage and category of a key by the first rule that its folders match; neither where none does. */
export function placeOf(key: string, rules: readonly PlaceRule[] = DEFAULT_RULES): Place {
  const folders = key.split("/");
  for (const { pattern, stage, category } of rules) {
    const taken = match(folders, pattern.split("/"));
    if (taken !== null) return { stage: stage ?? null, category: category ?? taken.category };
  }
  return NOWHERE;
}

function match(folders: readonly string[], pattern: readonly string[]): { category: string | null } | null {
  let category: string | null = null;
  for (const [index, word] of pattern.entries()) {
    const folder = folders[index];
    if (folder === undefined) return null;
    if (word === "...") return { category };
    // A folder without a name, as in "raw//x", is no category.
    if (word === "<category>") category = folder === "" ? null : folder;
    else if (word !== "*" && word !== folder) return null;
  }
  return folders.length === pattern.length ? { category } : null;
}
