import type { Failure } from "../../workers/core/failure.ts";
import { BATCHES_IN_FLIGHT_MAX } from "../../workers/core/limits.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { planSeconds, triesMax } from "../../workers/core/migration/backoff.ts";
import type { CopyItem, CopyMessage, ListMessage, UploadMessage } from "../../workers/core/migration/message.ts";
import { pack } from "../../workers/core/migration/pack.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Dispatch } from "./dispatch.ts";
import type { KeyFailure, Ledger } from "./ledger.ts";
import type { Uploads } from "./uploads.ts";

/** Objects and bytes of one copy message: what a consumer copies well within its life. */
const COPY_KEYS_MAX = 500;
const COPY_BYTES_MAX = 1024 ** 3;

export interface ListedPage {
  after: string | null;
  upTo: string | null;
  isLast: boolean;
  skipped: { objects: number; bytes: number };
  /** Objects found equal that the manifest does not know yet. */
  found: Row[];
  small: CopyItem[];
  large: CopyItem[];
  failures: (KeyFailure & { size: number })[];
}

export interface BatchOutcome {
  copied: Row[];
  /** Bytes that the copied objects have more than was listed: they changed at the source meanwhile. */
  grownBytes: number;
  failures: KeyFailure[];
  /** Objects whose failure may pass; tried again in a batch of their own. */
  again: { item: CopyItem; failure: Failure }[];
  /** Objects that the consumer had no time for; no try of theirs is burnt. */
  late: CopyItem[];
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

  /** Records a page, hands out what must be copied, and goes on with the listing. */
  record(seq: number, page: ListedPage, spec: MigrationSpec, now: number): void {
    this.#sql.exec(
      "INSERT INTO page VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      seq,
      page.after ?? "",
      page.upTo,
      page.isLast ? 1 : 0,
      page.skipped.objects,
      page.skipped.bytes,
      page.failures.length,
      total(page.failures),
    );
    this.#ledger.addFailures(page.failures);
    this.#dispatch.publish(page.found, spec, now);
    this.#addBatches(page.small, page.after ?? "", 0, spec, now);
    this.#uploads.plan(page.large);
    for (const item of page.large) {
      this.#dispatch.send<UploadMessage>({ v: 1, migration: spec.id, type: "upload", generation: 1, item }, now);
    }
    if (page.isLast) {
      this.#ledger.setState("copying", now);
      return;
    }
    // Held back while enough is in flight: the outbox, which holds the keys in flight, stays small.
    const dueAt = this.#isFull() ? null : now;
    this.#dispatch.send<ListMessage>({ v: 1, migration: spec.id, type: "list", after: page.upTo }, dueAt);
  }

  /**
   * Settles a batch once. What must be tried again leaves it for a batch of its own, so that sums over batches stay
   * exact; after too many tries it stays, as failures.
   */
  settle(id: number, outcome: BatchOutcome, spec: MigrationSpec, now: number): void {
    const batch = this.#sql
      .exec<{ after: string; tries: number }>("SELECT after, tries FROM batch WHERE id = ? AND settled = 0", id)
      .toArray()[0];
    if (batch === undefined) return;
    const tries = batch.tries + 1;
    const isOver = ({ failure }: { failure: Failure }) => tries >= triesMax(failure.code);
    const again = outcome.again.filter((tried) => !isOver(tried)).map(({ item }) => item);
    const givenUp = outcome.again.filter(isOver).map(({ item, failure }) => ({ key: item.key, failure }));
    const failures = [...outcome.failures, ...givenUp];
    const moved = [...again, ...outcome.late];
    this.#sql.exec(
      `UPDATE batch SET settled = 1, objects = objects - ?, bytes = bytes + ?, copied_objects = ?, copied_bytes = ?,
         failed_objects = ?, proofs = ? WHERE id = ?`,
      moved.length,
      outcome.grownBytes - total(moved),
      outcome.copied.length,
      total(outcome.copied),
      failures.length,
      JSON.stringify(countProofs(outcome.copied)),
      id,
    );
    this.#ledger.addFailures(failures);
    this.#dispatch.publish(outcome.copied, spec, now);
    const asked = outcome.again.map(({ failure }) => failure.retryAfterSeconds ?? 0);
    this.#addBatches(again, batch.after, tries, spec, now + Math.max(planSeconds(tries), ...asked) * 1000);
    this.#addBatches(outcome.late, batch.after, batch.tries, spec, now);
  }

  /** Lets the listing go on where enough was settled, by whatever kind of message. */
  goOn(now: number): void {
    if (!this.#isFull()) this.#dispatch.outbox.release(now);
  }

  #addBatches(items: readonly CopyItem[], after: string, tries: number, spec: MigrationSpec, dueAt: number): void {
    let from = after;
    for (const some of pack(items, { items: COPY_KEYS_MAX, weight: COPY_BYTES_MAX }, ({ size }) => size)) {
      const upTo = some.at(-1)?.key ?? from;
      const { id } = this.#sql
        .exec<{ id: number }>(
          "INSERT INTO batch (after, up_to, tries, objects, bytes) VALUES (?, ?, ?, ?, ?) RETURNING id",
          from,
          upTo,
          tries,
          some.length,
          total(some),
        )
        .one();
      this.#dispatch.send<CopyMessage>(
        { v: 1, migration: spec.id, type: "copy", batch: id, tries, items: some },
        dueAt,
      );
      from = upTo;
    }
  }

  #isFull(): boolean {
    return this.#dispatch.outbox.isFull(BATCHES_IN_FLIGHT_MAX);
  }
}

function countProofs(rows: readonly Row[]): Partial<Record<Proof, number>> {
  const proofs: Partial<Record<Proof, number>> = {};
  for (const { proof } of rows) if (proof !== null) proofs[proof] = (proofs[proof] ?? 0) + 1;
  return proofs;
}

const total = (items: readonly { size: number }[]): number => items.reduce((sum, { size }) => sum + size, 0);
