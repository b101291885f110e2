/** Milliseconds after which a reservation is forgotten: work after an answer may be cut off and never say so. */
const FORGOTTEN_AFTER_MS = 60_000;

/**
 * Bounds the bytes that an isolate holds at once: it has 128 MB, shared by all of its requests. What does not fit is
 * streamed.
 */
export class MemoryBudget {
  readonly #max: number;
  readonly #held = new Set<{ bytes: number; at: number }>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Takes `bytes` of the budget and returns how to give them back; null where there is no room. */
  reserve(bytes: number, now: number): (() => void) | null {
    let sum = bytes;
    for (const held of this.#held) {
      if (now - held.at > FORGOTTEN_AFTER_MS) this.#held.delete(held);
      else sum += held.bytes;
    }
    if (sum > this.#max) return null;
    const held = { bytes, at: now };
    this.#held.add(held);
    return () => void this.#held.delete(held);
  }
}
