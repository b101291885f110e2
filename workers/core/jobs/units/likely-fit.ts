import { LEASE_LIST_MAX_BYTES, LEASE_PARTS_MAX } from "../../limits.ts";
import type { JobSpec } from "../job.ts";
import { UNIT_PAGE_BYTES } from "./unit-file.ts";

/**
 * How many units fit one answer with leases, where all are alike: what is granted beyond that would be read for nothing, and given
 * back. At least one.
 */
export function likelyFit({ unitList, units }: Pick<JobSpec, "unitList" | "units">): number {
  const { count, parts = 0, listBytes = 0 } = unitList;
  const byParts = Math.ceil((LEASE_PARTS_MAX * count) / Math.max(parts, 1));
  // Of units in a shuffled order each is on a page of its own.
  const unitBytes = units.shuffle ? Math.max(UNIT_PAGE_BYTES, listBytes / count) : listBytes / count;
  const byBytes = listBytes <= LEASE_LIST_MAX_BYTES ? Infinity : Math.ceil(LEASE_LIST_MAX_BYTES / unitBytes);
  return Math.max(1, Math.min(byParts, byBytes));
}
