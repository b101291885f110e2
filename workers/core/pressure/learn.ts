import { RETRY_AFTER_MAX_SECONDS } from "../limits.ts";
import type { Limits } from "./limits.ts";

/**
 * What a source has taught: the share of its limits that it bears now. One share for all three, for a server that says
 * "slow down" does not say of what. Times are milliseconds since 1970 by the clock of the Source object.
 */
export interface Learnt {
  /** From SHARE_MIN to 1. */
  readonly share: number;
  /** When it was last lowered. */
  readonly loweredAt: number;
  /** Up to when clean work has been counted. */
  readonly countedAt: number;
  /** When the source may be asked again. */
  readonly pausedUntil: number;
}

export const NOTHING_LEARNT: Learnt = { share: 1, loweredAt: 0, countedAt: 0, pausedUntil: 0 };

/** What became of requests to a source since it was last told. */
export interface Heard {
  /** Answered, be it by a refusal that has nothing to do with how much is asked. */
  ok: number;
  /** 429, 503 and 504: what an overloaded server answers. A 500 or 502 is as often one object's, and one backend's. */
  throttled: number;
  /** Without an answer. */
  timedOut: number;
  /**
   * The `loweredAt` that was known when the failed requests began. Those that began before the share was last lowered
   * tell nothing of the rate since: however many requests of a burst fail, and however late, they lower it once.
   */
  since: number;
  retryAfterSeconds: number | null;
}

/** The least share: a fiftieth of the limit is still asked, or nobody would notice that the source is well again. */
const SHARE_MIN = 1 / 50;
/** Multiplicative decrease, as TCP halves its window (RFC 5681, section 3.1). */
const LOWERED_BY = 0.5;
/** Additive increase, a second of clean work: from the least share to the whole takes 98 seconds. */
const RAISED_BY = 1 / 100;

/** The source was heard: a failure halves the share, once a round trip; work without one raises it by the second. */
export function hear(learnt: Learnt, heard: Heard, now: number): Learnt {
  const pause = Math.min(heard.retryAfterSeconds ?? 0, RETRY_AFTER_MAX_SECONDS) * 1000;
  const pausedUntil = Math.max(learnt.pausedUntil, pause > 0 ? now + pause : 0);
  if (heard.throttled + heard.timedOut > 0) {
    if (heard.since < learnt.loweredAt) return { ...learnt, pausedUntil };
    const share = Math.max(SHARE_MIN, learnt.share * LOWERED_BY);
    // Later than what anybody knew, also where the clock stands still or has gone back.
    const loweredAt = Math.max(now, heard.since + 1);
    return { share, loweredAt, countedAt: now, pausedUntil };
  }
  if (heard.ok === 0) return { ...learnt, pausedUntil };
  // Seconds in which nobody was heard were no work.
  const seconds = Math.min(1, Math.max(0, now - learnt.countedAt) / 1000);
  const share = Math.min(1, learnt.share + RAISED_BY * seconds);
  return { ...learnt, share, countedAt: Math.max(now, learnt.countedAt), pausedUntil };
}

/** The limits that hold now: the share of each that was learnt, and never less than any work takes. */
export function inForce(limits: Limits, { share }: Learnt): Limits {
  const { requestsPerSecond, bytesPerSecond, connections } = limits;
  return {
    requestsPerSecond: requestsPerSecond === null ? null : Math.max(1, requestsPerSecond * share),
    bytesPerSecond: bytesPerSecond === null ? null : Math.max(1, Math.round(bytesPerSecond * share)),
    connections: connections === null ? null : Math.max(1, Math.floor(connections * share)),
  };
}

/** Milliseconds between two writes of what was learnt. */
const WRITTEN_EVERY_MS = 60_000;

/** Whether what was learnt differs from what was last written, at `writtenAt`, by as much as is worth a write. */
export function isWorthWriting(learnt: Learnt, written: Learnt, writtenAt: number, now: number): boolean {
  if (learnt.pausedUntil > written.pausedUntil + 10_000) return true;
  if (now - writtenAt < WRITTEN_EVERY_MS) return false;
  const change = learnt.share / written.share;
  return change >= 1.5 || change <= 1 / 1.5 || (learnt.share === 1 && written.share < 1);
}
