import type { Result } from "../../workers/core/result.ts";

/** The value, where the test is about something else than its being there. */
export function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.failure.code}: ${result.failure.detail}`);
  return result.value;
}
