import { type Failure, failure } from "../core/failure.ts";
import { type Entry, Holding, type Outcome } from "../core/pressure/holding.ts";
import type { Heard } from "../core/pressure/learn.ts";
import type { Ask, Lease } from "../core/pressure/lease.ts";
import type { Limits } from "../core/pressure/limits.ts";
import { fail, ok, type Result } from "../core/result.ts";
import { within } from "./within.ts";

/** What a source is asked for. */
export type Purpose = "reading" | "copying";

/**
 * Milliseconds that a request waits for its turn. A reader's own client waits, so it goes ahead then, unless the source
 * has asked to be left alone: it would only refuse once more, and for longer. A consumer lives 900 seconds, begins nothing after 300, and may then still wait 60 here and 500 for a body.
 */
const PATIENCE_MS: Record<Purpose, number> = { reading: 2000, copying: 60_000 };
/** Milliseconds after which the limiter is believed silent. */
const ANSWER_MS = 2000;
/** Milliseconds between the looks of a request that waits, should nobody wake it. */
const LOOK_MS = 250;
/** Milliseconds without a look after which a request that waited is believed gone: its client left, or it was cut off. */
const GONE_MS = 1000;

/** One that waits for its turn. */
interface Waiter {
  wake: () => void;
  lookedAt: number;
}

/**
 * The isolate's side of a source's limiter. It holds a lease of tokens that all requests of the isolate draw from, and
 * asks for another in the background before they are spent, so that in the common case nobody waits and there is no
 * call for each request.
 *
 * A call belongs to the request that began it, and outlives its answer by `keep`; where it dies with it all the same,
 * others, who only look at its time, begin another when it is overdue. Likewise every waiter has a timer of its own, and looks for itself.
 *
 * It fails open: while the limiter cannot be asked, requests go on at the last known rate.
 */
export class SourcePressure {
  readonly #holding: Holding;
  readonly #lease: (ask: Ask, heard: Heard) => Promise<Lease>;
  readonly #keep: (work: Promise<void>) => void;
  readonly #now: () => number;
  /** In the order in which they came. */
  readonly #waiters = new Set<Waiter>();
  #call: { overdueAt: number } | null = null;
  #isSilent = false;

  /** `lease` asks the limiter, and may throw. `keep` has the request that asks live until there is an answer. */
  constructor(
    configured: Limits,
    lease: (ask: Ask, heard: Heard) => Promise<Lease>,
    keep: (work: Promise<void>) => void = () => undefined,
    now: () => number = Date.now,
  ) {
    this.#holding = new Holding(crypto.randomUUID(), configured);
    this.#lease = lease;
    this.#keep = keep;
    this.#now = now;
  }

  /** Lets a request through at once, where nobody is before it and there are tokens. */
  enter(purpose: Purpose): Entry | null {
    const now = this.#now();
    const holding = this.#holding;
    const entry = this.#waiters.size === 0 ? (holding.take(now) ?? this.#readBlindly(purpose, now)) : null;
    if (holding.isDue(now, 0)) this.#ask(now);
    return entry;
  }

