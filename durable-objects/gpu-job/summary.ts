import {
  type Acknowledged,
  type Progress,
  type Rate,
  RATE_SLOT_MS,
  type TimeLeft,
} from "../../workers/core/jobs/pace.ts";
import { type NodeView, nodeView } from "../../workers/adapters/node-view.ts";
import { WATCH_NODES_MAX } from "../../workers/core/limits.ts";
import type { Tally } from "../../workers/core/metering/tally.ts";
import type { JobStatus } from "./gpu-job.ts";
import type { JobState } from "./state.ts";
import type { NodeStanding } from "./watch.ts";

/** What who watches a job is told: as much of its status as stays small. Times are RFC 3339. */
export interface WatchSummary {
  id: string;
  state: JobState;
  endedAt: string | null;
  progress: Progress | null;
  nodes: {
    expected: number;
    heard: number;
    silent: number;
    /** The first hundred: stragglers and silent ones before the others. */
    listed: NodeView[];
  };
  /** The first hundred. */
  stragglers: string[];
  /** As it was said last, by any node. */
  loss: number | null;
  acknowledged: Acknowledged;
  rate: Rate;
  secondsLeft: TimeLeft;
  outputs: JobStatus["outputs"];
  reads: Tally;
}

/** The summary of a status. It has no time of its own: where nothing has changed, it is the same. */
export function summaryOf(status: JobStatus): WatchSummary {
  const { spec, state, endedAt, nodes, progress, acknowledged, rate, secondsLeft, outputs, reads } = status;
  const trouble = (node: NodeStanding) => (node.isStraggler ? 0 : node.isSilent ? 1 : 2);
  const listed = nodes.toSorted((a, b) => trouble(a) - trouble(b)).slice(0, WATCH_NODES_MAX);
  const stragglers = listed.filter(({ isStraggler }) => isStraggler).map(({ name }) => name);
  return {
    id: spec.id,
    state,
    endedAt: endedAt === null ? null : new Date(endedAt).toISOString(),
    progress,
    nodes: {
      expected: spec.nodes,
      heard: nodes.length,
      silent: nodes.filter(({ isSilent }) => isSilent).length,
      listed: listed.map(nodeView),
    },
    stragglers,
    loss: latestLoss(nodes),
    acknowledged,
    rate,
    secondsLeft,
    outputs,
    reads,
  };
}

function latestLoss(nodes: readonly NodeStanding[]): number | null {
  let latest: NodeStanding | null = null;
  for (const node of nodes) if ((node.lossAt ?? -1) > (latest?.lossAt ?? -1)) latest = node;
  return latest?.loss ?? null;
}

/**
 * When time alone changes the summary next, milliseconds since 1970; null: it does not. A node falls silent; or a slot of
 * the rate ends, while there is a rate, or units are out whose nodes may become stragglers.
 */
export function nextChangeAt({ spec, endedAt, nodes, rate }: JobStatus, now: number): number | null {
  if (endedAt !== null) return null;
  const heard = nodes.filter(({ isSilent }) => !isSilent).map(({ lastHeardAt }) => lastHeardAt);
  const due = heard.length === 0 ? [] : [heard.reduce((a, b) => Math.min(a, b)) + spec.heartbeatTimeoutSeconds * 1000];
  const isMoving = rate.unitsPerSecond > 0 || nodes.some(({ leased }) => leased > 0);
  if (isMoving) due.push((Math.floor(now / RATE_SLOT_MS) + 1) * RATE_SLOT_MS);
  return due.length === 0 ? null : Math.min(...due);
}
