import type { Result } from "../core/result.ts";

/**
 * Tells which of these keys a sealed version of the dataset holds at these ETags: deleting one would break its promise.
 * `requestsMax`: subrequests that the look-ups may make in all, where who asks has fewer than an invocation's.
 */
export type SealedKeys = (
  dataset: { id: string; name: string },
  objects: readonly { key: string; etag: string }[],
  requestsMax?: number,
) => Promise<Result<ReadonlySet<string>>>;
