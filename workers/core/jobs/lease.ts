/** What nodes ask of a job's units, and what they are told. */
import * as z from "zod";
import { LEASES_MAX, OBJECT_MAX_BYTES } from "../limits.ts";
import { nameSchema } from "../manifest/dataset.ts";
import { TICKET_MAX_LENGTH } from "./ticket.ts";

/** The body of `POST /v1/jobs/:id/leases`. */
export const leasesBodySchema = z.strictObject({
  node: nameSchema,
  /** The node's own name of this request: asked again, it is answered with the same leases while one of them is open. */
  request: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"'),
  count: z.number().int().min(1).max(LEASES_MAX),
  via: z.enum(["r2", "edge"]).default("r2"),
  /** The epoch that units are wanted of; the job's present one, if absent. */
  epoch: z.number().int().min(0).optional(),
});

const lease = z.string().min(1).max(TICKET_MAX_LENGTH);
/** Bytes that the node says it read for the unit, past us. */
const bytes = z.number().int().min(0).max(OBJECT_MAX_BYTES).optional();

const ackSchema = z.discriminatedUnion("outcome", [
  z.strictObject({ lease, outcome: z.literal("done"), bytes }),
  z.strictObject({ lease, outcome: z.literal("failed"), reason: z.string().min(1).max(500), bytes }),
  z.strictObject({ lease, outcome: z.literal("released"), bytes }),
]);
export type Ack = z.infer<typeof ackSchema>;

/** The body of `POST /v1/jobs/:id/acks`. */
export const acksBodySchema = z.strictObject({ node: nameSchema, acks: z.array(ackSchema).min(1).max(LEASES_MAX) });

/** The body of `POST /v1/jobs/:id/checkpoint`. */
export const checkpointBodySchema = z.strictObject({});

/** Units of one epoch; `waiting` are those still to be handed out, `failed` those that were given up. */
export interface Progress {
  units: number;
  done: number;
  leased: number;
  waiting: number;
  failed: number;
}

export interface LeasedUnit {
  lease: string;
  unit: number;
  attempt: number;
}

/**
 * `wait`: all units of the epoch are handed out, and not all are settled. `epoch-done`: the epoch that was asked for is over.
 * `done`: all epochs are.
 */
export interface LeaseAnswer {
  state: "granted" | "wait" | "epoch-done" | "done";
  epoch: number;
  leases: LeasedUnit[];
  /** When they run out, milliseconds since 1970; null without any. */
  expiresAt: number | null;
  progress: Progress;
}

/** `expired`: the lease ran out or was taken back, so that the unit is, or may be, another's: what was made of it counts not. */
export type AckOutcome = "done" | "failed" | "released" | "given-up" | "expired";

export interface AckAnswer {
  acks: { lease: string; unit: number; outcome: AckOutcome }[];
  /** The latest epoch that was acknowledged of, its state and its progress. */
  epoch: number;
  state: "epoch-open" | "epoch-done" | "done";
  progress: Progress;
}

/** A unit that was given up. */
export interface FailedUnit {
  unit: number;
  epoch: number;
  /** Who had it last. */
  node: string;
  reason: string;
  attempts: number;
}
