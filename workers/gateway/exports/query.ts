import * as z from "zod";
import { CAPABILITY_DEFAULT_SECONDS, PRESIGN_MAX_SECONDS } from "../../core/limits.ts";
import { wholeNumber } from "../paging.ts";

/** A root of the caller's own: the objects are expected under it by their keys. */
const base = z
  .string()
  .max(1024)
  .refine((text) => /^https?:\/\/[^/?#\s]+[^?#\s]*$/i.test(text) && URL.canParse(text), {
    error: "is not an http or https URL without query and fragment, such as https://data.example/cubes",
  })
  .transform((text) => text.replace(/\/+$/, ""));

const urls = {
  sign: z.enum(["edge"]).optional(),
  /** Seconds for which signed URLs are good. */
  expiresSeconds: wholeNumber(1, PRESIGN_MAX_SECONDS).default(CAPABILITY_DEFAULT_SECONDS),
  base: base.optional(),
};

const isEither = ({ sign, base: own }: { sign?: string | undefined; base?: string | undefined }): boolean =>
  sign === undefined || own === undefined;
const eitherRule = { error: "goes without sign: URLs are signed, or begin with a base of your own", path: ["base"] };

/** What Croissant wants to be told of a dataset and nobody has told us; without it the document has less. */
const said = z.string().min(1).max(1000).optional();

export const croissantQuery = z
  .strictObject({ ...urls, license: said, creator: said, citeAs: said })
  .refine(isEither, eitherRule);
export type CroissantQuery = z.output<typeof croissantQuery>;

export const stacQuery = z.strictObject(urls).refine(isEither, eitherRule);
export type StacQuery = z.output<typeof stacQuery>;

export const nothing = z.strictObject({});
