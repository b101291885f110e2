import type { Ctx } from "./context.ts";
import { streamOf } from "./stream-of.ts";

/** Milliseconds from one look to the next. */
const LOOK_MS = 1000;
/** Looks without news after which a comment keeps the connection. */
const QUIET_LOOKS = 15;
/** Looks of one answer, each at most two subrequests, of the 10,000 that an invocation may make. */
const LOOKS_MAX = 4500;
/** Milliseconds after which a client asks anew. */
const RETRY_MS = 2000;
/** The id of the last event. Who comes back with it is told that there is nothing more to come. */
const END = "end";

/** What is watched. */
export interface Subject<T> {
  /** How it stands now; null: it cannot be asked. */
  look(): Promise<T | null>;
  /** Whether nothing more will change. */
  isOver(seen: T): Promise<boolean>;
  /** The id of the event that says so, if it has one. */
  idOf?(seen: T): string;
}

/**
 * Server-sent events (HTML, section 9.2): `status` at once and on every change, and `end` with the last one. An answer that
 * ends, or breaks off, without an `end` is asked for again.
 */
export function eventStream<T>(c: Ctx, first: T, subject: Subject<T>): Response {
  // An EventSource comes back after every end, until it is told 204.
  if (c.req.header("last-event-id") === END) return new Response(null, { status: 204 });
  const body = streamOf((gone) => follow(first, subject, gone));
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

/** What one client is told. A look that fails ends it, and the client comes back. */
async function* follow<T>(
  first: T,
  { look, isOver, idOf }: Subject<T>,
  gone: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  yield encode(`retry: ${RETRY_MS}\n\n`);
  let [sent, quiet] = ["", 0];
  let seen: T | null = first;
  let isLast = false;
  for (let looks = 0; seen !== null && looks < LOOKS_MAX; looks++) {
    const data = JSON.stringify(seen);
    if (data !== sent) {
      yield event("status", idOf?.(seen), data);
      [sent, quiet] = [data, 0];
    } else if (++quiet % QUIET_LOOKS === 0) yield encode(": nothing new\n\n");
    if (isLast) return yield event("end", END, data);
    // What was settled before it was asked whether all is, the next look shows.
    isLast = await isOver(seen).catch(() => false);
    if (!isLast) await scheduler.wait(LOOK_MS, { signal: gone });
    seen = await look().catch(() => null);
  }
}

/** JSON has no line ends of its own. */
const event = (name: string, id: string | undefined, data: string): Uint8Array =>
  encode(`event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}data: ${data}\n\n`);

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
