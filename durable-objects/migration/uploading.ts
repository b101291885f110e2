import type { Failure } from "../../workers/core/failure.ts";
import { MESSAGES_IN_FLIGHT_MAX } from "../../workers/core/limits.ts";
import type { Proof, Row } from "../../workers/core/manifest/row.ts";
import { isNoTry, triesMax, TURN_SECONDS, waitMs } from "../../workers/core/migration/backoff.ts";
import {
  type CopyItem,
  type FinishMessage,
  type PartMessage,
  sentItem,
  type UploadMessage,
} from "../../workers/core/migration/message.ts";
import { type PartPlan, partRange } from "../../workers/core/migration/parts.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Dispatch } from "./dispatch.ts";
import type { Ledger } from "./ledger.ts";
import { type Claim, PART_MESSAGE_BYTES, type SentPart, type Upload, type Uploads } from "./uploads.ts";

export interface OpenedUpload {
  /** "" for one that is read back, not written. */
  uploadId: string;
  plan: PartPlan;
  /** As the source lists it now: it may have changed since the listing. */
  item: CopyItem;
  /** "" where its ETag says nothing of what its parts are read as. */
  readAs?: string;
}

/** An object that is to be started again. */
export interface Restart {
  item: CopyItem;
  /** The multipart ETag that its parts make up as they were read, where that is in doubt; another reading tells. */
  readAs?: string | null;
}

/** What a finished object is: its proof and R2's ETag, and the manifest's row of it where there is something new to say. */
export interface FinishedUpload {
  proof: Proof;
  etag: string;
  row: Row | null;
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

  /** Begins with those for which there is room. */
  startWaiting(spec: MigrationSpec, now: number): void {
    if ((this.#ledger.run?.waiting ?? 0) === 0) return;
    const started = this.#uploads.startWaiting(MESSAGES_IN_FLIGHT_MAX);
    this.#ledger.addWaiting(-started.length);
    for (const { item, generation } of started) {
      this.#send(spec, item, generation, now, now);
    }
  }

  /** Records an upload and hands out its parts; false where another was first. */
  open(generation: number, opened: OpenedUpload, spec: MigrationSpec, now: number): boolean {
    const { key } = opened.item;
    if (!this.#uploads.start(key, generation, opened)) return false;
    const { partBytes, parts } = opened.plan;
    const perMessage = Math.max(1, Math.floor(PART_MESSAGE_BYTES / partBytes));
    for (let first = 1; first <= parts; first += perMessage) {
      const last = Math.min(first + perMessage - 1, parts);
      this.#dispatch.send({ v: 1, migration: spec.id, type: "part", key, generation, first, last }, now, now);
    }
    return true;
  }

  /** Settles a part; with the last one of the upload, its finish is handed out. */
  settlePart(message: PartMessage, claim: Claim, part: SentPart, now: number): void {
    const { key, generation, first, last, seq, migration } = message;
    const upload = this.#uploads.find(key, generation);
    if (upload?.state !== "open" || !this.#dispatch.outbox.isOpen(seq)) return;
    if (this.#uploads.settlePart(key, claim, part)) {
      const { start, end } = partRange(upload.plan, upload.item.size, claim.number);
      this.#ledger.addPace(0, end - start + 1, now);
      this.#dispatch.outbox.progress(seq);
    }
    if (this.#uploads.settledIn(key, first, last) < last - first + 1) return;
    this.#dispatch.close(seq, now);
    if (this.#uploads.settledIn(key, 1, upload.plan.parts) < upload.plan.parts) return;
    this.#uploads.setFinishing(key);
    this.#dispatch.send({ v: 1, migration, type: "finish", key, generation }, now, now);
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
    else if (isNoTry(problem.code)) outbox.postpone(seq, now + TURN_SECONDS * 1000, 0);
    else if (tries + 1 >= triesMax(problem.code)) this.#fail(upload, problem, now);
    else outbox.postpone(seq, now + waitMs(tries + 1, problem), 1);
  }

  /** The object is whole; also where the run was cancelled while it was completed. */
  finish(message: FinishMessage, finished: FinishedUpload, spec: MigrationSpec, now: number): void {
    const upload = this.#uploads.find(message.key, message.generation);
    if (upload?.state !== "finishing" && upload?.state !== "abandoned") return;
    this.#uploads.end(message.key, "copied", finished.proof, finished.etag);
    this.#ledger.addPace(1, 0, now);
    if (finished.row !== null) this.#dispatch.publish([finished.row], spec, now);
  }

  /**
   * Starts the object again as a new generation, or records its failure: where `restart` says that it is of no use, and
   * after too many tries.
   */
  giveUp(
    message: UploadMessage | PartMessage | FinishMessage,
    problem: Failure,
    restart: Restart | null,
    now: number,
  ): void {
    const key = message.type === "upload" ? message.item.key : message.key;
    const { spec } = this.#ledger;
    const upload = this.#uploads.find(key, message.generation);
    if (spec === null || upload === null || !UNFINISHED.has(upload.state)) return;
    if (!this.#dispatch.outbox.isOpen(message.seq)) return;
    if (isNoTry(problem.code)) {
      this.#dispatch.outbox.postpone(message.seq, now + TURN_SECONDS * 1000, 0);
      return;
    }
    if (restart === null || upload.generation >= triesMax(problem.code)) {
      this.#fail(upload, problem, now);
      return;
    }
    this.#abandon(upload, now);
    this.#uploads.restart(key, restart.item, restart.readAs ?? null);
    this.#send(spec, restart.item, upload.generation + 1, now + waitMs(upload.generation, problem), now);
  }

  /** The run has ended before its work: what R2 holds open is aborted. */
  abandonAll(spec: MigrationSpec, now: number): void {
    for (const { key, uploadId } of this.#uploads.open) this.abort(spec, key, uploadId, now);
    this.#uploads.abandonAll();
    this.#ledger.addWaiting(-(this.#ledger.run?.waiting ?? 0));
  }

  #send(spec: MigrationSpec, item: CopyItem, generation: number, dueAt: number, now: number): void {
    const message = { v: 1 as const, migration: spec.id, type: "upload" as const, generation, item: sentItem(item) };
    this.#dispatch.send(message, dueAt, now);
  }

  #fail(upload: Upload, problem: Failure, now: number): void {
    this.#abandon(upload, now);
    this.#uploads.end(upload.item.key, "failed", null, null);
    this.#ledger.addFailures([{ key: upload.item.key, failure: problem }], false);
  }

  /** Takes the upload's messages off, and has R2's side of it aborted. */
  #abandon(upload: Upload, now: number): void {
    const { spec } = this.#ledger;
    if (spec === null) return;
    const { key } = upload.item;
    for (const seq of this.#uploads.messagesOf(key, upload.generation)) this.#dispatch.close(seq, now);
    if (upload.uploadId !== "") this.abort(spec, key, upload.uploadId, now);
  }

  /** Has R2 abort an upload; "" is none. */
  abort(spec: MigrationSpec, key: string, uploadId: string, now: number): void {
    if (uploadId !== "") this.#dispatch.send({ v: 1, migration: spec.id, type: "abort", key, uploadId }, now, now);
  }
}

const UNFINISHED: ReadonlySet<string> = new Set(["planned", "open", "finishing"]);
