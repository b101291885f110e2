import type { NamedRow, PassedOver } from "../../core/manifest/resolve.ts";
import type { Answer } from "./answers.ts";

/** An object that may be the one. */
export interface Candidate extends Pick<Answer, "dataset" | "version" | "number" | "whole"> {
  row: NamedRow;
}

export type Passed = PassedOver & { dataset: string };

/** Of all datasets: what a registry says, if it is there; else the objects of the lowest rank. */
export function choose(answers: readonly Answer[]): {
  chosen: Candidate[];
  via: "registry" | "stage";
  passed: Passed[];
} {
  const of = ({ dataset, version, number, whole }: Answer, row: NamedRow): Candidate => {
    return { dataset, version, number, whole, row };
  };
  const named = answers.flatMap((each) =>
    each.found.registered.flatMap(({ row }) => (row === null ? [] : [of(each, row)])),
  );
  // Two categories may name one object.
  const registered = [...new Map(named.map((each) => [`${each.dataset}/${each.row.key}`, each])).values()];
  const rank = Math.min(...answers.map(({ found }) => found.rank ?? Number.POSITIVE_INFINITY));
  const first = answers.flatMap((each) =>
    each.found.rank === rank ? each.found.found.map((row) => of(each, row)) : [],
  );
  const chosen = registered.length > 0 ? registered : first;
  const isChosen = (dataset: string, key: string) =>
    chosen.some((each) => each.dataset === dataset && each.row.key === key);
  const passed = answers.flatMap(({ dataset, found }): Passed[] => [
    ...found.registered
      .filter(({ row }) => row === null)
      .map(({ key, category }) => ({
        dataset,
        key,
        stage: null,
        category,
        why: "the registry names it, and it is not there",
      })),
    ...found.found
      .filter(({ key }) => !isChosen(dataset, key))
      .map(({ key, stage, category }) => {
        const why = registered.length > 0 ? "the registry names another" : "another dataset has an earlier stage";
        return { dataset, key, stage, category, why };
      }),
    ...found.passed.filter(({ key }) => !isChosen(dataset, key)).map((each) => ({ dataset, ...each })),
  ]);
  return { chosen, via: registered.length > 0 ? "registry" : "stage", passed };
}
