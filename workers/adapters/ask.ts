import { failure } from "../core/failure.ts";
import { fail, type Result } from "../core/result.ts";

/**
 * Asks a Durable Object. It is reset by every deployment, and may be away for a moment: what its stub throws is
 * `store-unavailable`, and whoever asks again finds it. A stub that has thrown is no good any more, so `question` makes
 * its own.
 *
 * @param whom is asked, for a person
 */
export async function asked<T>(whom: string, question: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await question();
  } catch (error) {
    console.error(JSON.stringify({ message: "object not asked", whom, error: String(error) }));
    return fail(failure("store-unavailable", `${whom} cannot be asked at the moment; ask again.`));
  }
}

/** How a dataset is called in that. */
export const datasetNamed = (name: string): string => `Dataset "${name}"`;
