/** The states of a job. A job ends once: from an ended state nothing leads on. */
export const JOB_STATES = [
  "pending",
  "running",
  "finishing",
  "done",
  "failed",
  "cancelled",
  "lost",
  "expired",
] as const;
export type JobState = (typeof JOB_STATES)[number];

export type JobEvent =
  /** A node said that it is there. */
  | { type: "heartbeat" }
  /** A node says that it is over: from now on its outputs are looked at, and nothing new is handed out. */
  | { type: "begin-finish" }
  /** What was looked at is not as it should be: the job goes on. */
  | { type: "go-on" }
  /** All was found. */
  | { type: "finish"; outcome: "done" | "failed" }
  | { type: "cancel" }
  /** Time has passed. */
  | ({ type: "tick"; now: number } & JobTimes);

/** By which time changes a job's state, milliseconds since 1970. */
export interface JobTimes {
  /** When any node last said something. */
  lastHeartbeatAt: number | null;
  /** Milliseconds. */
  lostAfterMs: number;
  expiresAt: number;
  /** Until when a finish that is under way counts: one that has died must not stop the job for ever. Null: there is none. */
  finishCountsUntil: number | null;
}

const RUNS: ReadonlySet<JobState> = new Set<JobState>(["pending", "running", "finishing"]);
export const isEnded = (state: JobState): boolean => !RUNS.has(state);

/** The state after an event; null where the event is refused: the job has ended, or is not being finished. */
export function applyJobEvent(state: JobState, event: JobEvent): JobState | null {
  if (isEnded(state)) return event.type === "tick" ? state : null;
  switch (event.type) {
    case "heartbeat":
      return state === "finishing" ? state : "running";
    case "begin-finish":
      return "finishing";
    case "go-on":
      return state === "finishing" ? "running" : null;
    case "finish":
      return state === "finishing" ? event.outcome : null;
    case "cancel":
      return "cancelled";
    case "tick":
      if (event.now >= event.expiresAt) return "expired";
      // Who waits for a finish need not say anything meanwhile; once that has died the job runs, and can be lost.
      if (state === "finishing" && event.now < (event.finishCountsUntil ?? 0)) return state;
      if (state === "pending") return state;
      return isSilent(event) ? "lost" : "running";
  }
}

/** When the next tick can change anything, milliseconds since 1970; null once the job has ended. */
export function nextTickAt(state: JobState, job: JobTimes): number | null {
  if (isEnded(state)) return null;
  if (state === "finishing") return Math.min(job.expiresAt, job.finishCountsUntil ?? 0);
  const lostAt =
    state === "pending" || job.lastHeartbeatAt === null
      ? Number.POSITIVE_INFINITY
      : job.lastHeartbeatAt + job.lostAfterMs;
  return Math.min(job.expiresAt, lostAt);
}

/** All nodes are silent when the latest heartbeat of any of them is too old. */
const isSilent = (event: { now: number } & JobTimes): boolean =>
  event.lastHeartbeatAt !== null && event.now >= event.lastHeartbeatAt + event.lostAfterMs;
