import { migrationOf } from "../../adapters/objects.ts";
import { type Ctx, refuse } from "../context.ts";
import { eventStream } from "../event-stream.ts";
import { findMigration } from "./migrations.ts";

/**
 * `GET /v1/migrations/:id/events`: server-sent events. `status` at once and on every change, and `end` with the last one:
 * of a run that was cancelled or has failed, once what its consumers had begun is settled.
 */
export async function events(c: Ctx): Promise<Response> {
  const found = await findMigration(c);
  if (!found.ok) return refuse(c, found.failure);
  const migration = migrationOf(c.env, found.value.id);
  return eventStream(c, found.value, {
    look: async () => {
      const status = await migration.status();
      return status.ok ? status.value : null;
    },
    isOver: async ({ finishedAt }) => finishedAt !== null && migration.isSettled(),
    idOf: ({ updatedAt }) => updatedAt,
  });
}
