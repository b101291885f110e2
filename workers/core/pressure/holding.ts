import type { Heard } from "./learn.ts";
import type { Ask, Lease } from "./lease.ts";
import { isUnlimited, type Limits } from "./limits.ts";

/** A request that was let through, until the end of its body. */
export interface Entry {
  /** What was known of the source when it began: `Heard.since`. */
  readonly since: number;
  /** It did not have its turn, and went ahead. */
  readonly isForced: boolean;
}

/** What became of a request, as far as it tells how much the source bears; "failed" tells nothing of that. */
export type Outcome = "ok" | "throttled" | "timedOut" | "failed";

/** Tokens are good for so many milliseconds: what was allowed at an older rate is not kept for a newer one. */
const LEASE_MS = 2000;
/** Milliseconds after which the limiter is asked again where there are limits, and where it only is to be told. */
const REFRESH_MS = 1000;
const REPORT_MS = 2000;
/** Milliseconds between two questions, whatever is wanted. */
const BETWEEN_MS = 20;
/** What is asked for before it is known how much is used. */
const FIRST = { requests: 100, bytes: 8 * 1024 * 1024 };
/** What is asked for at least, so that a holder that was idle gets going. */
const LEAST = { requests: 16, bytes: 1024 * 1024 };
/** Connections beyond those in use: one consumer's. */
const SPARE_CONNECTIONS = 6;
/**
 * Seconds of its part of the rate that a holder may owe for who could not wait: readers are not held against others for
 * long. Who had its turn owes every byte: one body may be more than a part of the rate gives in many minutes.
 */
const DEBT_MAX_SECONDS = { requests: 2, bytes: 300 };
/** Holders that are assumed to share a source whose limiter was never heard. */
const HOLDERS_ASSUMED = 10;
/** Milliseconds without a `touch` after which a connection is forgotten: a request that was cut off never says that it ended. */
const CONNECTION_GONE_MS = 30_000;

/**
 * What one isolate may ask of one source: the tokens of its last lease, what it has taken, and what it has heard. It
 * knows no clock and asks nobody; times are milliseconds by the isolate's clock.
 */
export class Holding {
  readonly #name: string;
  readonly #configured: Limits;
  #lease: Lease | null = null;
  /** Below zero: more was taken than there was. */
  #tokens = { requests: 0, bytes: 0 };
  #used = { requests: 0, bytes: 0 };
  #wanted = FIRST;
  #askedAt = -Infinity;
  #validUntil = -Infinity;
  #refreshAt = -Infinity;
  #againAt = -Infinity;
  #failsUntil = -Infinity;
  #pausedUntil = -Infinity;
  #openedAt = -Infinity;
  #isUrgent = false;
  /** When each was last heard of. */
  readonly #connections = new Map<Entry, number>();
  #heard = nothingHeard(0);

  /** `name` is no other isolate's. `configured` holds until the limiter says otherwise. */
  constructor(name: string, configured: Limits) {
    this.#name = name;
    this.#configured = configured;
  }

