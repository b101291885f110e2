import { within } from "../../workers/adapters/within.ts";
import { failure } from "../../workers/core/failure.ts";
import { fail, ok, type Result } from "../../workers/core/result.ts";
import type { ObjectBody } from "../../workers/ports/object-store.ts";

/** Bodies up to this size are held in memory where they are looked at. */
export const HELD_MAX_BYTES = 1024 * 1024;
/** Milliseconds that the body of one may take. */
const SILENCE_MS = 60_000;

/**
 * Reads a small body; more bytes than were announced the runtime does not let through. Fails with `source-truncated`.
 */
export async function readAll({ body, length }: ObjectBody): Promise<Result<Uint8Array<ArrayBuffer>>> {
  const broke = (why: string) => fail(failure("source-truncated", `The body broke off: ${why}.`));
  try {
    const read = await within(SILENCE_MS, new Response(body).arrayBuffer());
    if (read === null) return broke("it took over a minute");
    if (read.byteLength !== length) return broke(`${read.byteLength} of ${length} announced bytes came`);
    return ok(new Uint8Array(read));
  } catch (error) {
    return broke(error instanceof Error ? error.message.replace(/\.$/, "") : String(error));
  }
}
