import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyJobEvent,
  isEnded,
  JOB_STATES,
  type JobEvent,
  type JobState,
  nextTickAt,
} from "../../durable-objects/gpu-job/state.ts";

const TIMEOUT = 90_000;
const EXPIRES = 1_000_000;
const times = { lastHeartbeatAt: 100_000, lostAfterMs: TIMEOUT, expiresAt: EXPIRES, finishCountsUntil: 170_000 };
const tick = (
  now: number,
  lastHeartbeatAt: number | null = 100_000,
  finishCountsUntil: number | null = 170_000,
): JobEvent => ({ type: "tick", now, ...times, lastHeartbeatAt, finishCountsUntil });

const EVENTS = {
  heartbeat: { type: "heartbeat" },
  "begin-finish": { type: "begin-finish" },
  "go-on": { type: "go-on" },
  "finish: done": { type: "finish", outcome: "done" },
  "finish: failed": { type: "finish", outcome: "failed" },
  cancel: { type: "cancel" },
  "tick, all well": tick(150_000),
  "tick, no node was ever heard": tick(150_000, null),
  "tick, a finish has died": tick(170_000),
  "tick, no finish is under way": tick(150_000, 100_000, null),
  "tick, all nodes silent": tick(190_000),
  "tick, all nodes silent while one finishes": tick(190_000, 100_000, 195_000),
  "tick, expired": tick(EXPIRES, 999_999),
  "tick, silent and expired": tick(EXPIRES),
} satisfies Record<string, JobEvent>;
type EventName = keyof typeof EVENTS;

/** What each event makes of each state; "refused" is the answer that the job has ended, or is not being finished. */
const TABLE: Record<JobState, Record<EventName, JobState | "refused">> = {
  pending: {
    heartbeat: "running",
    "begin-finish": "finishing",
    "go-on": "refused",
    "finish: done": "refused",
    "finish: failed": "refused",
    cancel: "cancelled",
    "tick, all well": "pending",
    "tick, no node was ever heard": "pending",
    "tick, a finish has died": "pending",
    "tick, no finish is under way": "pending",
    "tick, all nodes silent": "pending",
    "tick, all nodes silent while one finishes": "pending",
    "tick, expired": "expired",
    "tick, silent and expired": "expired",
  },
  running: {
    heartbeat: "running",
    "begin-finish": "finishing",
    "go-on": "refused",
    "finish: done": "refused",
    "finish: failed": "refused",
    cancel: "cancelled",
    "tick, all well": "running",
    "tick, no node was ever heard": "running",
    "tick, a finish has died": "running",
    "tick, no finish is under way": "running",
    "tick, all nodes silent": "lost",
    "tick, all nodes silent while one finishes": "lost",
    "tick, expired": "expired",
    "tick, silent and expired": "expired",
  },
  finishing: {
    heartbeat: "finishing",
    "begin-finish": "finishing",
    "go-on": "running",
    "finish: done": "done",
    "finish: failed": "failed",
    cancel: "cancelled",
    "tick, all well": "finishing",
    "tick, no node was ever heard": "finishing",
    "tick, a finish has died": "running",
    "tick, no finish is under way": "running",
    "tick, all nodes silent": "lost",
    "tick, all nodes silent while one finishes": "finishing",
    "tick, expired": "expired",
    "tick, silent and expired": "expired",
  },
  done: ended("done"),
  failed: ended("failed"),
  cancelled: ended("cancelled"),
  lost: ended("lost"),
  expired: ended("expired"),
};

/** From an ended state nothing leads on: what a node or a person says is refused, the passing of time is not news. */
function ended(state: JobState): Record<EventName, JobState | "refused"> {
  return {
    heartbeat: "refused",
    "begin-finish": "refused",
    "go-on": "refused",
    "finish: done": "refused",
    "finish: failed": "refused",
    cancel: "refused",
    "tick, all well": state,
    "tick, no node was ever heard": state,
    "tick, a finish has died": state,
    "tick, no finish is under way": state,
    "tick, all nodes silent": state,
    "tick, all nodes silent while one finishes": state,
    "tick, expired": state,
    "tick, silent and expired": state,
  };
}

describe.each(JOB_STATES)("a %s job", (state) => {
  test.each(Object.entries(EVENTS))("on %s", (name, event) => {
    expect(applyJobEvent(state, event) ?? "refused").toBe(TABLE[state][name as EventName]);
  });
});

test("a job has ended in every state but pending, running and finishing", () => {
  expect(JOB_STATES.filter((state) => !isEnded(state))).toEqual(["pending", "running", "finishing"]);
});

describe("the times are exact to the millisecond", () => {
  test("a job is lost when its timeout is reached, not before", () => {
    expect(applyJobEvent("running", tick(100_000 + TIMEOUT - 1))).toBe("running");
    expect(applyJobEvent("running", tick(100_000 + TIMEOUT))).toBe("lost");
  });

  test("a job is expired when its time is reached, not before", () => {
    expect(applyJobEvent("running", tick(EXPIRES - 1, EXPIRES - 1))).toBe("running");
    expect(applyJobEvent("running", tick(EXPIRES, EXPIRES - 1))).toBe("expired");
    expect(applyJobEvent("pending", tick(EXPIRES - 1, null))).toBe("pending");
    expect(applyJobEvent("pending", tick(EXPIRES, null))).toBe("expired");
  });
});

describe("the next tick", () => {
  test("of a pending job is when it expires, since nobody can fall silent yet", () => {
    expect(nextTickAt("pending", { ...times, lastHeartbeatAt: null })).toBe(EXPIRES);
    expect(nextTickAt("pending", times)).toBe(EXPIRES);
  });

  test("of a running job is when its nodes would be too long silent, or when it expires", () => {
    expect(nextTickAt("running", times)).toBe(190_000);
    expect(nextTickAt("running", { ...times, lastHeartbeatAt: 950_000 })).toBe(EXPIRES);
    expect(nextTickAt("running", { ...times, lastHeartbeatAt: null })).toBe(EXPIRES);
  });

  test("of a job that is being finished is when its youngest finish has died, or when it expires, whoever is silent", () => {
    expect(nextTickAt("finishing", times)).toBe(170_000);
    expect(nextTickAt("finishing", { ...times, finishCountsUntil: 195_000 })).toBe(195_000);
    expect(nextTickAt("finishing", { ...times, finishCountsUntil: EXPIRES + 1 })).toBe(EXPIRES);
    expect(applyJobEvent("finishing", tick(169_999))).toBe("finishing");
  });

  test.each(JOB_STATES.filter(isEnded))("of a %s job never comes", (state) => {
    expect(nextTickAt(state, times)).toBeNull();
  });

  test("is the first moment at which a tick changes anything", () => {
    const time = fc.integer({ min: 1, max: 1_000_000 });
    const state = fc.constantFrom<JobState>("pending", "running", "finishing");
    fc.assert(
      fc.property(state, fc.option(time), time, time, time, (from, lastHeartbeatAt, lostAfterMs, expiresAt, until) => {
        const job = { lastHeartbeatAt, lostAfterMs, expiresAt, finishCountsUntil: until };
        const at = nextTickAt(from, job) ?? Number.NaN;
        expect(applyJobEvent(from, { type: "tick", now: at - 1, ...job })).toBe(from);
        expect(applyJobEvent(from, { type: "tick", now: at, ...job })).not.toBe(from);
      }),
      { numRuns: 2000 },
    );
  });
});