  /**
   * Waits for the request's turn. Refused with `source-throttled` at once where the source has asked to be left alone for
   * longer than the request would wait; with `source-limited`, a copy alone, where there was no turn.
   */
  async wait(purpose: Purpose): Promise<Result<Entry>> {
    const waiter: Waiter = { wake: () => undefined, lookedAt: this.#now() };
    const until = waiter.lookedAt + PATIENCE_MS[purpose];
    this.#waiters.add(waiter);
    try {
      for (;;) {
        const now = this.#now();
        waiter.lookedAt = now;
        const entry = (this.#isTurnOf(waiter, now) ? this.#holding.take(now) : null) ?? this.#readBlindly(purpose, now);
        if (entry !== null) return ok(entry);
        const pausedMs = this.#holding.pausedMs(now);
        if (now + pausedMs > until) return fail(paused(pausedMs));
        if (now >= until) return purpose === "reading" ? ok(this.#holding.force(now)) : fail(NO_TURN);
        if (this.#holding.isDue(now, this.#waiters.size)) this.#ask(now);
        await sleepOrWake(waiter, Math.min(LOOK_MS, until - now));
      }
    } finally {
      this.#waiters.delete(waiter);
      this.#wakeFirst();
    }
  }

  /** What came of a request: `null`, an answer of the object's store; else why there was none. */
  hear(entry: Entry, failed: Failure | null): void {
    const now = this.#now();
    this.#holding.hear(entry, outcomeOf(failed), failed?.retryAfterSeconds ?? null, now);
    if (failed !== null && this.#holding.isDue(now, this.#waiters.size)) this.#ask(now);
  }

  /** Bytes of a body that was announced. */
  charge(entry: Entry, bytes: number): void {
    this.#holding.charge(entry, bytes);
  }

  /** Whether somebody must say when the request's body has ended. */
  holds(entry: Entry): boolean {
    return this.#holding.holds(entry);
  }

  /** The request lives: where it is not said for half a minute, its connection is free. */
  touch(entry: Entry): void {
    this.#holding.touch(entry, this.#now());
  }

  /** The request's connection is free. */
  release(entry: Entry): void {
    this.#holding.release(entry);
    this.#wakeFirst();
  }

  /** A reader does not wait for the first word of the limiter, nor for one that is silent. What it takes is owed. */
  #readBlindly(purpose: Purpose, now: number): Entry | null {
    if (purpose !== "reading" || this.#holding.pausedMs(now) > 0) return null;
    return this.#isSilent || this.#holding.isBlind(now) ? this.#holding.force(now) : null;
  }

  /** Whether nobody who still waits came before. */
  #isTurnOf(waiter: Waiter, now: number): boolean {
    for (const first of this.#waiters) {
      if (first === waiter) return true;
      if (now - first.lookedAt < GONE_MS) return false;
      this.#waiters.delete(first);
    }
    return true;
  }

  #wakeFirst(): void {
    for (const first of this.#waiters) return first.wake();
  }

  /** Begins a call, unless one is under way. */
  #ask(now: number): void {
    if (this.#call !== null && now < this.#call.overdueAt) return;
    const call = { overdueAt: now + ANSWER_MS };
    this.#call = call;
    const { ask, heard } = this.#holding.ask(now, this.#waiters.size);
    const answered = this.#answered(ask, heard).finally(() => {
      if (this.#call === call) this.#call = null;
      // What was heard meanwhile did not go along.
      const ended = this.#now();
      if (this.#holding.isUrgent && this.#holding.isDue(ended, this.#waiters.size)) this.#ask(ended);
      this.#wakeFirst();
    });
    this.#keep(answered);
  }

  async #answered(ask: Ask, heard: Heard): Promise<void> {
    try {
      const lease = await within(ANSWER_MS, this.#lease(ask, heard));
      if (lease === null) throw new Error("There was no answer in time.");
      this.#holding.receive(lease, this.#now());
      this.#isSilent = false;
    } catch (error) {
      this.#holding.failed(heard, this.#now());
      if (!this.#isSilent) console.error(JSON.stringify({ message: "limiter not asked", error: String(error) }));
      this.#isSilent = true;
    }
  }
}

/** Sleeps, and wakes when the waiter is woken. */
async function sleepOrWake(waiter: Waiter, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  await new Promise<void>((wake) => {
    waiter.wake = wake;
    timer = setTimeout(wake, ms);
  });
  if (timer !== null) clearTimeout(timer);
}

function outcomeOf(failed: Failure | null): Outcome {
  if (failed?.overloaded === true) return "throttled";
  switch (failed?.code) {
    case "source-throttled":
      return "throttled";
    case "source-unavailable":
      return "failed"; // A few objects that cannot be read are no reason to slow down.
    case "source-unreachable":
      return "timedOut";
    default:
      return "ok"; // The source answered, if only to refuse.
  }
}

function paused(ms: number): Failure {
  const retryAfterSeconds = Math.ceil(ms / 1000);
  const detail = `The source has asked for nothing to be asked of it for ${retryAfterSeconds} seconds.`;
  return failure("source-throttled", detail, { retryAfterSeconds });
}

const NO_TURN = failure("source-limited", "There was no turn for the request within a minute.");
