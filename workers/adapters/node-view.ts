/** What a job knows of a node. */
interface NodeKnown {
  name: string;
  /** Milliseconds since 1970. */
  lastHeardAt: number;
  step: number | null;
  epoch: number | null;
  loss: number | null;
  /** Units that it acknowledged, and their bytes. */
  done: number;
  bytes: number;
  /** Units that it holds. */
  leased: number;
  isStraggler: boolean;
  isSilent: boolean;
}

export type NodeView = ReturnType<typeof nodeView>;

/** A node as it is answered, in a job's status and to who watches it: times are RFC 3339. */
export const nodeView = ({ name, lastHeardAt, ...node }: NodeKnown) => ({
  name,
  lastHeartbeatAt: new Date(lastHeardAt).toISOString(),
  step: node.step,
  epoch: node.epoch,
  loss: node.loss,
  done: node.done,
  bytes: node.bytes,
  leased: node.leased,
  isStraggler: node.isStraggler,
  isSilent: node.isSilent,
});
