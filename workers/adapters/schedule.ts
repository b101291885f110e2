import { Cron } from "croner";

/**
 * When a cron expression (five fields, in UTC) falls due next after `after`; both in milliseconds since 1970. Null
 * where the expression is none, or never comes due.
 */
export function nextTick(schedule: string, after: number): number | null {
  try {
    const cron = new Cron(schedule, { timezone: "UTC", mode: "5-part", paused: true });
    return cron.nextRun(new Date(after))?.getTime() ?? null;
  } catch {
    return null;
  }
}
