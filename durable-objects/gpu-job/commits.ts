import type { datasetOf } from "../../workers/adapters/objects.ts";
import { covers } from "../../workers/core/capability/scope.ts";
import { type JobSpec, outputScope } from "../../workers/core/jobs/job.ts";
import { packRetired, type SentRetireMessage } from "../../workers/core/jobs/retire-message.ts";
import type { Row } from "../../workers/core/manifest/row.ts";
import { type SentManifestMessage, sentRows, type Unsent } from "../../workers/core/migration/message.ts";
import { packRows } from "../../workers/core/migration/pack.ts";
import { ok, type Result } from "../../workers/core/result.ts";
import type { Outbox } from "../outbox.ts";
import type { JobOutputs } from "./job-outputs.ts";
import type { Found, Retired } from "./outputs.ts";

/** Commits outputs, and has the manifest say so: by messages that are written in the same transaction. */
export class Commits {
  readonly #outputs: JobOutputs;
  readonly #outbox: Outbox;

  constructor(outputs: JobOutputs, outbox: Outbox) {
    this.#outputs = outputs;
    this.#outbox = outbox;
  }

  /**
   * Does `commit` while no version begins, if it commits a checkpoint: as soon as that is done, a notification or a walk may
   * write a row of it, before its first message does. Held until the last of its messages is settled.
   */
  async whileHeld<T>(
    dataset: ReturnType<typeof datasetOf>,
    spec: JobSpec,
    found: readonly Found[],
    commit: (hold: string) => Promise<T>,
  ): Promise<T> {
    const hold = `${spec.id}/commit/${crypto.randomUUID()}`;
    const known = this.#outputs.of(found.map(({ row }) => row.key));
    if (!known.some(({ checkpoint, state }) => checkpoint !== null && state === "announced")) return commit(hold);
    await dataset.holdSealing(spec.datasetId, hold);
    try {
      return await commit(hold);
    } finally {
      if (!this.#outbox.hasHold(hold)) await dataset.releaseSealing(hold);
    }
  }

  /**
   * Commits what was found in the bucket, with whole checkpoints. Call inside a transaction.
   *
   * A checkpoint comes, and goes, by as many messages as it takes: while some of them are settled and others not, `hold` keeps
   * versions from being sealed with half of it.
   */
  commit(spec: JobSpec, found: readonly Found[], hold: string, now: number): Result<null> {
    const committed = this.#outputs.commit(found, spec.checkpoints.keep, now);
    if (!committed.ok) return committed;
    const { fresh, checkpoints, retired } = committed.value;
    this.#sendRows(spec, fresh, checkpoints.length === 0 ? {} : { hold }, now);
    this.#sendRetired(spec, retired, { hold: `${hold}/retired` }, now);
    return ok(null);
  }

  #sendRows(spec: JobSpec, rows: readonly Row[], group: { hold?: string }, now: number): void {
    for (const some of packRows([...rows])) {
      const { datasetName: dataset, datasetId } = spec;
      const sender = { kind: "job" as const, id: spec.id };
      const message = { v: 1, type: "rows", dataset, datasetId, sender, ...sentRows(some), ...group } as const;
      this.#outbox.add("manifest", message satisfies Unsent<SentManifestMessage>, now, now);
    }
  }

  #sendRetired(spec: JobSpec, retired: readonly Retired[], group: { hold: string }, now: number): void {
    const own = outputScope(spec);
    // Whatever the rows say: outside of its prefix a job deletes nothing.
    const items = retired.filter(({ key }) => own !== null && covers(own, key));
    for (const some of packRetired(items)) {
      const { datasetName: dataset, datasetId, id: job } = spec;
      const sent = some.map(({ key, etag, generation }): [string, string, number] => [key, etag, generation]);
      const message = { v: 1, type: "retire", job, dataset, datasetId, items: sent, ...group } as const;
      this.#outbox.add("manifest", message satisfies Unsent<SentRetireMessage>, now, now);
    }
  }
}
