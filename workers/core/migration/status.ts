import type { Proof } from "../manifest/row.ts";

export const MIGRATION_STATES = ["listing", "copying", "done", "failed"] as const;
export type MigrationState = (typeof MIGRATION_STATES)[number];

/** What one migration works with; fixed when it starts. */
export interface MigrationSpec {
  id: string;
  dataset: string;
  datasetId: string;
  source: { name: string; prefix: string };
  /** The R2 binding, and the dataset's prefix in it. */
  bucket: string;
  prefix: string;
  multipartThresholdBytes: number;
  partBytes: number;
}

/** Billed operations, as counted: R2 classes A and B, queue operations, requests to the source. */
export interface Operations {
  classA: number;
  classB: number;
  queue: number;
  sourceGet: number;
  sourceList: number;
}

export interface Count {
  objects: number;
  bytes: number;
}

/** The body of `GET /v1/migrations/:id`. Times are RFC 3339. */
export interface MigrationStatus {
  id: string;
  dataset: string;
  state: MigrationState;
  startedAt: string;
  updatedAt: string;
  finishedAt: string | null;
  listed: Count & { complete: boolean };
  copied: Count;
  skipped: Count;
  failed: { objects: number };
  proofs: Partial<Record<Proof, number>>;
  rate: { objectsPerSecond: number; bytesPerSecond: number };
  /** Null until the listing is complete and something was copied. */
  secondsLeft: number | null;
  operations: Operations;
  /** The first hundred. */
  failures: { key: string; code: string; detail: string }[];
  /** Why the whole run failed. */
  problem: { code: string; detail: string } | null;
}

/** Rate since the start, and the time that what is listed and not settled will take at that rate. */
export function progress(
  elapsedMs: number,
  counts: { listed: Count; copied: Count; skipped: Count; failedObjects: number; listingComplete: boolean },
): Pick<MigrationStatus, "rate" | "secondsLeft"> {
  const seconds = Math.max(elapsedMs, 1) / 1000;
  const { listed, copied, skipped, failedObjects } = counts;
  const rate = { objectsPerSecond: copied.objects / seconds, bytesPerSecond: copied.bytes / seconds };
  const objectsLeft = Math.max(0, listed.objects - copied.objects - skipped.objects - failedObjects);
  const bytesLeft = Math.max(0, listed.bytes - copied.bytes - skipped.bytes);
  if (objectsLeft === 0 && counts.listingComplete) return { rate, secondsLeft: 0 };
  if (!counts.listingComplete || copied.objects === 0) return { rate, secondsLeft: null };
  const byBytes = rate.bytesPerSecond > 0 ? bytesLeft / rate.bytesPerSecond : 0;
  return { rate, secondsLeft: Math.max(objectsLeft / rate.objectsPerSecond, byBytes) };
}
