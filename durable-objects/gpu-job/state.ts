/** The states of a job. A job ends once: from an ended state nothing leads on. */
export const JOB_STATES = ["pending", "running", "done", "failed", "cancelled", "lost", "expired"] as const;
export type JobState = (typeof JOB_STATES)[number];

export type JobEvent =
  /** A node said that it is there. */
  | { type: "heartbeat" }
  /** The job's nodes say that it is over. */
  | { type: "finish"; outcome: "done" | "failed" }
  | { type: "cancel" }
  /** Time has passed: what every node last said, and when the job itself expires (milliseconds since 1970). */
  | { type: "tick"; now: number; lastHeartbeatAt: number | null; heartbeatTimeoutMs: number; expiresAt: number };

export const isEnded = (state: JobState): boolean => state !== "pending" && state !== "running";

/** The state after an event; null where the event is refused because the job has ended. */
export function applyJobEvent(state: JobState, event: JobEvent): JobState | null {
  if (isEnded(state)) return event.type === "tick" ? state : null;
  switch (event.type) {
    case "heartbeat":
      return "running";
    case "finish":
      return event.outcome;
    case "cancel":
      return "cancelled";
    case "tick":
      if (event.now >= event.expiresAt) return "expired";
      return state === "running" && isSilent(event) ? "lost" : state;
  }
}

/** When the next tick can change anything, milliseconds since 1970; null once the job has ended. */
export function nextTickAt(
  state: JobState,
  job: { lastHeartbeatAt: number | null; heartbeatTimeoutMs: number; expiresAt: number },
): number | null {
  if (isEnded(state)) return null;
  if (state === "pending" || job.lastHeartbeatAt === null) return job.expiresAt;
  return Math.min(job.expiresAt, job.lastHeartbeatAt + job.heartbeatTimeoutMs);
}

/** All nodes are silent when the latest heartbeat of any of them is too old. */
const isSilent = (event: { now: number; lastHeartbeatAt: number | null; heartbeatTimeoutMs: number }): boolean =>
  event.lastHeartbeatAt !== null && event.now >= event.lastHeartbeatAt + event.heartbeatTimeoutMs;
