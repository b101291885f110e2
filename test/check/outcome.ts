import { resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../..");

/** What a check found; it has passed where there are no problems. */
export interface Outcome {
  /** One text each: where, what, and the way out. */
  readonly problems: readonly string[];
  /** Shown beside the name, e.g. a size. */
  readonly note?: string;
}

export type Check = () => Promise<Outcome>;
