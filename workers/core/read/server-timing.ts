/** Where the time of a data answer goes, as `Server-Timing` (W3C Server Timing). The platform's clock stands still
 * between inputs and outputs, so what is shown is waiting, in whole milliseconds. */
export const STEPS = ["auth", "resolve", "cache", "r2", "source"] as const;
export type Step = (typeof STEPS)[number];

export class ServerTiming {
  readonly #now: () => number;
  /** Made when something is waited for: most answers wait for nothing. */
  #spent: Map<Step, number> | null = null;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts the time until `work` settles; steps that run at once add up. */
  async time<T>(step: Step, work: Promise<T>): Promise<T> {
    const began = this.#now();
    try {
      return await work;
    } finally {
      this.#spent ??= new Map();
      this.#spent.set(step, (this.#spent.get(step) ?? 0) + this.#now() - began);
    }
  }

  get hasWaited(): boolean {
    return this.#spent !== null;
  }

  /** Every answer names the first four steps, so that a reader of it need not guess. */
  format(): string {
    const spent = this.#spent;
    if (spent === null) return NOTHING_WAITED_FOR;
    return STEPS.filter((step) => step !== "source" || spent.has(step))
      .map((step) => `${step};dur=${spent.get(step) ?? 0}`)
      .join(", ");
  }
}

/** What `format` says where every step was answered from memory. */
export const NOTHING_WAITED_FOR = "auth;dur=0, resolve;dur=0, cache;dur=0, r2;dur=0";