  /** Lets one request through; null: not now. */
  take(now: number): Entry | null {
    if (now < this.#pausedUntil) return null;
    return !this.#isLimited || this.#hasRoom(now) ? this.#enter(false, now) : null;
  }

  /** Lets one request through whatever there is left. What it takes is owed. */
  force(now: number): Entry {
    return this.#enter(true, now);
  }

  #enter(isForced: boolean, now: number): Entry {
    const entry = { since: this.#lease?.loweredAt ?? 0, isForced };
    this.#used.requests += 1;
    if ((this.#lease ?? this.#configured).connections !== null) this.#connections.set(entry, now);
    this.#owe("requests", 1, isForced);
    return entry;
  }

  /** Whether nothing is known that would say how long to wait. */
  isBlind(now: number): boolean {
    return this.#isLimited && now >= this.#validUntil;
  }

  /** Whether the connection of the request must be given back at the end of its body. */
  holds(entry: Entry): boolean {
    return this.#connections.has(entry);
  }

  /** The request lives. */
  touch(entry: Entry, now: number): void {
    if (this.#connections.has(entry)) this.#connections.set(entry, now);
  }

  release(entry: Entry): void {
    this.#connections.delete(entry);
  }

  /** Bytes that were announced: requests after this one wait until they are paid for. */
  charge({ isForced }: Entry, bytes: number): void {
    this.#used.bytes += bytes;
    this.#owe("bytes", bytes, isForced);
  }

  /** Milliseconds for which the source has asked to be left alone. */
  pausedMs(now: number): number {
    return Math.max(0, this.#pausedUntil - now);
  }

  /** What became of a request. */
  hear(entry: Entry, outcome: Outcome, retryAfterSeconds: number | null, now: number): void {
    if (outcome === "ok") {
      this.#heard.ok += 1;
      return;
    }
    if (retryAfterSeconds !== null && now + retryAfterSeconds * 1000 > this.#pausedUntil) {
      // The answers of one burst each name nearly the same moment.
      if (now + (retryAfterSeconds - 1) * 1000 > this.#pausedUntil) this.#isUrgent = true;
      this.#pausedUntil = now + retryAfterSeconds * 1000;
      this.#heard.retryAfterSeconds = retryAfterSeconds;
    }
    if (outcome === "failed") return;
    // It began before the rate was lowered, and says nothing of the rate since.
    if (entry.since < (this.#lease?.loweredAt ?? 0)) return;
    this.#heard[outcome] += 1;
    this.#isUrgent = true;
  }

  /** Whether something was heard that others must know at once. */
  get isUrgent(): boolean {
    return this.#isUrgent;
  }

  /** Whether the limiter should be asked now, `waiting` requests not having been let through. */
  isDue(now: number, waiting: number): boolean {
    if (now >= this.#refreshAt) return true;
    if (now < this.#failsUntil) return false;
    if (this.#isUrgent) return true;
    if (!this.#isLimited || now < this.#againAt || now < this.#pausedUntil) return false;
    return waiting > 0 || this.#isLow("requests") || this.#isLow("bytes");
  }

  /** What to ask the limiter for, and to tell it. What is told is forgotten here, unless `failed` gives it back. */
  ask(now: number, waiting: number): { ask: Ask; heard: Heard } {
    const left = { requests: this.#left("requests", now), bytes: this.#left("bytes", now) };
    this.#tokens = { ...left };
    const perSecond = this.#askedAt === -Infinity ? 0 : 1000 / Math.max(100, now - this.#askedAt);
    const enough = (name: "requests" | "bytes") =>
      // A quarter more than was used in the last second; less than half of what it was is not believed at once.
      Math.ceil(Math.max(LEAST[name], 1.25 * perSecond * this.#used[name], this.#wanted[name] / 2));
    if (this.#askedAt !== -Infinity) this.#wanted = { requests: enough("requests"), bytes: enough("bytes") };
    const heard = { ...this.#heard, since: this.#lease?.loweredAt ?? 0 };
    this.#heard = nothingHeard(heard.since);
    this.#used = { requests: 0, bytes: 0 };
    this.#askedAt = now;
    this.#isUrgent = false;
    return {
      ask: {
        holder: this.#name,
        requests: { want: this.#wanted.requests + waiting, left: left.requests },
        bytes: { want: this.#wanted.bytes, left: left.bytes },
        connections: this.#open(now) + waiting + SPARE_CONNECTIONS,
      },
      heard,
    };
  }

  /** The limiter has answered. */
  receive(lease: Lease, now: number): void {
    // What failed since the question began before the rate was lowered.
    if (lease.loweredAt > (this.#lease?.loweredAt ?? 0)) this.#heard.throttled = this.#heard.timedOut = 0;
    this.#lease = lease;
    this.#tokens.requests = lease.requests === null ? 0 : this.#tokens.requests + lease.requests;
    this.#tokens.bytes = lease.bytes === null ? 0 : this.#tokens.bytes + lease.bytes;
    this.#validUntil = now + LEASE_MS;
    this.#refreshAt = now + (this.#isLimited ? REFRESH_MS : REPORT_MS);
    this.#againAt = now + Math.max(BETWEEN_MS, lease.againMs);
    this.#failsUntil = -Infinity;
    this.#pausedUntil = Math.max(this.#pausedUntil, now + lease.pausedMs);
    this.#openedAt = now;
    if (lease.connections === null) this.#connections.clear();
  }

  /**
   * The limiter could not be asked: the isolate goes on at its part of the last known rates, a second's worth for each
   * second until it is asked again. Where nothing was ever known, at a tenth of what is configured.
   */
  failed({ ok, throttled, timedOut, retryAfterSeconds }: Heard, now: number): void {
    this.#lease ??= assumed(this.#configured);
    this.#heard.ok += ok;
    this.#heard.throttled += throttled;
    this.#heard.timedOut += timedOut;
    if (retryAfterSeconds !== null) this.#heard.retryAfterSeconds ??= retryAfterSeconds;
    // Up to what has passed while it was tried in vain.
    const seconds = Math.min(3, Math.max(0, now - this.#openedAt) / 1000);
    this.#goOn("requests", this.#lease.requestsPerSecond, seconds);
    this.#goOn("bytes", this.#lease.bytesPerSecond, seconds);
    this.#openedAt = now;
    this.#validUntil = now + LEASE_MS + REFRESH_MS;
    this.#refreshAt = this.#failsUntil = now + REFRESH_MS;
  }

  #goOn(name: "requests" | "bytes", rate: number | null, seconds: number): void {
    if (rate === null) return;
    this.#tokens[name] = Math.min(Math.max(1, rate * 3), this.#tokens[name] + rate * seconds);
  }

  get #isLimited(): boolean {
    const lease = this.#lease;
    if (lease === null) return !isUnlimited(this.#configured);
    return lease.requests !== null || lease.bytes !== null || lease.connections !== null;
  }

  #hasRoom(now: number): boolean {
    const lease = this.#lease;
    if (lease === null || now >= this.#validUntil) return false;
    if (lease.requests !== null && this.#tokens.requests < 1) return false;
    if (lease.bytes !== null && this.#tokens.bytes <= 0) return false;
    return (
      lease.connections === null || this.#connections.size < lease.connections || this.#open(now) < lease.connections
    );
  }

  #left(name: "requests" | "bytes", now: number): number {
    return now < this.#validUntil ? this.#tokens[name] : Math.min(0, this.#tokens[name]);
  }

  #isLow(name: "requests" | "bytes"): boolean {
    const lease = this.#lease;
    return lease !== null && lease[name] !== null && this.#tokens[name] < this.#wanted[name] / 2;
  }

  #owe(name: "requests" | "bytes", amount: number, isForced: boolean): void {
    const rate = (this.#lease ?? this.#configured)[name === "requests" ? "requestsPerSecond" : "bytesPerSecond"];
    if (rate === null) return;
    const least = isForced ? -Math.max(LEAST[name], rate * DEBT_MAX_SECONDS[name]) : -Infinity;
    this.#tokens[name] = Math.max(Math.min(least, this.#tokens[name]), this.#tokens[name] - amount);
  }

  #open(now: number): number {
    for (const [entry, seenAt] of this.#connections) {
      if (now - seenAt >= CONNECTION_GONE_MS) this.#connections.delete(entry);
    }
    return this.#connections.size;
  }
}

const nothingHeard = (since: number): Heard => ({ ok: 0, throttled: 0, timedOut: 0, since, retryAfterSeconds: null });

function assumed(configured: Limits): Lease {
  const part = (limit: number | null) => (limit === null ? null : limit / HOLDERS_ASSUMED);
  const [requestsPerSecond, bytesPerSecond] = [part(configured.requestsPerSecond), part(configured.bytesPerSecond)];
  const connections =
    configured.connections === null ? null : Math.max(1, Math.floor(configured.connections / HOLDERS_ASSUMED));
  const none = (rate: number | null) => (rate === null ? null : 0);
  return {
    requests: none(requestsPerSecond),
    bytes: none(bytesPerSecond),
    connections,
    pausedMs: 0,
    againMs: 0,
    loweredAt: 0,
    requestsPerSecond,
    bytesPerSecond,
  };
}
