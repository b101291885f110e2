import { type Bucket, capacityOf, draw, fullBucket, refill } from "./bucket.ts";
import { type Holders, partOf, seenLately } from "./connections.ts";
import { hear, type Heard, inForce, type Learnt } from "./learn.ts";
import type { Limits } from "./limits.ts";

/** What a holder wants to have, and what it has left: below zero where it took more than it had. */
export interface Want {
  want: number;
  left: number;
}

export interface Ask {
  /** The isolate's own name for itself. */
  holder: string;
  requests: Want;
  bytes: Want;
  /** Connections that it would have open, those it has among them. */
  connections: number;
}

/** What a holder may do until it asks again. Null: there is no limit. */
export interface Lease {
  /** Tokens to add to those it has left; below zero it had more than it wants, and has given them back. */
  requests: number | null;
  bytes: number | null;
  /** Connections open at once. */
  connections: number | null;
  /** Milliseconds for which the source may not be asked at all. */
  pausedMs: number;
  /** Milliseconds after which there may be more, where less was given than wanted; else 0. */
  againMs: number;
  /** For `Heard.since`. */
  loweredAt: number;
  /** The holder's part of the rates, to go on at while the limiter cannot be asked. */
  requestsPerSecond: number | null;
  bytesPerSecond: number | null;
}

/** A source's limiter, as it is in memory. */
export interface SourceState {
  readonly requests: Bucket | null;
  readonly bytes: Bucket | null;
  readonly learnt: Learnt;
  readonly holders: Holders;
}

export const newSourceState = (learnt: Learnt): SourceState => ({
  requests: null,
  bytes: null,
  learnt,
  holders: new Map(),
});

/**
 * Hears what became of requests, and gives tokens for more. Nobody gets more at once than an equal part of a second's
 * tokens; who uses more than others asks more often, and gets what the others leave.
 */
export function grantLease(
  before: SourceState,
  limits: Limits,
  ask: Ask,
  heard: Heard,
  now: number,
): { state: SourceState; lease: Lease } {
  const learnt = hear(before.learnt, heard, now);
  const force = inForce(limits, learnt);
  const holders = new Map(seenLately(before.holders, now));
  const connections =
    force.connections === null ? null : partOf(ask.holder, ask.connections, force.connections, holders);
  holders.set(ask.holder, { seenAt: now, connections: connections ?? 0, wanted: ask.connections });

  const requests = give(before.requests, ask.requests, force.requestsPerSecond, holders.size, now);
  const bytes = give(before.bytes, ask.bytes, force.bytesPerSecond, holders.size, now);
  const part = (rate: number | null) => (rate === null ? null : rate / holders.size);
  return {
    state: { requests: requests.bucket, bytes: bytes.bucket, learnt, holders },
    lease: {
      requests: requests.given,
      bytes: bytes.given,
      connections,
      pausedMs: Math.max(0, learnt.pausedUntil - now),
      againMs: Math.max(
        requests.againMs,
        bytes.againMs,
        connections !== null && connections < ask.connections ? AGAIN_MIN_MS : 0,
      ),
      loweredAt: learnt.loweredAt,
      requestsPerSecond: part(force.requestsPerSecond),
      bytesPerSecond: part(force.bytesPerSecond),
    },
  };
}

/** Who got less than it wants asks again after so many milliseconds: often enough that a bucket never overflows meanwhile. */
const AGAIN_MIN_MS = 200;
const AGAIN_MAX_MS = 500;

function give(
  before: Bucket | null,
  { want, left }: Want,
  rate: number | null,
  holders: number,
  now: number,
): { bucket: Bucket | null; given: number | null; againMs: number } {
  if (rate === null) return { bucket: null, given: null, againMs: 0 };
  const bucket = before === null ? fullBucket(rate, now) : refill(before, rate, now);
  const atOnce = Math.max(1, Math.floor(capacityOf(rate) / holders));
  const wanted = want - left;
  const { bucket: after, drawn } = draw(bucket, Math.min(wanted, atOnce), rate);
  if (drawn >= wanted) return { bucket: after, given: drawn, againMs: 0 };
  const next = Math.min(wanted - drawn, atOnce) - after.tokens;
  return { bucket: after, given: drawn, againMs: Math.min(AGAIN_MAX_MS, Math.max(AGAIN_MIN_MS, (next / rate) * 1000)) };
}
