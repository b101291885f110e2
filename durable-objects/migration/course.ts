import { failure } from "../../workers/core/failure.ts";
import { SEND_BATCH_MAX_MESSAGES } from "../../workers/core/limits.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Ledger } from "./ledger.ts";
import type { Pages } from "./pages.ts";
import type { Report } from "./report.ts";
import type { Uploading } from "./uploading.ts";

/** What the listing is made of. */
const LISTING = ["list", "keys"] as const;
/** Keys of one delete message: each is looked at in both stores first. */
const DELETE_KEYS_MAX = SEND_BATCH_MAX_MESSAGES;

/**
 * The course of a run: listing, copying, deleting where it was asked for, the rest of its report, and its end. It goes on
 * when nothing is left to do: the listing is complete when no message of it is unsettled, and all else when the outbox is
 * empty; then every object is copied, skipped or failed, and every row is in the manifest. Every method runs inside the
 * caller's transaction.
 */
export class Course {
  readonly #ledger: Ledger;
  readonly #dispatch: Dispatch;
  readonly #pages: Pages;
  readonly #uploading: Uploading;
  readonly #report: Report;

  constructor(ledger: Ledger, dispatch: Dispatch, pages: Pages, uploading: Uploading, report: Report) {
    this.#ledger = ledger;
    this.#dispatch = dispatch;
    this.#pages = pages;
    this.#uploading = uploading;
    this.#report = report;
  }

  /** Whether all of the listing was walked. */
  get isListed(): boolean {
    const { run } = this.#ledger;
    return run !== null && run.state !== "failed" && run.state !== "cancelled" && !this.#dispatch.outbox.has(LISTING);
  }

  /** Hands out what there is room for, and takes the run to its next state where nothing is left of this one. */
  goOn(now: number): void {
    const { spec, run } = this.#ledger;
    if (spec === null || run === null) return;
    if (!this.#ledger.isRunning) {
      // What was under way when the run ended has been settled since, and has lines.
      if (this.#dispatch.outbox.isEmpty) this.#sendReport(spec, now);
      return;
    }
    if (run.is_paused === 1) {
      // What was handed out meanwhile, by consumers that settled what they had begun, waits too.
      this.#dispatch.outbox.hold("migration", "abort");
      return;
    }
    this.#pages.goOn(now);
    this.#uploading.startWaiting(spec, now);
    if (run.state === "listing" && this.isListed) this.#ledger.setState("copying", now);
    if (!this.#dispatch.outbox.isEmpty || this.#ledger.run?.state === "listing") return;
    if (this.#ledger.run?.state === "copying" && spec.deletes !== null && this.#beginDeleting(spec, now)) return;
    if (run.is_reported === 0) {
      this.#ledger.setReported();
      if (this.#sendReport(spec, now)) return;
    }
    this.#ledger.setState(this.#ledger.run?.problem === null ? "done" : "failed", now);
  }

  pause(now: number): void {
    if (!this.#ledger.isPaused) this.#ledger.setPaused(true, now);
  }

  resume(now: number): void {
    if (!this.#ledger.isPaused) return;
    this.#ledger.setPaused(false, now);
    // The listing is let go of as far as there is room, by what goes on after this.
    this.#dispatch.outbox.release(now, RESUMED);
  }

  /**
   * Ends a run before its work is done. What is under way is settled by its consumers: their messages stay until then,
   * and those that come to a consumer only now find nothing to do. What a pause holds back is not sent at once: its
   * consumer may have begun before, and whoever came second would take the message from under it.
   */
  end(state: "failed" | "cancelled", spec: MigrationSpec, now: number): void {
    if (!this.#ledger.isRunning) return;
    const { outbox } = this.#dispatch;
    this.#ledger.setState(state, now);
    outbox.clearUnsent("migration", ["abort"]);
    outbox.release(now, ["report"]);
    outbox.awaitHeld(now);
    this.#uploading.abandonAll(spec, now);
    this.#ledger.setReported();
    this.#sendReport(spec, now);
  }

  /** Asks for the deletes, or says why there are none; false where there is nothing to wait for. */
  #beginDeleting(spec: MigrationSpec, now: number): boolean {
    const found = this.#pages.extraneous;
    // A run that has a problem deletes nothing.
    if (found.length === 0 || spec.deletes === null || spec.task !== "copy" || this.#ledger.run?.problem !== null) {
      return false;
    }
    if (found.length > spec.deletes.max) {
      const detail = `More than maxDelete (${spec.deletes.max}) objects are in R2 and no longer at the source. None was deleted.`;
      this.#ledger.setProblem(failure("too-many-deletes", detail, { field: "maxDelete" }), now);
      return false;
    }
    this.#ledger.setState("deleting", now);
    const items = found.map(({ key, etag }): [string, string] => [key, etag]);
    for (const some of pack(items, { items: DELETE_KEYS_MAX, weight: Number.POSITIVE_INFINITY }, () => 0)) {
      this.#dispatch.send({ v: 1, migration: spec.id, type: "delete", items: some }, now, now);
    }
    return true;
  }

  #sendReport(spec: MigrationSpec, now: number): boolean {
    if (!this.#report.hasRest) return false;
    this.#dispatch.send({ v: 1, migration: spec.id, type: "report" }, now, now);
    return true;
  }
}

const RESUMED = ["copy", "read", "delete", "upload", "part", "finish", "report"];
