import { NOTHING_WAITED_FOR } from "../../core/read/server-timing.ts";

export type Header = [string, string];

/** The answer to a preflight: no request needs more, and it is kept for a day. */
export const PREFLIGHT: readonly Header[] = [
  ["access-control-allow-methods", "GET, HEAD, OPTIONS"],
  [
    "access-control-allow-headers",
    "authorization, range, if-match, if-none-match, if-modified-since, if-unmodified-since, if-range, cache-control, pragma",
  ],
  ["access-control-max-age", "86400"],
  ["server-timing", NOTHING_WAITED_FOR],
];

const EXPOSED: Header = [
  "access-control-expose-headers",
  "accept-ranges, cache-status, content-encoding, content-length, content-range, etag, last-modified, retry-after, server-timing",
];

/** What lets any page read an answer of the data plane, and its timing. */
export const ANY_ORIGIN: readonly Header[] = [
  ["access-control-allow-origin", "*"],
  EXPOSED,
  ["timing-allow-origin", "*"],
];

/** What lets pages of the configured origins read an answer of the data plane, and its timing. */
export function corsHeaders(corsOrigins: readonly string[], headers: Headers): readonly Header[] {
  if (corsOrigins.includes("*")) return ANY_ORIGIN;
  const origin = headers.get("origin");
  const vary: Header = ["vary", "origin"];
  if (origin === null || !corsOrigins.includes(origin)) return [vary];
  return [["access-control-allow-origin", origin], EXPOSED, ["timing-allow-origin", origin], vary];
}
