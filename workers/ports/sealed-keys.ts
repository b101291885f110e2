import type { Result } from "../core/result.ts";

/** Tells which of these keys a sealed version of the dataset holds at these ETags: deleting one would break its promise. */
export type SealedKeys = (
  dataset: { id: string; name: string },
  objects: readonly { key: string; etag: string }[],
) => Promise<Result<ReadonlySet<string>>>;
