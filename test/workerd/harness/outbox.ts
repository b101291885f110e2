import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { migrationOf } from "../../../workers/adapters/objects.ts";
import type { MigrationMessage } from "../../../workers/core/migration/message.ts";
import type { TestRun } from "./run.ts";

/** A message that a run has not settled. */
export interface OutboxRow {
  seq: number;
  type: MigrationMessage["type"] | "rows";
  /** Milliseconds since 1970; null: it is held back. */
  dueAt: number | null;
  sends: number;
  /** As it was added. */
  body: string;
}

/** What a run has not settled, in the order in which it was added. */
export const unsettled = (run: TestRun): Promise<OutboxRow[]> =>
  runInDurableObject(migrationOf(env, run.id), (_, { storage }) =>
    storage.sql
      .exec<Record<string, SqlStorageValue> & OutboxRow>(
        "SELECT seq, type, due_at AS dueAt, sends, body FROM outbox ORDER BY seq",
      )
      .toArray(),
  );
