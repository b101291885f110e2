import { within } from "./within.ts";

export interface Flight<T> {
  readonly arrival: Promise<T>;
  /** Milliseconds since 1970: what it brings is at least as old. */
  readonly beganAt: number;
}

/** Landed flights that are remembered by name. */
const LANDED_MAX = 1000;

/**
 * Reads under way in this isolate, by the name of what they bring: who asks for the same meanwhile waits for the same.
 *
 * A flight brings values, never a stream or another thing that belongs to the request it began in, and is owned by that
 * request's `waitUntil`: the client that began it may leave, and the others still get theirs. Should the runtime end it
 * all the same, a follower's patience runs out and it reads for itself.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();
  readonly #landed = new Map<string, number>();
  #landings = 0;
  readonly #patienceMs: number;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Begins a flight under this name. It is there for others until `done` has settled, which may be later. */
  begin(
    name: string,
    arrival: Promise<T>,
    done: Promise<unknown>,
    beganAt: number,
    waitUntil: (work: Promise<unknown>) => void,
  ): void {
    const flight = { arrival, beganAt };
    this.#flights.set(name, flight);
    waitUntil(done.catch(() => undefined).finally(() => this.#land(name, flight)));
  }

  #land(name: string, flight: Flight<T>): void {
    if (this.#flights.get(name) === flight) this.#flights.delete(name);
    this.#landed.delete(name);
    this.#landed.set(name, ++this.#landings);
    const oldest = this.#landed.size > LANDED_MAX ? this.#landed.keys().next().value : undefined;
    if (oldest !== undefined) this.#landed.delete(oldest);
  }

  /** The flight of this name. Between this and `begin` there must be no await: of two that find none, one begins. */
  find(name: string): Flight<T> | undefined {
    return this.#flights.get(name);
  }

  /** What a flight brings; null if it failed, or does not come in time. */
  follow({ arrival }: Flight<T>): Promise<T | null> {
    return within(this.#patienceMs, arrival).catch(() => null);
  }

  /** How many flights have landed: a moment to ask `hasLanded` about. */
  get moment(): number {
    return this.#landings;
  }

  /** Whether a flight of this name has landed since: then what was missing before may be in the cache by now. */
  hasLanded(name: string, since: number): boolean {
    return (this.#landed.get(name) ?? 0) > since;
  }
}
