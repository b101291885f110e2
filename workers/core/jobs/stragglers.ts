/** What tells how fast a node is. */
export interface NodePace {
  name: string;
  /** Units that it has done, and how long it was busy with them in all, in milliseconds. */
  done: number;
  busyMs: number;
  /** How long it has held units and acknowledged none, in milliseconds; null: it holds none. */
  openMs: number | null;
}

/** Units that a node must have done before its pace says anything, and nodes of which that must be so. */
const DONE_MIN = 3;
const NODES_MIN = 3;
/** How many times the median time of a unit is slow: on the whole, and for a unit that is still out. */
const SLOW_FACTOR = 2;
const OPEN_FACTOR = 3;
/** Milliseconds for which a unit may be out in any case: of quick units, three times the median is nothing. */
const OPEN_MIN_MS = 10_000;

/**
 * The nodes that hold the others up: their units take more than twice the median time, or one that they hold takes more
 * than three times as long. The median is over the nodes that have done some units; while these are few there is none.
 */
export function stragglersOf(nodes: readonly NodePace[]): Set<string> {
  const paced = nodes.filter(({ done }) => done >= DONE_MIN);
  if (paced.length < NODES_MIN) return new Set();
  const median = medianOf(paced.map(unitMs));
  const isSlow = (node: NodePace) => node.done >= DONE_MIN && unitMs(node) > SLOW_FACTOR * median;
  const openMostMs = Math.max(OPEN_FACTOR * median, OPEN_MIN_MS);
  const isStuck = ({ openMs }: NodePace) => openMs !== null && openMs > openMostMs;
  return new Set(nodes.filter((node) => isSlow(node) || isStuck(node)).map(({ name }) => name));
}

const unitMs = ({ done, busyMs }: NodePace): number => busyMs / done;

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = 0, high = low] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}
