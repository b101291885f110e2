import { BlockMemory } from "../../adapters/block-memory.ts";
import { edgeCache, type EdgeCache } from "../../adapters/edge-cache.ts";
import { Flights } from "../../adapters/flights.ts";
import { Memo } from "../../adapters/memo.ts";
import { MemoryBudget } from "../../adapters/memory-budget.ts";
import { within } from "../../adapters/within.ts";
import { failure, type FailureCode } from "../../core/failure.ts";
import type { ByteRange, ByteSpan } from "../../core/http/range.ts";
import { FOLLOWER_PATIENCE_MS, IN_FLIGHT_MAX_BYTES, MEMORY_BLOCK_MAX_BYTES } from "../../core/limits.ts";
import type { Block } from "../../core/read/blocks.ts";
import { type KnownObject, knowObject } from "../../core/read/known-object.ts";
import type { ServerTiming } from "../../core/read/server-timing.ts";
import { fail, type Result } from "../../core/result.ts";
import type { ObjectBody, ObjectInfo, ObjectReader, Refresher } from "../../ports/object-store.ts";
import type { SealedObject } from "../../ports/version-resolver.ts";
import type { Learned } from "./learn.ts";

/**
 * `hit`: no operation of the store for the bytes; `collapsed`: another request's read brought them; `miss`: read, and put
 * into the cache; `bypass`: not cacheable as it was asked, or too much is held already; null: there are no bytes.
 */
export type CacheOutcome = "hit" | "collapsed" | "miss" | "bypass" | null;

/** What the requests of an isolate share. Nothing in it belongs to one of them. */
export interface Isolate {
  memory: BlockMemory;
  edge: EdgeCache;
  blocks: Flights<Result<Uint8Array>>;
  learning: Flights<Result<Learned>>;
  /** Objects by place and key, with the ETag for sealed ones. */
  known: Memo<KnownObject>;
  budget: MemoryBudget;
  /** By object and ETag, the blocks that were kept and may serve ranges which are another block's: a handful each. */
  kept: Memo<Map<string, Block>>;
}

/** Objects that an isolate remembers: near 500 bytes each. */
const KNOWN_MAX = 10_000;

export const createIsolate = (memoryBytes: number): Isolate => ({
  memory: new BlockMemory(memoryBytes, MEMORY_BLOCK_MAX_BYTES),
  edge: edgeCache,
  blocks: new Flights(FOLLOWER_PATIENCE_MS),
  learning: new Flights(FOLLOWER_PATIENCE_MS),
  known: new Memo(KNOWN_MAX),
  budget: new MemoryBudget(IN_FLIGHT_MAX_BYTES),
  kept: new Memo(KNOWN_MAX),
});

export interface ReaderOptions {
  isolate: Isolate;
  store: ObjectReader & Partial<Refresher>;
  /** Tells one store's cached blocks from another's: the R2 binding, or the source's name. */
  place: string;
  /** The step that waiting for the store counts as. */
  step: "r2" | "source";
  /** Milliseconds for which what is there on `live` may be remembered. */
  liveTtlMs: number;
  timing: ServerTiming;
  now(): number;
  waitUntil(work: Promise<unknown>): void;
}

