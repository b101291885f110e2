import { asked } from "../../adapters/ask.ts";
import { jobOf } from "../../adapters/objects.ts";
import { readUnits } from "../../adapters/unit-lists.ts";
import { type Failure, failure, isTransient } from "../../core/failure.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import type { LeaseAnswer, LeasedUnit, Progress } from "../../core/jobs/lease.ts";
import { selectionsOf } from "../../core/jobs/units/selected.ts";
import type { Part } from "../../core/jobs/units/unit.ts";
import { LEASE_LIST_MAX_BYTES, LEASE_PARTS_MAX } from "../../core/limits.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Span } from "../../core/zarr/chunk-selection.ts";
import type { Ctx } from "../context.ts";
import { type SignedUrl, signGets, URLS_MAX_LENGTH } from "./sign-urls.ts";

/** A part as it is answered: where to read it, its place, and which elements of a chunk are selected. */
export type HandedPart = Omit<Part, "size"> & Omit<SignedUrl, "size"> & { size: number; selection?: Span[] };

/** Leases as they are answered, and the progress with no more than these. */
export interface HandedOut {
  leases: (LeasedUnit & { bytes: number; parts: HandedPart[] })[];
  progress: Progress;
}

/** How the parts are to be read. */
interface Reading {
  via: "r2" | "edge";
  expiresSeconds: number;
  /** Milliseconds, of whole seconds. */
  now: number;
}

const BOUNDS = { parts: LEASE_PARTS_MAX, listBytes: LEASE_LIST_MAX_BYTES };

/**
 * The parts of leased units, with URLs: of the first of them that fit one answer. The others are given back at once, as if they
 * had not been leased.
 *
 * What fails for a moment leaves the leases: the same request again gives them. What is refused for good gives all of them back:
 * nobody could do anything with them, and each would cost its unit an attempt.
 */
export async function handOut(
  c: Ctx,
  spec: JobSpec,
  node: string,
  { leases: all, progress }: LeaseAnswer,
  reading: Reading,
): Promise<Result<HandedOut>> {
  const leases = await firstThatFit(c, spec, all, reading);
  if (!leases.ok && isTransient(leases.failure.code)) return leases;
  const fitting = leases.ok ? leases.value : [];
  const surplus = all.slice(fitting.length).map(({ lease }) => lease);
  if (surplus.length > 0) {
    const back = await asked("The job", async () => jobOf(c.env, spec.id).giveBack(node, surplus));
    if (!back.ok) return back;
    progress = back.value;
  }
  return fitting.length > 0
    ? ok({ leases: fitting, progress })
    : fail(nothingHanded(leases.ok ? tooLong() : leases.failure, reading));
}

async function firstThatFit(
  c: Ctx,
  spec: JobSpec,
  all: readonly LeasedUnit[],
  { via, expiresSeconds, now }: Reading,
): Promise<Result<HandedOut["leases"]>> {
  const numbers = all.map(({ unit }) => unit);
  const units = await readUnits(c.env, spec.id, numbers, BOUNDS);
  if (!units.ok) return units;
  // Each key once, however many parts of it there are.
  const keys = [...new Set(units.value.flatMap(({ parts }) => parts.map(({ key }) => key)))];
  const signed = await signGets(c, spec, { via, keys }, expiresSeconds, now);
  if (!signed.ok) return signed;
  const byKey = new Map(signed.value.map((each) => [each.key, each]));
  const fitting: HandedOut["leases"] = [];
  const selectionOf = selectionsOf(spec);
  let length = 0;
  for (const [index, lease] of all.entries()) {
    const unit = units.value[index];
    if (unit === undefined) break;
    const parts: HandedPart[] = [];
    for (const part of unit.parts) {
      const url = byKey.get(part.key);
      length += url?.url?.length ?? 0;
      if (url === undefined || length > URLS_MAX_LENGTH) return ok(fitting);
      const selection = selectionOf(part);
      parts.push({ ...handedPart(part, url), ...(selection === null ? {} : { selection }) });
    }
    fitting.push({ ...lease, bytes: unit.bytes, parts });
  }
  return ok(fitting);
}

function handedPart({ key, size, ...place }: Part, { url, headers, etag, size: served }: SignedUrl): HandedPart {
  // The version does not hold it: of a Zarr array, a chunk of fill values.
  if (etag === null) return { key, url: null, headers: {}, etag, size: 0, ...place };
  // The edge may serve a document that we made of its folder's metadata in place of an object.
  return { key, url, headers, etag, size: place.range === undefined ? (served ?? size) : size, ...place };
}

const tooLong = (): Failure =>
  failure("invalid-body", `The URLs of one unit have more than ${URLS_MAX_LENGTH} characters.`);

/** A refusal of the leases, in words of the request that asked for them. */
const nothingHanded = ({ code, detail }: Failure, { via }: Reading): Failure =>
  failure(
    code,
    `count: ${detail} Nothing is handed out; ask for fewer units, or with "via": "${via === "edge" ? "r2" : "edge"}".`,
    { field: "count" },
  );
