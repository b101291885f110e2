import type { Counts } from "./observing.ts";

/** R2 pricing; deleting and aborting are free. */
const CLASS_A = ["put", "list", "createMultipartUpload", "uploadPart", "complete"];
const CLASS_B = ["get", "head"];

export const sumOf = (counts: Counts, names: readonly string[]): number =>
  names.reduce((total, name) => total + (counts[name] ?? 0), 0);

export const classA = (counts: Counts): number =>
  sumOf(
    counts,
    CLASS_A.map((name) => `r2.${name}`),
  );
export const classB = (counts: Counts): number =>
  sumOf(
    counts,
    CLASS_B.map((name) => `r2.${name}`),
  );
