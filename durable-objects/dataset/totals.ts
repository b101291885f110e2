import { PROOFS, type Stage, STAGES } from "../../workers/core/manifest/row.ts";
import type { VersionCounts } from "../../workers/core/manifest/version.ts";

/** Of the objects of one stage, or of those without one. */
export interface StageCount {
  stage: Stage | null;
  objects: number;
  bytes: number;
}

interface Counted {
  objects: number;
  bytes: number;
}

/** Objects and bytes of the live manifest, all, by stage and by proof: a few dozen rows are read, whatever there is. */
export function totalsOf(sql: SqlStorage): VersionCounts {
  const totals = sql
    .exec<{ proof: string; stage: string; objects: number; bytes: number }>(
      "SELECT proof, stage, objects, bytes FROM total",
    )
    .toArray();
  const named = <T extends string>(names: readonly T[], field: "proof" | "stage") =>
    names
      .map((name) => [name, sum(totals.filter((total) => total[field] === (name === "none" ? "" : name)))] as const)
      .filter(([, { objects }]) => objects > 0);
  return {
    ...sum(totals),
    stages: Object.fromEntries(named([...STAGES, "none"], "stage")),
    proofs: Object.fromEntries(named(PROOFS, "proof").map(([proof, { objects }]) => [proof, objects])),
  };
}

/** Objects and bytes by stage, of a category or of all (null). */
export function countsByStage(sql: SqlStorage, category: string | null): StageCount[] {
  const totals =
    category === null
      ? sql.exec<{ stage: Stage | ""; objects: number; bytes: number }>(
          "SELECT stage, sum(objects) AS objects, sum(bytes) AS bytes FROM total GROUP BY 1",
        )
      : sql.exec<{ stage: Stage | ""; objects: number; bytes: number }>(
          `SELECT stage, objects, bytes FROM category_total
             WHERE stage IN ('', ${STAGES.map((stage) => `'${stage}'`).join(", ")}) AND category = ?`,
          category,
        );
  return totals.toArray().map(({ stage, ...counts }) => ({ stage: stage === "" ? null : stage, ...counts }));
}

const sum = (some: readonly Counted[]): Counted => ({
  objects: some.reduce((all, { objects }) => all + objects, 0),
  bytes: some.reduce((all, { bytes }) => all + bytes, 0),
});