/** One request's way to the objects of one store. */
export class Reader {
  readonly #options: ReaderOptions;
  readonly isolate: Isolate;
  readonly store: ObjectReader & Partial<Refresher>;
  readonly timing: ServerTiming;
  readonly waitUntil: (work: Promise<unknown>) => void;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.isolate = options.isolate;
    this.store = options.store;
    this.timing = options.timing;
    this.waitUntil = options.waitUntil;
  }

  get now(): number {
    return this.#options.now();
  }

  /** Names the object among those of every store: `place/key`. */
  nameOf(key: string): string {
    return `${this.#options.place}/${encodeURIComponent(key)}`;
  }

  /** Names a block of the object as it is at its ETag: under this name bytes never change. */
  blockName(key: string, object: { etag: string }, block: { id: string }): string {
    return `${this.nameOf(key)}?etag=${encodeURIComponent(object.etag)}&block=${block.id}`;
  }

  /** What the isolate knows to be at the key; a sealed object (`pin`) never changes. */
  recall(key: string, pin: SealedObject | null): KnownObject | null {
    const { known } = this.isolate;
    const maxAge = pin === null ? this.#options.liveTtlMs : Number.POSITIVE_INFINITY;
    return known.get(this.#memoKey(key, pin), this.now, maxAge);
  }

  /** Whether the key was looked at so recently, and something was there. */
  isRecent(key: string, maxAgeMs: number): boolean {
    const age = Math.min(maxAgeMs, this.#options.liveTtlMs);
    return this.isolate.known.get(this.#memoKey(key, null), this.now, age) !== null;
  }

  /** What was at the key when it was last looked at, however long ago. */
  recallStale(key: string): KnownObject | null {
    return this.isolate.known.peek(this.#memoKey(key, null));
  }

  /** `askedAt`: what is told is as old as the question, for it may have changed while the answer was on its way. */
  remember(key: string, pin: SealedObject | null, object: KnownObject, askedAt: number): void {
    this.isolate.known.set(this.#memoKey(key, pin), object, askedAt);
  }

  /** Whether an answer to a question asked then may be given now. */
  isFreshSince(askedAt: number, pin: SealedObject | null): boolean {
    return pin !== null || this.now - askedAt <= this.#options.liveTtlMs;
  }

  forget(key: string): void {
    this.isolate.known.delete(this.#memoKey(key, null));
  }

  noteKept(key: string, object: KnownObject, block: Block): void {
    const name = this.blockName(key, object, { id: "" });
    const kept = this.isolate.kept.peek(name) ?? new Map<string, Block>();
    this.isolate.kept.set(name, kept.set(block.id, block), this.now);
  }

  forgetKept(key: string, object: KnownObject, block: Block): void {
    this.isolate.kept.peek(this.blockName(key, object, { id: "" }))?.delete(block.id);
  }

  /** Blocks but the usual one that were kept and hold all of the span. */
  keptOthers(key: string, object: KnownObject, span: ByteSpan, usual: Block | undefined): Block[] {
    const kept = this.isolate.kept.peek(this.blockName(key, object, { id: "" }));
    if (kept === null) return [];
    return [...kept.values()].filter(
      ({ id, offset, length }) =>
        id !== usual?.id && offset <= span.offset && span.offset + span.length <= offset + length,
    );
  }

  /** What the store tells of an object. Where a source's object came from is not where ours does: its own ETag counts. */
  describe(info: ObjectInfo): KnownObject {
    return knowObject(this.#options.step === "source" ? { ...info, custom: {} } : info);
  }

  /** The bytes at this ETag, or `object-changed`: what was promised is no longer what is there. */
  async getPinned(
    key: string,
    { etag, size }: SealedObject,
    range: ByteRange | undefined,
  ): Promise<Result<ObjectBody>> {
    const got = await this.get(key, { ifMatch: etag, ...(range === undefined ? {} : { range }) });
    if (!got.ok) return CHANGED.has(got.failure.code) ? fail(failure("object-changed")) : got;
    if (got.value.etag === etag && got.value.size === size) return got;
    // A source that ignores If-Match.
    await got.value.body.cancel();
    return fail(failure("object-changed"));
  }

  get(key: string, options: { range?: ByteRange; ifMatch?: string }): Promise<Result<ObjectBody>> {
    return this.#answered(this.store.get(key, options));
  }

  head(key: string): Promise<Result<ObjectInfo>> {
    return this.#answered(this.store.head(key));
  }

  /** As `get`, without a body where the object is still at this ETag; of a store that cannot tell, with one. */
  refresh(
    key: string,
    etag: string,
    range: ByteRange | undefined,
  ): Promise<Result<ObjectBody | (ObjectInfo & { body: null })>> {
    const { refresh } = this.store;
    if (refresh === undefined) return this.get(key, range === undefined ? {} : { range });
    return this.#answered(refresh(key, etag, range));
  }

  /** A store that says nothing is as good as one that fails. What it says later is not listened to. */
  async #answered<T extends ObjectInfo>(work: Promise<Result<T>>): Promise<Result<T>> {
    const answer = await this.ask(within(ANSWER_MS, work));
    if (answer !== null) return answer;
    this.waitUntil(work.then(cancelBody));
    return fail(failure("store-unavailable", "There was no answer in time."));
  }

  /** The MD5 (hex) that the bytes of an answer must have, where it is the whole of a source's object that vouches for one. */
  expectedMd5({ md5, size, length }: ObjectBody): string | null {
    return this.#options.step === "source" && length === size ? md5 : null;
  }

  /** Waits for the store, and counts the time. */
  ask<T>(work: Promise<T>): Promise<T> {
    return this.timing.time(this.#options.step, work);
  }

  /** `nameOf` leaves no "?" in a key, so that no key is another one's with an ETag. */
  #memoKey(key: string, pin: SealedObject | null): string {
    return pin === null ? this.nameOf(key) : `${this.nameOf(key)}?${pin.etag}`;
  }
}

/** Milliseconds within which a store must begin to answer; a source has its own limit, which is shorter. */
const ANSWER_MS = 15_000;

async function cancelBody(late: Result<ObjectInfo>): Promise<void> {
  if (late.ok && "body" in late.value && late.value.body instanceof ReadableStream) await late.value.body.cancel();
}

const CHANGED: ReadonlySet<FailureCode> = new Set([
  "precondition-failed",
  "range-not-satisfiable",
  "object-not-found",
] satisfies FailureCode[]);
