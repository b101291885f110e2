import { failure } from "../../workers/core/failure.ts";
import type { JobSpec } from "../../workers/core/jobs/job.ts";
import { checkHashed, checkLooks, checkNamed } from "../../workers/core/jobs/outputs.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import { type Checkpoint, Checkpoints, type CheckpointSummary } from "./checkpoints.ts";
import { type CleanPlace, Cleanup } from "./cleanup.ts";
import { type Announced, type Found, type KnownOutput, type Output, Outputs, type Retired } from "./outputs.ts";

/** What is to be committed; null: outputs of no checkpoint. */
export interface ToCommit {
  outputs: KnownOutput[];
  checkpoint: Checkpoint | null;
}

/**
 * What a job puts: its outputs, the checkpoints that they belong to, and what R2 is to be rid of. Whoever calls is in a
 * transaction, but for `clean`.
 */
export class JobOutputs {
  readonly #outputs: Outputs;
  readonly #checkpoints: Checkpoints;
  readonly #cleanup: Cleanup;

  static readonly SCHEMA = [Outputs.SCHEMA, Checkpoints.SCHEMA, Cleanup.SCHEMA];

  constructor(sql: SqlStorage) {
    this.#outputs = new Outputs(sql);
    this.#checkpoints = new Checkpoints(sql);
    this.#cleanup = new Cleanup(sql);
  }

  get counts(): { announced: number; committed: number } {
    return this.#outputs.counts;
  }

  of(keys: readonly string[]): KnownOutput[] {
    return this.#outputs.of(keys);
  }

  announcePuts(outputs: readonly Output[]): Result<number[]> {
    return this.#outputs.announcePuts(outputs);
  }

  announce(outputs: readonly Announced[], checkpoint: string | null): Result<KnownOutput[]> {
    if (checkpoint === null) return this.#outputs.announce(outputs, null);
    const begun = this.#checkpoints.begin(checkpoint);
    const announced = begun.ok ? this.#outputs.announce(outputs, checkpoint) : begun;
    if (!announced.ok) return announced;
    // It is committed by one request, which asks, reads and names so much and no more.
    const all = this.#outputs.ofCheckpoint(checkpoint);
    const wayOut = "Make several checkpoints of it, or announce it without.";
    const tooMuch = checkHashed(all) ?? checkLooks(all, wayOut) ?? checkNamed(all, wayOut);
    return tooMuch === null ? announced : fail(tooMuch);
  }

  recordUpload(key: string, generation: number, uploadId: string): Result<string> {
    return this.#outputs.recordUpload(key, generation, uploadId);
  }

  /** An upload that nobody wants is to be aborted. */
  dropUpload(key: string, uploadId: string, now: number): void {
    this.#cleanup.add(key, uploadId, null, now);
  }

