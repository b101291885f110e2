import type { Proof } from "../manifest/row.ts";
import type { Estimate } from "./estimate.ts";
import type { Filter } from "./filter.ts";
import type { Hazards } from "./hazards.ts";
import type { Overwrite } from "./join.ts";

/** `paused` hides the state that it will go on in; done, failed and cancelled are ends. */
export const MIGRATION_STATES = ["listing", "copying", "deleting", "paused", "done", "failed", "cancelled"] as const;
export type MigrationState = (typeof MIGRATION_STATES)[number];

/**
 * What a run does with each object that it lists: `copy`; `estimate`, what it would cost, and nothing else (a dry run);
 * `verify`, compare listings and the manifest; `verify-deep`, read what is there back and hash it.
 */
export const TASKS = ["copy", "estimate", "verify", "verify-deep"] as const;
export type Task = (typeof TASKS)[number];

/** The keys of a run that was given them: an object with a list, or another run's report. */
export type KeyList =
  | { kind: "object"; bucket: string; key: string; format: "ndjson" | "csv" }
  | { kind: "report"; migration: string; outcomes: readonly string[] };

/** Where objects come from and go to, and how; what copying one of them takes. */
export interface CopySpec {
  /** The name that is left on a copy: a migration's id, or `through:<dataset id>`. */
  id: string;
  dataset: string;
  datasetId: string;
  source: { name: string; prefix: string };
  /** The R2 binding, and the dataset's prefix in it. */
  bucket: string;
  prefix: string;
  multipartThresholdBytes: number;
  partBytes: number;
  /** Whether the source's own checksum of the whole object is asked for and compared. */
  checksums: boolean;
}

/** What one migration works with; fixed when it starts. */
export interface MigrationSpec extends CopySpec {
  /** `back`: from R2 to the source, what is in R2 alone. */
  direction: "in" | "back";
  task: Task;
  filter: Filter;
  /** Null: whatever the listing names. */
  keys: KeyList | null;
  overwrite: Overwrite;
  /** Whether what the source has no more is deleted in R2, and at most how many; `sealed`: also keys of sealed versions. */
  deletes: { max: number; sealed: boolean } | null;
  /** Keys at which the listing is cut into ranges from the start: the last run's pages. */
  cuts: readonly string[];
}

/** Billed operations, as counted: R2 classes A and B, queue operations, requests to the source. */
export interface Operations {
  classA: number;
  classB: number;
  queue: number;
  sourceGet: number;
  sourceList: number;
  /** Writes to the source, of a run back. */
  sourcePut: number;
}

export interface Count {
  objects: number;
  bytes: number;
}

/** The body of `GET /v1/migrations/:id`. Times are RFC 3339. */
export interface MigrationStatus {
  id: string;
  dataset: string;
  task: Task;
  direction: "in" | "back";
  state: MigrationState;
  startedAt: string;
  updatedAt: string;
  finishedAt: string | null;
  /** What passed the filters; of a dry run, what was looked at. */
  listed: Count & { complete: boolean };
  /** Of a dry run, what would be copied stands in `estimate`. */
  copied: Count;
  /** What a verification found to be the source's. */
  verified: Count;
  /** There already, or kept by the overwrite policy. */
  skipped: Count;
  failed: { objects: number };
  /** In R2 alone, where the run was asked to look: how many could be deleted by its rules, and how many were. */
  extraneous: { objects: number; deleted: number };
  proofs: Partial<Record<Proof, number>>;
  /** Over the last minute; over the whole run once it has ended. */
  rate: { objectsPerSecond: number; bytesPerSecond: number };
  /** Null until the listing is complete and something was copied. */
  secondsLeft: number | null;
  operations: Operations;
  /** What the listing so far costs, copied in full. */
  estimate: Estimate;
  hazards: Hazards;
  /** The first hundred. */
  failures: { key: string; code: string; detail: string }[];
  /** Why the whole run failed. */
  problem: { code: string; detail: string } | null;
}

/** What was done in the last `seconds`, and what is left. */
export interface Pace {
  seconds: number;
  done: Count;
  left: Count;
  listingComplete: boolean;
}

/** The rate, and the time that what is listed and not settled will take at it. */
export function progress({
  seconds,
  done,
  left,
  listingComplete,
}: Pace): Pick<MigrationStatus, "rate" | "secondsLeft"> {
  const elapsed = Math.max(seconds, 0.001);
  const rate = { objectsPerSecond: done.objects / elapsed, bytesPerSecond: done.bytes / elapsed };
  if (left.objects <= 0 && listingComplete) return { rate, secondsLeft: 0 };
  if (!listingComplete || (done.objects === 0 && done.bytes === 0)) return { rate, secondsLeft: null };
  const byBytes = rate.bytesPerSecond > 0 ? Math.max(0, left.bytes) / rate.bytesPerSecond : 0;
  // While the first large object comes there are bytes and no objects.
  const byObjects = rate.objectsPerSecond > 0 ? left.objects / rate.objectsPerSecond : 0;
  return { rate, secondsLeft: Math.max(byObjects, byBytes) };
}
