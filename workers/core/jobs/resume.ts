import * as z from "zod";
import { decodeBase64Url, decodeBase64UrlJson, encodeBase64Url } from "../capability/jwt.ts";
import { failure } from "../failure.ts";
import { ATTEMPTS_MAX, UNITS_MAX } from "../limits.ts";
import { fail, ok, type Result } from "../result.ts";
import type { JobSpec } from "./job.ts";

/** Units whose failures a state tells, beyond which they begin anew in the job that resumes: it stays text of bounded length. */
export const FAILURES_TOLD_MAX = 10_000;

/** Where a job was in its epochs, as another begins there. Positions are places in the epoch's order. */
export interface Resume {
  epoch: number;
  /** The first position that was never handed out. */
  next: number;
  /** Positions before that which are neither done nor given up: leased when it was asked for, or waiting. Ascending. */
  open: number[];
  /** Positions that were given up. Ascending. */
  givenUp: number[];
  /** Of open positions, how often each has failed so far. */
  failures: [position: number, failures: number][];
}

/** A set of positions: a bit for each from `from` on, the lowest bit of each byte first. */
const positionsSchema = z.strictObject({
  from: z.int().min(0).max(UNITS_MAX),
  bits: z.string().max(Math.ceil(UNITS_MAX / 6) + 4),
});

const stateSchema = z.strictObject({
  v: z.literal(1),
  digest: z.string().max(64),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
  shuffle: z.boolean(),
  epoch: z.int().min(0).max(1_000_000),
  next: z.int().min(0).max(UNITS_MAX),
  open: positionsSchema,
  givenUp: positionsSchema,
  failures: z.array(z.tuple([z.int().min(0).max(UNITS_MAX), z.int().min(1).max(ATTEMPTS_MAX)])).max(FAILURES_TOLD_MAX),
});

/** The units and the order of a job, by which a state belongs to it. */
export type Resumable = Pick<JobSpec, "unitList" | "units">;

/**
 * A state as opaque text. What is not done is told as bits, so that a million units are some 600 KB at most, however they came
 * to be open.
 */
export function formatState({ unitList, units }: Resumable, resume: Resume): string {
  const state: z.infer<typeof stateSchema> = {
    v: 1,
    digest: unitList.digest,
    seed: units.seed,
    shuffle: units.shuffle,
    epoch: resume.epoch,
    next: resume.next,
    open: formatPositions(resume.open),
    givenUp: formatPositions(resume.givenUp),
    failures: resume.failures.slice(0, FAILURES_TOLD_MAX),
  };
  return encodeBase64Url(new TextEncoder().encode(JSON.stringify(state)));
}

/** A state as its text says it; what it is of has still to be looked at. */
export type State = z.infer<typeof stateSchema>;

/** Reads a state: `invalid-state` for any text that is none. */
export function parseState(text: string): Result<State> {
  const parsed = stateSchema.safeParse(decodeBase64UrlJson(text));
  return parsed.success ? ok(parsed.data) : invalid();
}

/**
 * Where a job is to go on that resumes: `state-mismatch` where the state is of other units, another order, or epochs that this job
 * does not have; `invalid-state` where no checkpoint could have answered it.
 */
export function resumeAt(state: State, { unitList, units }: Resumable): Result<Resume> {
  const { digest, seed, shuffle, epoch, next, failures } = state;
  if (digest !== unitList.digest) {
    return mismatch(
      "of other units, or of other bytes; name the version, the input and units.targetBytes of the job it is of",
    );
  }
  if (seed !== units.seed) return mismatch(`of another order; set units.seed to ${seed}`);
  if (shuffle !== units.shuffle) return mismatch(`of another order; set units.shuffle to ${shuffle}`);
  if (epoch >= units.epochs) {
    return mismatch(`beyond the last epoch; set units.epochs to more than ${epoch}, the epochs that are over`);
  }
  const [open, givenUp] = [parsePositions(state.open), parsePositions(state.givenUp)];
  if (open === null || givenUp === null) return invalid();
  const seen = new Set(open);
  const isWithin = (position: number) => position < next;
  const isSound =
    next <= unitList.count &&
    [...open, ...givenUp].every(isWithin) &&
    !givenUp.some((position) => seen.has(position)) &&
    failures.every(([position]) => seen.delete(position));
  return isSound ? ok({ epoch, next, open, givenUp, failures }) : invalid();
}

function formatPositions(positions: readonly number[]): z.infer<typeof positionsSchema> {
  const from = positions[0] ?? 0;
  const bytes = new Uint8Array(Math.ceil(((positions.at(-1) ?? from - 1) - from + 1) / 8));
  for (const position of positions) {
    const at = position - from;
    bytes[at >>> 3] = (bytes[at >>> 3] ?? 0) | (1 << (at & 7));
  }
  return { from, bits: encodeBase64Url(bytes) };
}

function parsePositions({ from, bits }: z.infer<typeof positionsSchema>): number[] | null {
  const bytes = decodeBase64Url(bits);
  if (bytes === undefined) return null;
  const positions: number[] = [];
  for (const [index, byte] of bytes.entries()) {
    for (let bit = 0; bit < 8; bit++) if ((byte & (1 << bit)) !== 0) positions.push(from + index * 8 + bit);
  }
  return positions;
}

const FIELD = { field: "resumeFrom" };

const invalid = () =>
  fail(failure("invalid-state", "resumeFrom: is not a state that a checkpoint answered; send it as it was.", FIELD));

const mismatch = (rule: string) => fail(failure("state-mismatch", `resumeFrom: is ${rule}, or leave it out.`, FIELD));
