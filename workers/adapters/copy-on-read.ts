import type { ThroughMessage } from "../core/migration/message.ts";
import { Memo } from "./memo.ts";

/** A key that was missing in R2 and read from the source, as the source described it. */
export type ReadThrough = Omit<ThroughMessage, "v" | "type">;

/** Milliseconds for which an object that was asked for is not asked for again. */
const AGAIN_MS = 300_000;
/** Objects remembered, each with a key of at most 1,024 bytes: what is forgotten earlier is asked for once more. */
const asked = new Memo<true>(4096);

/**
 * Asks for the copy of an object that a reader missed in R2: at most once in five minutes for one key and source ETag,
 * as far as this isolate knows. Best effort, and for `waitUntil`: it never throws, a queue that refuses is logged, and
 * the next miss asks again.
 */
export async function copyOnRead(env: Env, object: ReadThrough): Promise<void> {
  const { dataset, datasetId, key, etag } = object;
  const now = Date.now();
  const name = JSON.stringify([datasetId, key, etag]);
  if (asked.get(name, now, AGAIN_MS) !== null) return;
  // Before the send, so that simultaneous misses ask once.
  asked.set(name, true, now);
  try {
    await env.MIGRATION_QUEUE.send({ v: 1, type: "through", ...object } satisfies ThroughMessage);
  } catch (error) {
    asked.delete(name);
    console.error(JSON.stringify({ message: "copy on read not sent", dataset, error: String(error) }));
  }
}
