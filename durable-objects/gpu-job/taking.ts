import { type Failure, failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import type { Ticket } from "../../workers/core/jobs/ticket.ts";
import { NODE_UNITS_MAX } from "../../workers/core/limits.ts";
import type { Standing } from "./epochs.ts";
import type { Held } from "./grants.ts";
import type { Returned } from "./returned.ts";

/** What a node asks for. */
export interface Asked {
  node: string;
  count: number;
  /** Whether no other node is there, that could make something of what this one failed. */
  isAlone: () => boolean;
}

/**
 * Takes up to `count` positions of the present epoch, and says so in its standing: what waits comes first, then what is new.
 *
 * What the node itself failed it is handed only where no other is there, or none has come for it for as long as a lease lasts: a
 * node that fails everything gives no units up while another is well, and one that only says that it is there holds nothing up.
 */
export function takeUnits(
  at: Standing,
  returned: Returned,
  { unitList, units }: Pick<JobSpec, "unitList" | "units">,
  { node, count, isAlone }: Asked,
  now: number,
): Held[] {
  const held: Held[] = [];
  const takeWaiting = (but: { node: string; until: number } | null) => {
    const taken = returned.take(at.epoch, count - held.length, but);
    at.waiting -= taken.length;
    held.push(...taken);
  };
  if (at.waiting > 0) takeWaiting({ node, until: now - units.leaseSeconds * 1000 });
  while (held.length < count && at.next < unitList.count) held.push([at.next++, 1]);
  if (at.waiting > 0 && held.length < count && isAlone()) takeWaiting(null);
  at.leased += held.length;
  return held;
}

/** A position that was taken and told to nobody is as it was before: the next of the order, or one that waits. */
export function untakeUnit(
  at: Standing,
  returned: Returned,
  { position, attempt }: Pick<Ticket, "position" | "attempt">,
): void {
  at.leased -= 1;
  // An attempt that is the first has left no row.
  if (attempt === 1 && position === at.next - 1) at.next -= 1;
  else {
    returned.untake(at.epoch, position, attempt);
    at.waiting += 1;
  }
}

/** For a node that holds as many units as it may. */
export const tooManyLeases = (node: string): Failure =>
  failure(
    "too-many-leases",
    `count: "${node}" holds ${NODE_UNITS_MAX} units, and may hold no more; acknowledge or release some of them first.`,
    { field: "count" },
  );
