import * as z from "zod";
import { type Failure, failure } from "../failure.ts";
import { compileGlobs, GLOB_MAX_CHARS, GLOBS_MAX } from "./glob.ts";

/** Which objects a migration is about. Keys are relative to the prefix on either side, and as their store spells them. */
export interface Filter {
  /** Of the keys; need not end in "/". */
  prefix: string;
  /** Globs, of which one at least matches. */
  include: readonly string[];
  /** Globs, of which none matches. */
  exclude: readonly string[];
  /** Both included. */
  minBytes: number | null;
  maxBytes: number | null;
  /** Milliseconds since 1970: the source's Last-Modified is that or later. */
  modifiedSince: number | null;
  storageClasses: readonly string[] | null;
}

/** Takes everything. */
export const NO_FILTER: Filter = {
  prefix: "",
  include: ["**"],
  exclude: [],
  minBytes: null,
  maxBytes: null,
  modifiedSince: null,
  storageClasses: null,
};

/** What an object is judged by. */
interface Judged {
  key: string;
  size: number;
  lastModified: number;
  storageClass?: string;
}

const problemOf = (globs: readonly string[]): string | null => {
  const compiled = compileGlobs(globs);
  return compiled.ok ? null : compiled.failure.detail;
};

const globSchema = z
  .string()
  .max(GLOB_MAX_CHARS)
  .superRefine((glob, ctx) => {
    const problem = problemOf([glob]);
    if (problem !== null) ctx.addIssue({ code: "custom", message: problem });
  });

/** Each is fine on its own; together they may be too long. */
export const globsSchema = z
  .array(globSchema)
  .max(GLOBS_MAX)
  .superRefine((globs, ctx) => {
    const problem = problemOf(globs);
    if (problem !== null) ctx.addIssue({ code: "custom", message: problem });
  });

const bytesSchema = z.number().int().nonnegative().nullable().default(null);

/** The fields of `POST /v1/migrations` that make a {@link Filter}; see {@link checkFilter} for what they say together. */
export const filterFields = {
  prefix: z
    .string()
    .max(1024)
    .refine((text) => text.isWellFormed() && !text.includes("\0"), "must be well-formed text without NUL")
    .default(NO_FILTER.prefix),
  include: globsSchema.min(1, 'names no glob, and would match nothing; leave it out for ["**"]').default(["**"]),
  exclude: globsSchema.default([]),
  minBytes: bytesSchema,
  maxBytes: bytesSchema,
  /** RFC 3339. */
  modifiedSince: z.iso
    .datetime({ offset: true, error: "must be a time as in RFC 3339, such as 2026-01-31T00:00:00Z" })
    .pipe(z.coerce.date())
    .transform((date) => date.getTime())
    .nullable()
    .default(null),
  storageClasses: z
    .array(z.string().regex(/^\w{1,64}$/, "must be a storage class, such as STANDARD_IA"))
    .min(1)
    .max(20)
    .nullable()
    .default(null),
};

/** What no object can pass is a mistake, and not a migration that has nothing to do. */
export function checkFilter({ minBytes, maxBytes }: Filter): Failure | null {
  if (minBytes === null || maxBytes === null || minBytes <= maxBytes) return null;
  return failure("invalid-body", `minBytes is ${minBytes} and maxBytes ${maxBytes}: no object is of that size.`, {
    field: "maxBytes",
  });
}

/** The question that a filter asks of each object. The filter has passed {@link filterFields}. */
export function compileFilter(filter: Filter): (object: Judged) => boolean {
  const hasKey = keyFilter(filter);
  const { minBytes, maxBytes, modifiedSince } = filter;
  const classes = filter.storageClasses === null ? null : new Set(filter.storageClasses.map(canonicalClass));
  return ({ key, size, lastModified, storageClass }) =>
    (minBytes === null || size >= minBytes) &&
    (maxBytes === null || size <= maxBytes) &&
    (modifiedSince === null || lastModified >= modifiedSince) &&
    (classes === null || classes.has(canonicalClass(storageClass ?? "STANDARD"))) &&
    hasKey(key);
}

/** The question that its prefix and globs ask of a key alone. */
export function keyFilter({ prefix, include, exclude }: Filter): (key: string) => boolean {
  const included = matcherOf(include);
  const excluded = exclude.length === 0 ? null : matcherOf(exclude);
  return (key) => key.startsWith(prefix) && included(key) && excluded?.(key) !== true;
}

/** Whether the key alone decides: what is gone from the source has no size or time there that could be asked. */
export const isKeyOnly = ({ minBytes, maxBytes, modifiedSince, storageClasses }: Filter): boolean =>
  minBytes === null && maxBytes === null && modifiedSince === null && storageClasses === null;

function matcherOf(globs: readonly string[]): (key: string) => boolean {
  const result = compileGlobs(globs);
  // They were checked when the migration was asked for.
  if (!result.ok) throw new Error(result.failure.detail);
  return result.value;
}

/** S3 leaves STANDARD out of a listing or says it; an R2 binding spells its classes in camel case. */
const canonicalClass = (name: string): string => name.toUpperCase();
