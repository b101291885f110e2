import type { Stage, StoredRow } from "./row.ts";

/** Objects by one name that are told of one stage. */
export const NAMED_MAX = 10;

/** What it takes of an object to choose it. */
export type NamedRow = Pick<StoredRow, "key" | "stage" | "category">;

/** A candidate that was not taken. */
export interface PassedOver {
  key: string;
  stage: Stage | null;
  category: string | null;
  why: string;
}

/** What one dataset has by a name. */
export interface Resolution<R extends NamedRow = StoredRow> {
  /** What the owner's registry says; `row` is null where the object is not there. */
  registered: { category: string | null; key: string; row: R | null }[];
  /** The place in the order of the stage that has some; null where none has. */
  rank: number | null;
  /** Objects of that stage; more than one is ambiguous. */
  found: R[];
  passed: PassedOver[];
}

/**
 * The first stage of the order that has an object by the name, in the category if one is wanted, and why the others are
 * passed over.
 *
 * @param ofStage some objects by the name in a stage, those in the wanted category among them
 */
export function chooseStage<R extends NamedRow>(
  order: readonly Stage[],
  category: string | null,
  ofStage: ReadonlyMap<Stage, readonly R[]>,
): Pick<Resolution<R>, "rank" | "found" | "passed"> {
  const isWanted = (row: R) => category === null || row.category === category;
  const wanted = (stage: Stage) => (ofStage.get(stage) ?? []).filter(isWanted);
  const rank = order.findIndex((stage) => wanted(stage).length > 0);
  const chosen = order[rank];
  const found = chosen === undefined ? [] : wanted(chosen);
  const passed = [...ofStage.values()]
    .flat()
    .filter((row) => !found.includes(row))
    .map((row) => ({ key: row.key, stage: row.stage, category: row.category, why: whyNot(row, chosen) }));
  return { rank: rank < 0 ? null : rank, found, passed };

  function whyNot(row: R, first: Stage | undefined): string {
    if (!isWanted(row)) {
      return `its category is ${row.category === null ? "none" : JSON.stringify(row.category)}, not ${JSON.stringify(category)}`;
    }
    if (row.stage === null || !order.includes(row.stage)) return `stage ${row.stage ?? "none"} is not in the order`;
    return `stage ${row.stage} comes after ${first ?? ""}`;
  }
}
