/**
 * Remembers values under a budget of bytes, in this isolate; the one that was not asked for the longest is forgotten first.
 * Keys name what never changes, so nothing here is ever out of date. What weighs more than the budget is not kept.
 */
export class WeighedMemo<T> {
  readonly #entries = new Map<string, { value: T; bytes: number }>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(key: string): T | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    // A Map keeps the order of insertion: the last one asked for goes to the end.
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** @param bytes what the value takes in memory, near enough */
  set(key: string, value: T, bytes: number): void {
    if (bytes > this.#maxBytes || this.#entries.has(key)) return;
    this.#entries.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const [oldest, forgotten] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#entries.delete(oldest);
      this.#bytes -= forgotten.bytes;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }
}
