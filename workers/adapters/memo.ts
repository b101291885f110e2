/**
 * Remembers a bounded number of values for a time, in this isolate. The oldest is forgotten first. Only values that
 * were looked up and found are worth remembering: what is absent may appear at any moment.
 */
export class Memo<T> {
  readonly #entries = new Map<string, { value: T; at: number }>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** The value if it is younger than `maxAgeMs`. */
  get(key: string, now: number, maxAgeMs: number): T | null {
    const entry = this.#entries.get(key);
    return entry !== undefined && now - entry.at < maxAgeMs ? entry.value : null;
  }

  /** The value however old it is. */
  peek(key: string): T | null {
    return this.#entries.get(key)?.value ?? null;
  }

  /** What was learnt earlier does not replace what was learnt later. */
  set(key: string, value: T, now: number): void {
    if ((this.#entries.get(key)?.at ?? now) > now) return;
    this.#entries.delete(key);
    this.#entries.set(key, { value, at: now });
    const oldest = this.#entries.size > this.#max ? this.#entries.keys().next().value : undefined;
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
