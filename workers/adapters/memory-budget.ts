/** Milliseconds after which a hold is forgotten: work after an answer may be cut off and never say so. */
const FORGOTTEN_AFTER_MS = 600_000;

/**
 * Bounds the bytes that an isolate holds at once: it has 128 MB, shared by all of its requests. What does not fit is
 * streamed.
 */
export class MemoryBudget {
  readonly #max: number;
  readonly #holds = new Set<{ bytes: number; at: number }>();
  #held = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes `bytes` of the budget and returns how to give them back; null where there is no room. */
  reserve(bytes: number, now: number): (() => void) | null {
    if (this.#held + bytes > this.#max) this.#forget(now);
    return this.#held + bytes > this.#max ? null : this.hold(bytes, now);
  }

  /** Counts bytes that are there whether there is room for them or not. */
  hold(bytes: number, now: number): () => void {
    const hold = { bytes, at: now };
    this.#holds.add(hold);
    this.#held += bytes;
    return () => this.#release(hold);
  }

  #release(hold: { bytes: number; at: number }): void {
    if (this.#holds.delete(hold)) this.#held -= hold.bytes;
  }

  /** Holds are in the order of their times. */
  #forget(now: number): void {
    for (const hold of this.#holds) {
      if (now - hold.at <= FORGOTTEN_AFTER_MS) return;
      this.#release(hold);
    }
  }
}
