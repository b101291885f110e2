/** What is read, as data: which objects there are, what is asked for, and what must not happen meanwhile. */
import { BLOCK_BYTES } from "../../../workers/core/limits.ts";
import type { DataRequest } from "./connection.ts";
import { randomFrom } from "./content.ts";
import type { StoredObject } from "./stage.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** As data loaders keep open. */
const CONNECTIONS = 16;

export interface ReadCase {
  readonly name: string;
  readonly connections: number;
  readonly unit: "requests/s" | "MB/s";
  readonly peers: readonly ("bare-get" | "constant")[];
  /**
   * `hot`: the same objects in every round, all read before by whoever is measured; no read may touch R2. `cold`: objects
   * of its own for each round, of which nobody reads a block twice; each read is one R2 operation. `any`: neither.
   */
  readonly temperature: "hot" | "cold" | "any";
  /** What is in the bucket during a round. */
  objects(round: number): readonly StoredObject[];
  requests(round: number): readonly DataRequest[];
  /** Reads that make everything hot. */
  readonly warmUp?: readonly DataRequest[];
  /** Whether each object has been asked for by HEAD before, as a reader of a sharded array does: its ETag is known. */
  readonly headed?: boolean;
}

const SHARD = { key: "shard/hot", size: 64 * MiB };
const CHUNKS_64K = objectsOf("chunk-64k", 64, 64 * KiB);
const CHUNKS_1M = objectsOf("chunk-1m", 8, 1 * MiB);
/** With a shard index at the end of each. */
const SUFFIXED = objectsOf("suffixed", 16, 4 * MiB);
const LARGE = { key: "large", size: 256 * MiB };
const RANGE = 64 * KiB;
const SUFFIX = 4 * KiB;
/** A region that is read cold is a block. */
const REGION = BLOCK_BYTES;
/** Neither the first MiB nor the last: what a HEAD may have brought is not cold. */
const REGIONS = regionsOf(1 * MiB, SHARD.size - 1 * MiB);
/** Cold reads of a round. What they read must be written first, which takes longer: the round that is not measured has less. */
const COLD_READS = 480;
const COLD_SHARDS = Math.ceil(COLD_READS / REGIONS.length);
const COLD_SUFFIXES = 160;

