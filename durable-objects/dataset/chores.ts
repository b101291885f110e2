/** Work that an object does by itself, some at a time. */
export interface Chore {
  readonly name: string;
  /** When there is some to do, milliseconds since 1970; null for never. */
  dueAt(): number | null;
  /** Does some of it, and afterwards is due later, or never. */
  run(now: number): Promise<void>;
}

/** Milliseconds of an alarm's work after which the rest waits for the next alarm: others are waiting for the object. */
const TURN_MS = 10_000;
/** Runs of one alarm, however short they are. */
const RUNS_MAX = 100;
/** Milliseconds after which what threw is tried again. */
const AGAIN_MS = 30_000;
/** Milliseconds within which work is soon: beyond whatever a walk or a seal waits before it tries again. */
const SOON_MS = 86_400_000;

/**
 * The chores of one object behind its one alarm. An alarm re-arms first, then works, and lets nothing escape: one that keeps
 * throwing is gone for good.
 */
export class Chores {
  readonly #storage: DurableObjectStorage;
  readonly #chores: readonly Chore[];

  constructor(storage: DurableObjectStorage, chores: readonly Chore[]) {
    this.#storage = storage;
    this.#chores = chores;
  }

  /** Sets the alarm for what is due next; keeps an earlier one. */
  async arm(): Promise<void> {
    const dueAt = this.#next()?.dueAt ?? null;
    if (dueAt === null) return;
    const set = await this.#storage.getAlarm();
    if (set === null || set > dueAt) await this.#storage.setAlarm(dueAt);
  }

  /** Whether there is work soon: tombstones that expire in a month are none. */
  isBusy(now: number): boolean {
    const next = this.#next();
    return next !== null && next.dueAt <= now + SOON_MS;
  }

  async alarm(): Promise<void> {
    const began = Date.now();
    await this.#storage.setAlarm(began + AGAIN_MS);
    // What throws is left alone until the alarm that was set first rings again: it keeps no other waiting.
    const thrown = new Set<Chore>();
    let runs = 0;
    for (let next = this.#next(); next !== null && next.dueAt <= Date.now(); next = this.#next(thrown)) {
      try {
        await next.chore.run(Date.now());
      } catch (error) {
        console.error(JSON.stringify({ message: "chore failed", chore: next.chore.name, error: String(error) }));
        thrown.add(next.chore);
      }
      // Where nothing is waited for the clock stands still.
      if (++runs === RUNS_MAX || Date.now() - began > TURN_MS) break;
    }
    const dueAt = this.#next(thrown)?.dueAt ?? null;
    if (thrown.size > 0) {
      if (dueAt !== null) await this.#storage.setAlarm(Math.min(began + AGAIN_MS, Math.max(dueAt, Date.now())));
      return;
    }
    if (dueAt === null) await this.#storage.deleteAlarm();
    else await this.#storage.setAlarm(Math.max(dueAt, Date.now()));
  }

  /** What is due first, but for these. */
  #next(but: ReadonlySet<Chore> = new Set()): { chore: Chore; dueAt: number } | null {
    const due = this.#chores.flatMap((chore) => {
      const dueAt = but.has(chore) ? null : chore.dueAt();
      return dueAt === null ? [] : [{ chore, dueAt }];
    });
    return due.toSorted((a, b) => a.dueAt - b.dueAt)[0] ?? null;
  }
}