  /** The outputs of these keys, or all of a checkpoint, with those that are committed already. */
  toCommit(keys: readonly string[], checkpoint: string | null): Result<ToCommit> {
    if (checkpoint === null) {
      const outputs = this.#outputs.wanted(keys);
      return outputs.ok ? ok({ outputs: outputs.value, checkpoint: null }) : outputs;
    }
    const found = this.#checkpoints.find(checkpoint);
    return found.ok ? ok({ outputs: this.#outputs.ofCheckpoint(checkpoint), checkpoint: found.value }) : found;
  }

  /** What a finish has to look at: these outputs, or (null) all that are not committed. */
  toFinish(keys: readonly string[] | null): Result<KnownOutput[]> {
    return keys === null ? ok(this.#outputs.open) : this.#outputs.wanted(keys);
  }

  /**
   * Commits what was found, and the checkpoints that are whole with it; one that lacks an output is refused. Returns the
   * rows that are news, the checkpoints in their order, and what of older ones is one too many.
   */
  commit(
    found: readonly Found[],
    keep: number | null,
    now: number,
  ): Result<{ fresh: Row[]; checkpoints: string[]; retired: Retired[] }> {
    const committed = this.#outputs.commit(found);
    if (!committed.ok) return committed;
    const retired: Retired[] = [];
    for (const { key, uploadId } of committed.value.uploads) this.#cleanup.add(key, uploadId, null, now);
    const checkpoints = this.#checkpoints.inOrder(committed.value.checkpoints);
    for (const name of checkpoints) {
      const missing = this.#outputs.ofCheckpoint(name).find(({ state }) => state === "announced");
      if (missing !== undefined) {
        const detail = `"${missing.key}" was announced for the checkpoint "${name}" meanwhile; put it, and commit again.`;
        return fail(failure("output-missing", detail, { field: "checkpoint" }));
      }
      const old = this.#checkpoints.commit(name, keep, now);
      retired.push(...old.flatMap((each) => this.#outputs.retire(each)));
    }
    return ok({ fresh: committed.value.fresh, checkpoints, retired });
  }

  /** Gives up outputs that are not committed, of these keys or of a checkpoint; returns the keys. */
  abort(keys: readonly string[], checkpoint: string | null, now: number): Result<string[]> {
    const found = checkpoint === null ? ok(null) : this.#checkpoints.find(checkpoint);
    if (!found.ok) return found;
    const wanted = checkpoint === null ? [...keys] : this.#outputs.ofCheckpoint(checkpoint).map(({ key }) => key);
    const given = this.#outputs.abort(wanted, checkpoint);
    if (!given.ok) return given;
    for (const { key, uploadId, generation } of given.value) this.#cleanup.add(key, uploadId, generation, now);
    if (checkpoint !== null) this.#checkpoints.forget(checkpoint);
    return ok(wanted);
  }

  /** The job has ended: the uploads of outputs that will never be committed are to be aborted. */
  abandon(now: number): void {
    for (const { key, uploadId } of this.#outputs.abandon()) this.#cleanup.add(key, uploadId, null, now);
  }

  /**
   * Gives up what a job that has ended put at a key and never committed; R2 is cleaned of it. False where an object there is one
   * like any other.
   */
  giveUp(key: string, now: number): boolean {
    const given = this.#outputs.giveUp(key);
    if (given !== null) this.#cleanup.add(key, null, given.generation, now);
    return given !== null;
  }

  /** Outputs of old checkpoints that are deleted now, or stay and are no longer the job's. */
  settleRetired({ deleted, kept }: { deleted: readonly string[]; kept: readonly string[] }): void {
    this.#outputs.retired(deleted, "deleted");
    this.#outputs.retired(kept, "kept");
  }

  uncommittedAmong(objects: readonly { key: string; etag: string }[]): string[] {
    return this.#outputs.uncommittedAmong(objects);
  }

  checkpoints(): CheckpointSummary[] {
    return this.#checkpoints.list();
  }

  /** One that is committed, with its outputs; null: the latest. */
  checkpoint(name: string | null): Result<{ checkpoint: Checkpoint; outputs: KnownOutput[] }> {
    const found = name === null ? this.#checkpoints.latest() : this.#checkpoints.find(name);
    if (!found.ok) return found;
    const { name: called, committedAt } = found.value;
    if (committedAt === null) {
      return fail(failure("unknown-checkpoint", `The checkpoint "${called}" is not committed as yet.`));
    }
    return ok({ checkpoint: { name: called, committedAt }, outputs: this.#outputs.ofCheckpoint(called) });
  }

  /** When R2 is to be cleaned next, milliseconds since 1970. */
  get nextDueAt(): number | null {
    return this.#cleanup.nextDueAt;
  }

  /** What was being cleaned when the object was evicted is done again. */
  cleanAgain(): void {
    this.#cleanup.unclaim();
  }

  /** @param place null: the bucket's binding is not there */
  async clean(spec: JobSpec, place: Pick<CleanPlace, "store" | "manifest"> | null, now: number): Promise<void> {
    const done: CleanPlace["done"] = (key, generation) => this.#outputs.aborted(key, generation);
    const kept: CleanPlace["kept"] = (key, generation, etag) => this.#outputs.sealed(key, generation, etag);
    await this.#cleanup.run(spec, place === null ? null : { ...place, done, kept }, now);
  }
}
