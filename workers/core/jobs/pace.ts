/** Where a job is: the epoch that it is in, of so many, and the units of that one. */
export interface Progress {
  epoch: number;
  epochs: number;
  units: number;
  done: number;
  leased: number;
  waiting: number;
  /** Given up. */
  failed: number;
}

/** What nodes acknowledged. */
export interface Acknowledged {
  units: number;
  bytes: number;
}

export interface Rate {
  unitsPerSecond: number;
  bytesPerSecond: number;
}

/** Seconds that are left at the rate there is; null where nobody can tell. */
export interface TimeLeft {
  epoch: number | null;
  job: number | null;
}

/** The rate is taken from slots of so many milliseconds, of which the last five minutes' are looked at. */
export const RATE_SLOT_MS = 10_000;
export const RATE_SLOTS = 30;

/**
 * The slots [from, until) that a rate is taken from, and their seconds: only those that are over, so that the rate of a job
 * at rest does not change with every look. Before the first node was heard nothing could be done.
 */
export function rateSpan(now: number, firstHeardAt: number): { from: number; until: number; seconds: number } {
  const until = Math.floor(now / RATE_SLOT_MS);
  const from = Math.max(until - RATE_SLOTS, Math.floor(firstHeardAt / RATE_SLOT_MS));
  const ms = until * RATE_SLOT_MS - Math.max(from * RATE_SLOT_MS, firstHeardAt);
  return { from, until, seconds: Math.max(ms, RATE_SLOT_MS) / 1000 };
}

export const rateOf = ({ units, bytes }: Acknowledged, seconds: number): Rate => {
  const elapsed = Math.max(seconds, 0.001);
  return { unitsPerSecond: units / elapsed, bytesPerSecond: bytes / elapsed };
};

/** How long the rest of the epoch, and of the job, takes at this rate. */
export function timeLeft(progress: Progress | null, { unitsPerSecond }: Rate): TimeLeft {
  if (progress === null) return { epoch: null, job: null };
  const { epoch, epochs, units, done, failed } = progress;
  const inEpoch = Math.max(0, units - done - failed);
  const inJob = inEpoch + Math.max(0, epochs - epoch - 1) * units;
  const seconds = (left: number) => (left === 0 ? 0 : unitsPerSecond > 0 ? Math.ceil(left / unitsPerSecond) : null);
  return { epoch: seconds(inEpoch), job: seconds(inJob) };
}
