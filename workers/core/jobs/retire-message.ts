import * as z from "zod";
import { pack } from "../migration/pack.ts";

/**
 * Outputs of a job's old checkpoints, to be deleted. `seq` is the row of the job's outbox, which is kept until the job is
 * told what became of them.
 */
export const retireMessage = z.strictObject({
  v: z.literal(1),
  type: z.literal("retire"),
  seq: z.number().int(),
  job: z.string(),
  dataset: z.string(),
  datasetId: z.string(),
  /** By this name no version is sealed while some of the checkpoint's messages are settled and others not. */
  hold: z.string(),
  /** The key, the ETag with which it was committed, and the generation of its announcement. */
  items: z.array(
    z
      .tuple([z.string(), z.string(), z.number().int()])
      .transform(([key, etag, generation]) => ({ key, etag, generation })),
  ),
});
export type RetireMessage = z.output<typeof retireMessage>;
export type SentRetireMessage = z.input<typeof retireMessage>;

/** Objects of one message: each is looked up in versions, looked at, deleted, and asked about. */
const LIMITS = { items: 200, weight: Number.POSITIVE_INFINITY };

/** Cuts them into messages that each fit one billed queue operation. */
export const packRetired = <T extends { key: string; etag: string }>(items: readonly T[]): T[][] =>
  pack(items, LIMITS, () => 0);
