import type { Failure } from "../../workers/core/failure.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { triesMax, waitMs } from "../../workers/core/migration/backoff.ts";
import type {
  AbortMessage,
  CopyItem,
  FinishMessage,
  PartMessage,
  UploadMessage,
} from "../../workers/core/migration/message.ts";
import type { PartPlan } from "../../workers/core/migration/parts.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Ledger } from "./ledger.ts";
import type { Claim, Upload, Uploads } from "./uploads.ts";

/** Bytes of one part message: what a consumer carries well within its life. */
const PART_MESSAGE_BYTES = 512 * 1024 ** 2;

export interface OpenedUpload {
  uploadId: string;
  plan: PartPlan;
  /** As the source lists it now: it may have changed since the listing. */
  item: CopyItem;
}

/** What becomes of an object that is copied in parts. Every method runs inside the caller's transaction. */
export class Uploading {
  readonly #ledger: Ledger;
  readonly #uploads: Uploads;
  readonly #dispatch: Dispatch;

  constructor(ledger: Ledger, uploads: Uploads, dispatch: Dispatch) {
    this.#ledger = ledger;
    this.#uploads = uploads;
    this.#dispatch = dispatch;
  }

  /** Records an upload and hands out its parts; false where another was first. */
  open(generation: number, opened: OpenedUpload, spec: MigrationSpec, now: number): boolean {
    const { key } = opened.item;
    if (!this.#uploads.start(key, generation, opened)) return false;
    const { partBytes, parts } = opened.plan;
    const perMessage = Math.max(1, Math.floor(PART_MESSAGE_BYTES / partBytes));
    for (let first = 1; first <= parts; first += perMessage) {
      const last = Math.min(first + perMessage - 1, parts);
      this.#dispatch.send<PartMessage>({ v: 1, migration: spec.id, type: "part", key, generation, first, last }, now);
    }
    return true;
  }

  /** Settles a part; with the last one of the upload, its finish is handed out. */
  settlePart(message: PartMessage, claim: Claim, part: { etag: string; md5: string }, now: number): void {
    const { key, generation, first, last, seq, migration } = message;
    const upload = this.#uploads.find(key, generation);
    if (upload?.state !== "open" || !this.#dispatch.outbox.isOpen(seq)) return;
    if (this.#uploads.settlePart(key, claim, part.etag, part.md5)) this.#dispatch.outbox.progress(seq);
    if (this.#uploads.settledIn(key, first, last) < last - first + 1) return;
    this.#dispatch.close(seq, now);
    if (this.#uploads.settledIn(key, 1, upload.plan.parts) < upload.plan.parts) return;
    this.#uploads.setFinishing(key);
    this.#dispatch.send<FinishMessage>({ v: 1, migration, type: "finish", key, generation }, now);
  }

  /** Takes parts back that were not sent; the object fails when its message made no progress for too many tries. */
  release(message: PartMessage, claims: readonly Claim[], problem: Failure | null, now: number): void {
    const { key, generation, seq } = message;
    const { outbox } = this.#dispatch;
    const upload = this.#uploads.find(key, generation);
    const tries = outbox.triesOf(seq);
    if (tries === null || upload?.state !== "open") return;
    this.#uploads.release(key, claims);
    if (problem === null) outbox.postpone(seq, now, 0);
    else if (tries + 1 >= triesMax(problem.code)) this.#fail(upload, problem, now);
    else outbox.postpone(seq, now + waitMs(tries + 1, problem), 1);
  }

  finish(message: FinishMessage, row: Row, spec: MigrationSpec, now: number): void {
    if (this.#uploads.find(message.key, message.generation)?.state !== "finishing") return;
    this.#uploads.end(message.key, "copied", row.proof);
    this.#dispatch.publish([row], spec, now);
  }

  /** Starts the object again as a new generation where `restart` is given, and fails it otherwise. */
  giveUp(
    message: UploadMessage | PartMessage | FinishMessage,
    problem: Failure,
    restart: { item: CopyItem } | null,
    now: number,
  ): void {
    // Work that another delivery has settled, or whose run has failed meanwhile, ends nothing.
    if (!this.#dispatch.outbox.isOpen(message.seq)) return;
    const key = message.type === "upload" ? message.item.key : message.key;
    const upload = this.#uploads.find(key, message.generation);
    if (upload === null || upload.state === "copied" || upload.state === "failed") return;
    if (restart === null || upload.generation >= triesMax(problem.code)) {
      this.#fail(upload, problem, now);
      return;
    }
    const { item } = restart;
    this.#abandon(upload, now);
    this.#uploads.restart(key, item);
    const generation = upload.generation + 1;
    const again = { v: 1 as const, migration: message.migration, type: "upload" as const, generation, item };
    this.#dispatch.send<UploadMessage>(again, now + waitMs(upload.generation, problem));
  }

  /** The run has failed: what R2 holds open is aborted. */
  abandonAll(spec: MigrationSpec, now: number): void {
    for (const { key, uploadId } of this.#uploads.open) this.#abort(spec, key, uploadId, now);
    this.#uploads.dropParts();
  }

  #fail(upload: Upload, problem: Failure, now: number): void {
    this.#abandon(upload, now);
    this.#uploads.end(upload.item.key, "failed", null);
    this.#ledger.addFailures([{ key: upload.item.key, failure: problem }]);
  }

  /** Takes the upload's messages off, and has R2's side of it aborted. */
  #abandon(upload: Upload, now: number): void {
    const { spec } = this.#ledger;
    if (spec === null) return;
    const { key } = upload.item;
    for (const seq of this.#uploads.messagesOf(key, upload.generation)) this.#dispatch.close(seq, now);
    if (upload.uploadId !== "") this.#abort(spec, key, upload.uploadId, now);
  }

  #abort(spec: MigrationSpec, key: string, uploadId: string, now: number): void {
    this.#dispatch.send<AbortMessage>({ v: 1, migration: spec.id, type: "abort", key, uploadId }, now);
  }
}
