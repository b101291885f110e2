/** What is copied, as data, and what it may cost. */
const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export interface Corpus {
  /** Also the first folder of its keys. */
  readonly name: string;
  readonly objects: number;
  /** Of each object. */
  readonly bytes: number;
  /** As it was uploaded to the source; null: at once. */
  readonly partBytes: number | null;
}

/** `bare-loop` is the limit of this machine; `rclone` is a peer. */
export type Peer = "bare-loop" | "rclone";

export interface SpeedCase extends Corpus {
  readonly unit: "objects/s" | "MB/s";
  readonly peers: readonly Peer[];
}

const SMALL: SpeedCase = {
  name: "small",
  objects: 10_000,
  bytes: 4 * KiB,
  partBytes: null,
  unit: "objects/s",
  peers: ["bare-loop", "rclone"],
};

export const SPEED_CASES: readonly SpeedCase[] = [
  SMALL,
  { name: "medium", objects: 1000, bytes: 1 * MiB, partBytes: null, unit: "MB/s", peers: ["bare-loop", "rclone"] },
  // Uploaded in parts, as everyone uploads a gibibyte; rclone's own multipart fails on the simulator's endpoint.
  { name: "large", objects: 4, bytes: 1 * GiB, partBytes: 64 * MiB, unit: "MB/s", peers: ["bare-loop"] },
];

/** The least of our rate over theirs. */
export const LEAST_RATIO: Readonly<Record<Peer, number>> = { "bare-loop": 0.85, rclone: 1 };

/** Copied once before anything is measured, by everyone: whoever runs for the first time compiles meanwhile. */
export const WARM_UP: Corpus = { name: "warm-up", objects: 500, bytes: 4 * KiB, partBytes: null };

export const SECOND_RUN: Corpus = { ...SMALL, name: "second-run" };
/** Times that the first run takes longer, at least. */
export const SECOND_RUN_LEAST_RATIO = 20;
/** Requests for a page of a listing, of the source or of R2, a thousand keys. */
export const LISTS_PER_1000_KEYS_MAX = 2.2;

export const MEMORY: readonly Corpus[] = [10_000, 200_000].map((objects) => {
  return { name: `memory-${objects}`, objects, bytes: 64, partBytes: null };
});
/**
 * Copied before: workerd takes memory from the system as it likes, 600 to 700 MiB for the first 20,000 objects, be it of a
 * bare loop or of a migration, and after that little more.
 */
export const MEMORY_BEFORE: Corpus = { name: "memory-before", objects: 30_000, bytes: 64, partBytes: null };
/** MiB by which the peaks may differ: a leak of 700 bytes an object is more, workerd's own moods are less. */
export const MEMORY_SLACK_MIB = 128;

export const OPS: Corpus = { name: "ops", objects: 20_000, bytes: 4 * KiB, partBytes: null };
/** Per million small objects. */
export const OPS_BUDGETS = { "class A": 1_004_000, "queue operations": 24_000, "rows written": 50_000 } as const;
