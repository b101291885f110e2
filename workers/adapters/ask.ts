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

/**
 * Whether an error says that an object could not be asked, and not that its code failed: so the runtime marks what it throws
 * itself (developers.cloudflare.com/durable-objects/best-practices/error-handling; `durableObjectReset`: workerd, jsg/util.c++).
 */
export const isAway = (error: unknown): boolean =>
  error instanceof Error && AWAY.some((mark) => Reflect.get(error, mark) === true);
const AWAY = ["retryable", "overloaded", "durableObjectReset"];

/** How a dataset is called in that. */
export const datasetNamed = (name: string): string => `Dataset "${name}"`;
