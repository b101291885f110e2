import { type Failure, type FailureCode, isTransient } from "../failure.ts";

/** Seconds to wait before try number `tries` (from 1): 2, 8, 32, and at most two minutes. */
export const planSeconds = (tries: number): number => Math.min(120, 2 * 4 ** Math.max(0, tries - 1));

/** The same in milliseconds, or longer where the failure asks for it. */
export const waitMs = (tries: number, problem: Pick<Failure, "retryAfterSeconds">): number =>
  Math.max(planSeconds(tries), problem.retryAfterSeconds ?? 0) * 1000;

/**
 * How often work is tried that failed with this code. An outage is waited for, some quarter of an hour with the delays
 * above; an answer that is wrong is likely to be wrong again.
 */
export const triesMax = (code: FailureCode): number => (OUTAGES.has(code) ? 10 : 5);

/**
 * Whether work of a migration that failed with this code is worth another try. A source that has let us in and refuses the
 * credentials now may do so for a while: keys are rotated on its side first, and a token is renewed late.
 */
export const mayPass = (code: FailureCode): boolean => isTransient(code) || code === "source-bad-credentials";

/** Seconds after which what our own limiter gave no turn asks for one again. */
export const TURN_SECONDS = 15;

/** Whether it was no try: our own limiter gave it no turn, and the source was not asked. */
export const isNoTry = (code: FailureCode): boolean => code === "source-limited";

const OUTAGES: ReadonlySet<FailureCode> = new Set<FailureCode>([
  "source-unreachable",
  "source-throttled",
  "source-unavailable",
  "source-limited",
  "source-bad-credentials",
  "store-throttled",
  "store-unavailable",
]);
