import * as z from "zod";
import { decodeBase64Url, encodeBase64Url } from "../core/capability/jwt.ts";

/** A cursor is opaque: the last key of the page before, in base64url. */
export const formatCursor = (after: string): string => encodeBase64Url(new TextEncoder().encode(after));

export const cursorSchema = z.string().transform((text, ctx): string => {
  const bytes = decodeBase64Url(text);
  if (bytes !== undefined) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
    } catch {
      // Not ours; refused below.
    }
  }
  ctx.addIssue({ code: "custom", message: "is not a cursor that was given out" });
  return z.NEVER;
});

/** `limit` and `cursor`, as every list takes them. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  cursor: cursorSchema.optional(),
};
