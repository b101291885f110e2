import type { Failure } from "../../workers/core/failure.ts";
import { LIST_RANGES_MAX, MESSAGES_IN_FLIGHT_MAX, UPLOADS_WAITING_MAX } from "../../workers/core/limits.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { planSeconds } from "../../workers/core/migration/backoff.ts";
import type { Hazards } from "../../workers/core/migration/hazards.ts";
import { type CopyItem, type ListMessage, sentItem } from "../../workers/core/migration/message.ts";
import { packItems } from "../../workers/core/migration/pack.ts";
import { cutRange, width } from "../../workers/core/migration/ranges.ts";
import type { Count, MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Dispatch } from "./dispatch.ts";
import type { KeyFailure, Ledger } from "./ledger.ts";
import type { Uploads } from "./uploads.ts";

/** What a consumer found on one page of a listing, or of a list of keys. */
export interface ListedPage {
  after: string | null;
  upTo: string | null;
  /** What of the listing is left after this page; null: nothing. */
  rest: { after: string; end: string | null } | { file: string | null; offset: number; etag: string | null } | null;
  /** Keys at which the rest is cut into ranges. */
  cuts: readonly string[];
  skipped: Count;
  /** Of a verification: proofs of what was found equal, which is counted as skipped. */
  proofs: Partial<Record<Proof, number>>;
  /** Objects found equal that the manifest does not know yet. */
  found: Row[];
  small: CopyItem[];
  large: CopyItem[];
  /** Parts that the large ones have, as far as can be told. */
  largeParts: number;
  failures: (KeyFailure & { size: number })[];
  /** In R2 alone, written by a migration of this dataset, and unchanged. */
  extraneous: { key: string; etag: string }[];
  hazards: Hazards;
  report: string | null;
}

export interface BatchOutcome {
  /** Objects copied; of a verification, found to be the source's. */
  settled: Count;
  proofs: Partial<Record<Proof, number>>;
  /** Rows for the manifest. */
  rows: Row[];
  /** Bytes that the settled objects have more than was listed: they changed at the source meanwhile. */
  grownBytes: number;
  failures: KeyFailure[];
  deleted: number;
  /** Objects whose failure may pass; tried again in a batch of their own. */
  again: { item: CopyItem; failure: Failure }[];
  /** Objects that the consumer had no time for; no try of theirs is burnt. */
  late: CopyItem[];
  report: string | null;
}

/** Listing pages, and the batches that they are cut into. Every method runs inside the caller's transaction. */
export class Pages {
  readonly #sql: SqlStorage;
  readonly #ledger: Ledger;
  readonly #uploads: Uploads;
  readonly #dispatch: Dispatch;

  constructor(sql: SqlStorage, ledger: Ledger, uploads: Uploads, dispatch: Dispatch) {
    this.#sql = sql;
    this.#ledger = ledger;
    this.#uploads = uploads;
    this.#dispatch = dispatch;
  }

  /** Hands out the whole listing, or the first keys of a list. */
  begin(spec: MigrationSpec, now: number): void {
    const message = { v: 1 as const, migration: spec.id };
    if (spec.keys !== null) {
      this.#dispatch.send({ ...message, type: "keys", file: null, offset: 0, etag: null }, now, now);
      return;
    }
    for (const range of cutRange({ after: null, end: null }, spec.cuts)) {
      this.#dispatch.send({ ...message, type: "list", ...range }, now, now);
    }
  }

