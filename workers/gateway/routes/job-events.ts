import { jobOf } from "../../adapters/objects.ts";
import { type Failure, failure } from "../../core/failure.ts";
import { type Ctx, refuse } from "../context.ts";
import { eventStream } from "../event-stream.ts";
import { apiTokenOf, namedJob } from "../jobs/named-job.ts";

/** Milliseconds for which the token of a job that has ended still hears of the end. */
const TOKEN_HEARS_END_MS = 60_000;

/**
 * `GET /v1/jobs/:id/events`: how the job stands, at once and on every change, until it has ended: as server-sent events, or
 * with `Upgrade: websocket` as a message each, of which no more than one comes in a second.
 */
export async function events(c: Ctx): Promise<Response> {
  const job = await namedJob(c);
  if (!job.ok) return refuse(c, job.failure);
  const stub = jobOf(c.env, job.value.id);
  const first = await stub.watch();
  if (!first.ok) return refuse(c, first.failure);
  const refused = revoked(c, first.value.endedAt);
  if (refused !== null) return refuse(c, refused);
  if (c.req.header("upgrade")?.toLowerCase() === "websocket") {
    // The object trusts the gateway, and learns nothing of who is there.
    const answered = await stub.fetch("https://job/events", { headers: { upgrade: "websocket" } });
    return answered.webSocket === null ? refuse(c, await answered.json<Failure>()) : answered;
  }
  return eventStream(c, first.value, {
    look: async () => {
      const summary = await stub.watch(true);
      return summary.ok ? summary.value : null;
    },
    isOver: async ({ endedAt }) => endedAt !== null,
  });
}

/** A job's token is revoked with its end, of which its nodes are to hear all the same. */
function revoked(c: Ctx, endedAt: string | null): Failure | null {
  if (apiTokenOf(c) !== null || endedAt === null || Date.now() < Date.parse(endedAt) + TOKEN_HEARS_END_MS) return null;
  return failure("revoked-token", "The job that the token belongs to has ended.");
}