export const CASES: readonly ReadCase[] = [
  {
    // One chunk, as the constant that is the floor is one: in the processor's caches on both sides.
    ...hot("hot-chunk-64k", CHUNKS_64K.slice(0, 1), CHUNKS_64K.slice(0, 1).map(whole)),
    peers: ["bare-get", "constant"],
    requests: () => repeated(CHUNKS_64K.slice(0, 1).map(whole), 1500),
  },
  {
    ...hot("hot-chunks-64k", CHUNKS_64K, CHUNKS_64K.map(whole)),
    requests: () => repeated(CHUNKS_64K.map(whole), 1500),
  },
  {
    ...hot("hot-chunk-1m", CHUNKS_1M, CHUNKS_1M.map(whole)),
    requests: () => repeated(CHUNKS_1M.map(whole), 160),
  },
  {
    name: "range-64k-cold",
    connections: CONNECTIONS,
    unit: "requests/s",
    peers: ["bare-get"],
    temperature: "cold",
    headed: true,
    objects: (round) => objectsOf(`shard/${round}`, round === 0 ? 1 : COLD_SHARDS, SHARD.size),
    requests(round) {
      const random = randomFrom(round);
      const all = this.objects(round).flatMap((shard) =>
        REGIONS.map((from) => ranged(shard, from + Math.floor(random() * (REGION - RANGE)))),
      );
      return shuffled(all, random).slice(0, COLD_READS);
    },
  },
  {
    // 64 ranges at random inside the shard, again and again, as the loaders of one job read: they fit isolate memory.
    ...hot("range-64k-hot", [SHARD], rangesAtRandom(SHARD, 64, randomFrom(64))),
    requests: () => repeated(rangesAtRandom(SHARD, 64, randomFrom(64)), 1200),
  },
  {
    // Anywhere in the shard, each time anew: what is read is twice the isolate's memory, half of it from the cache.
    ...hot("range-64k-hot-anywhere", [SHARD], wholeInRanges(SHARD)),
    requests: (round) => rangesAtRandom(SHARD, 1200, randomFrom(round)),
  },
  {
    // Of objects that nobody has heard of: the first thing that a reader of a shard asks for.
    name: "suffix-4k-cold",
    connections: CONNECTIONS,
    unit: "requests/s",
    peers: ["bare-get"],
    temperature: "cold",
    objects: (round) => objectsOf(`suffixed/${round}`, round === 0 ? 32 : COLD_SUFFIXES, MiB + RANGE),
    requests(round) {
      return this.objects(round).map(suffix);
    },
  },
  {
    ...hot("suffix-4k-hot", SUFFIXED, SUFFIXED.map(suffix)),
    requests: () => repeated(SUFFIXED.map(suffix), 1500),
  },
  {
    // Chunks of fill values: each key is asked for once.
    name: "missing-404",
    connections: CONNECTIONS,
    unit: "requests/s",
    peers: ["bare-get"],
    temperature: "any",
    objects: () => [],
    requests: (round) =>
      Array.from({ length: 1500 }, (_, index) => ({
        key: `missing/${round}/${index}`,
        range: null,
        status: 404,
        part: null,
      })),
  },
  {
    name: "whole-256m",
    connections: 1,
    unit: "MB/s",
    peers: ["bare-get"],
    temperature: "any",
    objects: () => [LARGE],
    requests: () => repeated([whole(LARGE)], 2),
  },
];

/** What the memory of the process is watched over. */
export const MEMORY_STEP = repeated(CHUNKS_64K.map(whole), 10_000);
export const MEMORY_OBJECTS = CHUNKS_64K;

function hot(name: string, objects: readonly StoredObject[], warmUp: readonly DataRequest[]) {
  return {
    name,
    connections: CONNECTIONS,
    unit: "requests/s",
    peers: ["bare-get"],
    temperature: "hot",
    objects: () => objects,
    warmUp,
  } as const;
}

function objectsOf(folder: string, count: number, size: number): StoredObject[] {
  return Array.from({ length: count }, (_, index) => ({ key: `${folder}/${index}`, size }));
}

function regionsOf(from: number, until: number): number[] {
  return Array.from({ length: Math.floor((until - from) / REGION) }, (_, index) => from + index * REGION);
}

function whole({ key, size }: StoredObject): DataRequest {
  return { key, range: null, status: 200, part: { offset: 0, length: size } };
}

function suffix({ key, size }: StoredObject): DataRequest {
  return { key, range: `bytes=-${SUFFIX}`, status: 206, part: { offset: size - SUFFIX, length: SUFFIX } };
}

function ranged({ key }: StoredObject, offset: number): DataRequest {
  return { key, range: `bytes=${offset}-${offset + RANGE - 1}`, status: 206, part: { offset, length: RANGE } };
}

function rangesAtRandom(object: StoredObject, count: number, random: () => number): DataRequest[] {
  return Array.from({ length: count }, () => ranged(object, Math.floor(random() * (object.size - RANGE))));
}

function wholeInRanges(object: StoredObject): DataRequest[] {
  return Array.from({ length: object.size / RANGE }, (_, index) => ranged(object, index * RANGE));
}

function repeated(requests: readonly DataRequest[], count: number): DataRequest[] {
  return Array.from({ length: Math.ceil(count / requests.length) }, () => requests)
    .flat()
    .slice(0, count);
}

/** Fisher-Yates. */
function shuffled(requests: DataRequest[], random: () => number): DataRequest[] {
  for (let last = requests.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [requests[last], requests[other]] = [requests[other] as DataRequest, requests[last] as DataRequest];
  }
  return requests;
}