  /**
   * Records a page, hands out what must be copied, and goes on with the listing. `isGoingOn`: its consumer goes on with
   * the first range of the rest by itself, where that is not held back; its `seq` is then the answer.
   */
  record(seq: number, page: ListedPage, isGoingOn: boolean, spec: MigrationSpec, now: number): number | null {
    this.#sql.exec(
      "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      seq,
      page.after ?? "",
      page.upTo,
      page.skipped.objects,
      page.skipped.bytes,
      page.failures.length,
      total(page.failures),
      page.small.length,
      total(page.small),
      page.large.length,
      total(page.large),
      page.largeParts,
      page.extraneous.length,
      orNull(page.proofs),
      orNull(page.hazards),
      page.report,
    );
    this.#ledger.addFailures(page.failures, true);
    // A verification settles most of its objects by the listing.
    if (spec.task !== "copy") this.#ledger.addPace(page.skipped.objects, page.skipped.bytes, now);
    this.#addExtraneous(page.extraneous, spec);
    this.#dispatch.publish(page.found, spec, now);
    if (spec.task !== "estimate") {
      this.#addBatches(page.small, 0, spec, now, now);
      this.#ledger.addWaiting(this.#uploads.plan(page.large));
    }
    return this.#goOnListing(page, isGoingOn, spec, now);
  }

  #goOnListing({ rest, cuts }: ListedPage, isGoingOn: boolean, spec: MigrationSpec, now: number): number | null {
    if (rest === null) return null;
    const message = { v: 1 as const, migration: spec.id };
    const messages =
      "offset" in rest
        ? [{ ...message, type: "keys" as const, ...rest }]
        : cutRange(rest, this.#thinned(cuts)).map((range) => ({ ...message, type: "list" as const, ...range }));
    // Its consumer would go on up to the first of its cuts. Where there was no room to cut there, somebody else does.
    const [first] = messages;
    const isAsGiven = "offset" in rest || (first?.type === "list" && first.end === (cuts[0] ?? rest.end));
    // Held back while enough is in flight: the outbox, which holds the keys in flight, stays small.
    const isHeld = this.#isFull() || this.#ledger.isPaused;
    let own: number | null = null;
    for (const next of messages) {
      if (own === null && isGoingOn && isAsGiven && !isHeld)
        own = this.#dispatch.outbox.addUnderWay("migration", next, now);
      else this.#dispatch.send(next, isHeld ? null : now, now);
    }
    return own;
  }

  /** As many of the cuts, evenly, as there is room for ranges: another consumer may have cut at the same time. */
  #thinned(cuts: readonly string[]): readonly string[] {
    if (cuts.length === 0) return cuts;
    const room = Math.max(0, LIST_RANGES_MAX - 1 - this.#dispatch.outbox.ofTypes(["list"]).length);
    if (cuts.length <= room) return cuts;
    return Array.from({ length: room }, (_, i) => cuts[Math.floor((i * cuts.length) / room)] ?? "");
  }

  /** Whether this range is to be cut: it is the one with most left, and there is room for more. */
  wantsCut({ seq, after, end }: ListMessage, spec: MigrationSpec): boolean {
    if (this.#isFull()) return false;
    const others = this.#dispatch.outbox.ofTypes(["list"]).filter((open) => open.seq !== seq);
    if (others.length + 1 >= LIST_RANGES_MAX) return false;
    const left = (range: { after: string | null; end: string | null }) =>
      width(range.after, range.end, spec.filter.prefix);
    const own = left({ after, end });
    return others.every(({ body }) => left(JSON.parse(body) as ListMessage) <= own);
  }

  /** Settles a message of objects once. What must be tried again leaves it for a message of its own. */
  settle(seq: number, tries: number, outcome: BatchOutcome, spec: MigrationSpec, now: number): void {
    this.#sql.exec(
      "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      seq,
      outcome.settled.objects,
      outcome.settled.bytes,
      outcome.grownBytes,
      outcome.failures.length,
      outcome.deleted,
      JSON.stringify(outcome.proofs),
      outcome.report,
    );
    this.#ledger.addPace(outcome.settled.objects, outcome.settled.bytes, now);
    this.#ledger.addFailures(outcome.failures, true);
    this.#dispatch.publish(outcome.rows, spec, now);
    if (!this.#ledger.isRunning) return;
    const asked = outcome.again.map(({ failure }) => failure.retryAfterSeconds ?? 0);
    const again = outcome.again.map(({ item }) => item);
    const dueAt = now + Math.max(planSeconds(tries + 1), ...asked) * 1000;
    this.#addBatches(again, tries + 1, spec, dueAt, now);
    this.#addBatches(outcome.late, tries, spec, now, now);
  }

  /** Settles a message whose objects all failed, and whose lines nobody has written. */
  fail(seq: number, failures: readonly KeyFailure[]): void {
    this.#sql.exec("INSERT INTO batch VALUES (?, 0, 0, 0, ?, 0, '{}', NULL)", seq, failures.length);
    this.#ledger.addFailures(failures, false);
  }

  /** Lets the listing go on where enough was settled, by whatever kind of message. */
  goOn(now: number): void {
    if (!this.#isFull()) this.#dispatch.outbox.release(now, ["list", "keys"]);
  }

  /** The last keys of the pages. */
  get ends(): string[] {
    return this.#sql
      .exec<{ key: string }>("SELECT up_to AS key FROM page WHERE up_to IS NOT NULL")
      .toArray()
      .map(({ key }) => key);
  }

  /** What may be deleted, of those that were found: at most one more than the run may delete. */
  get extraneous(): { key: string; etag: string }[] {
    return this.#sql.exec<{ key: string; etag: string }>("SELECT key, etag FROM extraneous ORDER BY key").toArray();
  }

  #addExtraneous(extraneous: ListedPage["extraneous"], spec: MigrationSpec): void {
    if (spec.deletes === null || extraneous.length === 0) return;
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM extraneous").one();
    for (const { key, etag } of extraneous.slice(0, Math.max(0, spec.deletes.max + 1 - n))) {
      this.#sql.exec("INSERT OR REPLACE INTO extraneous (key, etag) VALUES (?, ?)", key, etag);
    }
  }

  #addBatches(items: readonly CopyItem[], tries: number, spec: MigrationSpec, dueAt: number, now: number): void {
    const type = spec.task === "copy" ? "copy" : "read";
    for (const some of packItems(items)) {
      const message = { v: 1 as const, migration: spec.id, type, tries, items: some.map(sentItem) } as const;
      this.#dispatch.send(message, dueAt, now);
    }
  }

  #isFull(): boolean {
    if ((this.#ledger.run?.waiting ?? 0) > UPLOADS_WAITING_MAX) return true;
    return this.#dispatch.outbox.isFull(MESSAGES_IN_FLIGHT_MAX);
  }
}

const orNull = (counts: object): string | null => (Object.keys(counts).length === 0 ? null : JSON.stringify(counts));

const total = (items: readonly { size: number }[]): number => items.reduce((sum, { size }) => sum + size, 0);
