import * as z from "zod";
import { decodeBase64Url, encodeBase64Url } from "../core/capability/jwt.ts";

/** A cursor is opaque: the last key of the page before, in base64url. */
export const formatCursor = (after: string): string => encodeBase64Url(new TextEncoder().encode(after));

/** A number of a query: decimal digits and nothing else. `Number` would read "", " 5", "0x10" and "1e3" too. */
export const wholeNumber = (least: number, most: number = Number.MAX_SAFE_INTEGER) =>
  z
    .string()
    .regex(/^[0-9]+$/, "is a whole number in decimal digits, such as 100")
    .transform(Number)
    .pipe(z.number().int().min(least).max(most));

export const cursorSchema = z.string().transform((text, ctx): string => {
  const bytes = decodeBase64Url(text);
  if (bytes !== undefined) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      // Not ours; refused below.
    }
  }
  ctx.addIssue({ code: "custom", message: "is not a cursor that was given out" });
  return z.NEVER;
});

/** `limit` and `cursor`, as every list takes them. */
export const pageQuery = {
  limit: wholeNumber(1, 1000).default(100),
  cursor: cursorSchema.optional(),
};
