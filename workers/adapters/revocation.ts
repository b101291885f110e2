import { failure, type Failure } from "../core/failure.ts";
import { Memo } from "./memo.ts";
import { jobOf } from "./objects.ts";

/** Seconds after which an isolate asks again whether a job still runs, and for which an answer holds when it cannot. */
const ASK_SECONDS = 60;
const HOLD_SECONDS = 300;
const memo = new Memo<{ ended: boolean }>(10_000);

/**
 * Whether a job's capabilities are revoked: they are when the job has ended, everywhere within 60 seconds. While the
 * job cannot be asked, the last answer holds for five minutes, and then nothing is served.
 */
export async function revokedByJob(env: Env, job: string): Promise<Failure | null> {
  const now = Date.now();
  const fresh = memo.get(job, now, ASK_SECONDS * 1000);
  if (fresh !== null) return fresh.ended ? REVOKED : null;
  try {
    const ended = await jobOf(env, job).hasEnded();
    memo.set(job, { ended }, now);
    return ended ? REVOKED : null;
  } catch {
    const held = memo.get(job, now, HOLD_SECONDS * 1000);
    if (held !== null) return held.ended ? REVOKED : null;
    return failure("store-unavailable", "Whether the capability is revoked cannot be asked at the moment.");
  }
}

const REVOKED = failure("revoked-token", "The job that the capability belongs to has ended.");
