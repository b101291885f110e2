import { migrationOf } from "../../adapters/objects.ts";
import type { MigrationStatus } from "../../core/migration/status.ts";
import { type Ctx, refuse } from "../context.ts";
import { streamOf } from "../stream-of.ts";
import { findMigration } from "./migrations.ts";

/** Milliseconds from one look at the run to the next. */
const LOOK_MS = 1000;
/** Looks without news after which a comment keeps the connection. */
const QUIET_LOOKS = 15;
/** Looks of one answer, each at most two subrequests, of the 10,000 that an invocation may make. */
const LOOKS_MAX = 4500;
/** Milliseconds after which a client asks anew. */
const RETRY_MS = 2000;
/** The id of the last event. Who comes back with it is told that there is nothing more to come. */
const END = "end";

/**
 * `GET /v1/migrations/:id/events`: server-sent events (HTML, section 9.2). `status` at once and on every change, and `end`
 * with the last one: of a run that was cancelled or has failed, once what its consumers had begun is settled. An answer
 * that ends, or breaks off, without an `end` is asked for again.
 */
export async function events(c: Ctx): Promise<Response> {
  const found = await findMigration(c);
  if (!found.ok) return refuse(c, found.failure);
  // An EventSource comes back after every end, until it is told 204.
  if (c.req.header("last-event-id") === END) return new Response(null, { status: 204 });
  const migration = migrationOf(c.env, found.value.id);
  const run: Run = {
    look: async () => {
      const status = await migration.status();
      return status.ok ? status.value : null;
    },
    isSettled: async () => migration.isSettled(),
  };
  const body = streamOf((gone) => follow(found.value, run, gone));
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream",
      // What is compressed on its way is held back until there is enough of it.
      "cache-control": "no-store, no-transform",
      "x-content-type-options": "nosniff",
      "x-accel-buffering": "no",
      "x-request-id": c.get("requestId"),
    },
  });
}

interface Run {
  look(): Promise<MigrationStatus | null>;
  isSettled(): Promise<boolean>;
}

/** What one client is told. A look that fails ends it, and the client comes back. */
async function* follow(
  first: MigrationStatus,
  { look, isSettled }: Run,
  gone: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  yield encode(`retry: ${RETRY_MS}\n\n`);
  let [sent, quiet] = ["", 0];
  let status: MigrationStatus | null = first;
  let isLast = false;
  for (let looks = 0; status !== null && looks < LOOKS_MAX; looks++) {
    const data = JSON.stringify(status);
    if (data !== sent) {
      yield event("status", status.updatedAt, data);
      [sent, quiet] = [data, 0];
    } else if (++quiet % QUIET_LOOKS === 0) yield encode(": nothing new\n\n");
    if (isLast) return yield event("end", END, data);
    // What was settled before the run was asked whether all is, the next look shows.
    isLast = status.finishedAt !== null && (await isSettled().catch(() => false));
    if (!isLast) await scheduler.wait(LOOK_MS, { signal: gone });
    status = await look().catch(() => null);
  }
}

/** JSON has no line ends of its own. */
const event = (name: string, id: string, data: string): Uint8Array =>
  encode(`event: ${name}\nid: ${id}\ndata: ${data}\n\n`);

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
