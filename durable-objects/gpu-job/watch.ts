import {
  type Acknowledged,
  type Progress,
  type Rate,
  rateOf,
  type TimeLeft,
  timeLeft,
} from "../../workers/core/jobs/pace.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { stragglersOf } from "../../workers/core/jobs/stragglers.ts";
import type { NodeRow, Nodes } from "./nodes.ts";
import { Rates } from "./rates.ts";

/** What is handed out to nodes, and how far that has come. */
export interface Leasing {
  readonly progress: Progress | null;
  /** Of each node that holds units: how many, and since when it is busy, in milliseconds since 1970. */
  open(): ReadonlyMap<string, { leased: number; busySince: number }>;
}

/** A node, as it stands among the others. */
export interface NodeStanding extends NodeRow {
  /** Units that it holds. */
  leased: number;
  /** It holds the others up. */
  isStraggler: boolean;
  /** Its heartbeat has run out. */
  isSilent: boolean;
}

/** How a job gets on. */
export interface Standing {
  nodes: NodeStanding[];
  progress: Progress | null;
  /** What nodes say that they did; what was observed at the edge are a job's reads. */
  acknowledged: Acknowledged;
  rate: Rate;
  secondsLeft: TimeLeft;
}

/** Looks at how a job gets on, by a handful of queries however many nodes it has. */
export class Watch {
  readonly #nodes: Nodes;
  readonly #rates: Rates;
  readonly #leasing: Leasing;

  constructor(sql: SqlStorage, nodes: Nodes, leasing: Leasing) {
    this.#nodes = nodes;
    this.#rates = new Rates(sql);
    this.#leasing = leasing;
  }

  /** The job's epoch, from 0. */
  get epoch(): number {
    return this.#leasing.progress?.epoch ?? 0;
  }

  /** @param endedAt of a job that has ended: then all is as it was at that moment, and stays so */
  look({ heartbeatTimeoutSeconds }: JobSpec, endedAt: number | null, now: number): Standing {
    const at = endedAt ?? now;
    const progress = endedAt === null ? this.#leasing.progress : withNoneOut(this.#leasing.progress);
    const open = endedAt === null ? this.#leasing.open() : new Map<string, never>();
    const rows = this.#nodes.list();
    const isSilent = ({ lastHeardAt }: NodeRow) => at >= lastHeardAt + heartbeatTimeoutSeconds * 1000;
    // Who is gone holds nobody up, and its time is no measure for the others.
    const paces = rows
      .filter((row) => !isSilent(row))
      .map(({ name, done, busyMs }) => {
        const busySince = open.get(name)?.busySince;
        return { name, done, busyMs, openMs: busySince === undefined ? null : at - busySince };
      });
    const stragglers = stragglersOf(paces);
    const nodes = rows.map((row) => ({
      ...row,
      leased: open.get(row.name)?.leased ?? 0,
      isStraggler: stragglers.has(row.name),
      isSilent: isSilent(row),
    }));
    const acknowledged: Acknowledged = { units: 0, bytes: 0 };
    let firstHeardAt = at;
    const { gone } = this.#nodes;
    for (const row of gone === null ? rows : [gone, ...rows]) {
      acknowledged.units += row.done;
      acknowledged.bytes += row.bytes;
      firstHeardAt = Math.min(firstHeardAt, row.firstHeardAt);
    }
    // Of a job that has ended the rate is that of all of it.
    const rate =
      endedAt === null ? this.#rates.at(now, firstHeardAt) : rateOf(acknowledged, (endedAt - firstHeardAt) / 1000);
    const secondsLeft = endedAt === null ? timeLeft(progress, rate) : { epoch: null, job: null };
    return { nodes, progress, acknowledged, rate, secondsLeft };
  }
}

/** Of a job that has ended no unit is with a node any more. */
const withNoneOut = (progress: Progress | null): Progress | null =>
  progress && { ...progress, leased: 0, waiting: progress.waiting + progress.leased };
