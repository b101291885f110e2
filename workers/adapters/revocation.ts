import { failure, type Failure } from "../core/failure.ts";
import { ok } from "../core/result.ts";
import { Answers } from "./answers.ts";
import { jobOf } from "./objects.ts";

/** A job's end is known within a minute. */
const answers = new Answers<{ ended: boolean }>({ askMs: 60_000, holdMs: 300_000, max: 10_000 });

/**
 * Whether a job's capabilities are revoked: they are when the job has ended, everywhere within 60 seconds. A job is
 * never asked again once it has ended. While it cannot be asked, and the last answer is too old, nothing is served.
 */
export async function revokedByJob(
  env: Env,
  job: string,
  waitUntil: (work: Promise<unknown>) => void = () => undefined,
): Promise<Failure | null> {
  if (answers.last(job)?.ended === true) return ENDED;
  const ask = async () => ok({ ended: await jobOf(env, job).hasEnded() });
  const answer = await answers.get(job, Date.now(), ask, waitUntil);
  if (answer?.ok === true) return answer.value.ended ? ENDED : null;
  return failure("store-unavailable", "Whether the capability is revoked cannot be asked at the moment.");
}

/** Whether the job was found running less than a minute ago: then there is nothing to ask. */
export const isKnownToRun = (job: string, now: number): boolean => answers.recall(job, now)?.ended === false;

const ENDED = failure("revoked-token", "The job that the capability belongs to has ended.");
