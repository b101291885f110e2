import { parseEtagList } from "../core/http/conditional.ts";
import type { Ctx } from "./context.ts";

/**
 * Headers of a list or document with a type of its own. With a tag, what the caller holds of that tag is good; without one it
 * has signed URLs in it, and is as secret as they are.
 */
export const documentHeaders = (c: Ctx, type: string, tag: string | null): Record<string, string> => ({
  "content-type": type,
  "x-content-type-options": "nosniff",
  "x-request-id": c.get("requestId"),
  ...(tag === null
    ? { "cache-control": "no-store" }
    : { etag: `W/"${tag}"`, "cache-control": "private, no-cache", vary: "authorization" }),
});

/** The answer to a request that holds what there is: 304 (RFC 9110, 13.1.2); null where it does not. */
export function unchanged(c: Ctx, tag: string | null, headers: Record<string, string>): Response | null {
  const held = c.req.header("if-none-match");
  if (tag === null || held === undefined) return null;
  const isHeld = held.trim() === "*" || parseEtagList(held).some((each) => each.tag === tag);
  return isHeld ? new Response(null, { status: 304, headers }) : null;
}
