import type { Row } from "../../workers/core/manifest/row.ts";
import {
  type SentManifestMessage,
  type SentMigrationMessage,
  sentRows,
  type Unsent,
} from "../../workers/core/migration/message.ts";
import { packRows } from "../../workers/core/migration/pack.ts";
import type { MigrationSpec } from "../../workers/core/migration/status.ts";
import type { Outbox } from "../outbox.ts";
import type { Ledger } from "./ledger.ts";

/** Operations that a message costs each time it is sent: a write, a read and a delete (Queues pricing). */
const OPERATIONS_A_SEND = 3;

/** What one run puts into its outbox, and the counting of what that costs. */
export class Dispatch {
  readonly outbox: Outbox;
  readonly #ledger: Ledger;

  constructor(outbox: Outbox, ledger: Ledger) {
    this.outbox = outbox;
    this.#ledger = ledger;
  }

  /** `dueAt` in milliseconds since 1970; null holds the message back until `outbox.release`. */
  send(message: Unsent<SentMigrationMessage>, dueAt: number | null, now: number): number {
    return this.outbox.add("migration", message, dueAt, now);
  }

  /** Sends rows to the manifest, as many messages as they need. */
  publish(rows: readonly Row[], spec: MigrationSpec, now: number): void {
    const { dataset, datasetId } = spec;
    const sender = { kind: "migration" as const, id: spec.id };
    for (const some of packRows(rows)) {
      const message = { v: 1, type: "rows", dataset, datasetId, sender, ...sentRows(some) } as const;
      this.outbox.add("manifest", message satisfies Unsent<SentManifestMessage>, now, now);
    }
  }

  /** Takes a message off whose work is settled. */
  close(seq: number, now: number): void {
    const sends = this.outbox.settle(seq);
    if (sends !== null && sends > 0) this.#ledger.addOperations({ queue: OPERATIONS_A_SEND * sends }, now);
  }
}
