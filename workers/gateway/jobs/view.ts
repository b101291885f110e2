import type { JobStatus } from "../../../durable-objects/gpu-job/gpu-job.ts";

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
    nodes: nodes.map((node) => ({
      name: node.name,
      lastHeartbeatAt: time(node.lastHeardAt),
      step: node.step,
      epoch: node.epoch,
      loss: node.loss,
      done: node.done,
      bytes: node.bytes,
      leased: node.leased,
      isStraggler: node.isStraggler,
      isSilent: node.isSilent,
    })),
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
