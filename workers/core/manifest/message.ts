import * as z from "zod";

/**
 * An index of shards was put at a key: what it says of the shards is to be taken into their rows. Sent again, later, for
 * shards that have no row as yet.
 */
export const shardIndexMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("shard-index"),
  dataset: z.string(),
  datasetId: z.string(),
  /** Relative to the dataset's prefix. */
  key: z.string(),
  /** How often it was read before. */
  tries: z.number().int().nonnegative(),
});
export type ShardIndexMessage = z.infer<typeof shardIndexMessage>;
