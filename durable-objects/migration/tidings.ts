import { datasetOf, directoryOf } from "../../workers/adapters/objects.ts";
import { LIST_RANGES_MAX } from "../../workers/core/limits.ts";
import { cutsOf } from "../../workers/core/migration/ranges.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Outbox } from "../outbox.ts";
import type { Ledger } from "./ledger.ts";
import type { Pages } from "./pages.ts";

/** Milliseconds after which what could not be told is told again. */
const TELL_AGAIN_MS = 5000;

/** What others learn of a run, and the alarm that sees to it that they do. */
export class Tidings {
  readonly #storage: DurableObjectStorage;
  readonly #env: Env;
  readonly #ledger: Ledger;
  readonly #pages: Pages;
  readonly #outbox: Outbox;

  constructor(storage: DurableObjectStorage, env: Env, ledger: Ledger, pages: Pages, outbox: Outbox) {
    this.#storage = storage;
    this.#env = env;
    this.#ledger = ledger;
    this.#pages = pages;
    this.#outbox = outbox;
  }

  /**
   * Tells the Directory that there is this run, and it and the Dataset that the run has ended, each once. What fails
   * is tried again by the alarm: no other place knows of a run that was started and not listed.
   */
  async tell(): Promise<void> {
    const { run, spec } = this.#ledger;
    if (run === null || spec === null) return;
    const { id, dataset, datasetId, task, direction } = spec;
    try {
      if (run.told === 0) {
        await directoryOf(this.#env).add("migration", id, { dataset, task, direction });
        this.#ledger.setTold(1);
      }
      if (run.finished_at !== null && run.told < 2) {
        const cuts = run.state === "done" && isWhole(spec) ? cutsOf(this.#pages.ends, LIST_RANGES_MAX) : null;
        await datasetOf(this.#env, dataset).endMigration(datasetId, id, cuts);
        await directoryOf(this.#env).setState("migration", id, run.state);
        this.#ledger.setTold(2);
      }
    } catch (error) {
      console.error(JSON.stringify({ message: "run not told", migration: id, error: String(error) }));
    }
  }

  /** Sets the alarm for the next due message; keeps an earlier one. */
  async arm(): Promise<void> {
    const { run } = this.#ledger;
    const isUntold = run !== null && run.told < (run.finished_at === null ? 1 : 2);
    const dueAt = earliest(this.#outbox.nextDueAt, isUntold ? Date.now() + TELL_AGAIN_MS : null);
    const set = await this.#storage.getAlarm();
    if (dueAt === null) {
      if (set !== null) await this.#storage.deleteAlarm();
    } else if (set === null || set > dueAt) await this.#storage.setAlarm(dueAt);
  }
}

/** Whether the run listed all that the source has: only then do its pages say where the next listing is cut. */
const isWhole = ({ direction, keys, filter }: MigrationSpec): boolean =>
  direction === "in" && keys === null && filter.prefix === "";

function earliest(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}
