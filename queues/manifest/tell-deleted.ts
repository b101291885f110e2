import type { Result } from "../../workers/core/result.ts";
import { type Answered, answerQuestions, type Place } from "./answer.ts";

/**
 * Has the manifest lose the rows of keys that were deleted on purpose, and know them as that: by what R2 has at each after
 * all, for somebody may have put an object there since.
 */
export async function tellDeleted(place: Place, keys: readonly string[], finder: string): Promise<Result<Answered>> {
  const hints = keys.map((key) => ({ key, etag: null }));
  const hinted = await place.dataset.hint(place.config.id, hints);
  if (!hinted.ok) return hinted;
  return answerQuestions(place, hinted.value.questions, { finder, isOnPurpose: true });
}
