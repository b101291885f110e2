import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";
import { nodeView } from "../../adapters/node-view.ts";

/** A job as it is answered. Its reads are not among it: they go on changing after its end. */
export function view(status: JobStatus) {
  const { spec, state, endedAt, nodes, outputs, progress, acknowledged, rate, secondsLeft, failedUnits } = status;
  return {
    id: spec.id,
    name: spec.name,
    owner: spec.owner,
    labels: spec.labels,
    dataset: `${spec.datasetName}@${spec.version}`,
    state,
    input: spec.input,
    outputPrefix: spec.outputPrefix ?? null,
    units: { count: spec.unitList.count, bytes: spec.unitList.bytes },
    progress,
    nodesExpected: spec.nodes,
    nodes: nodes.map(nodeView),
    failedUnits,
    acknowledged,
    rate,
    secondsLeft,
    outputs,
    createdAt: time(spec.createdAt),
    expiresAt: time(spec.expiresAt),
    endedAt: time(endedAt),
  };
}

const time = (at: number | null): string | null => (at === null ? null : new Date(at).toISOString());
