import * as z from "zod";
import { overlaps } from "../capability/scope.ts";
import { type Failure, failure } from "../failure.ts";
import {
  ATTEMPTS_MAX,
  INPUT_KEYS_MAX,
  INPUT_SCOPES_MAX,
  NODES_MAX,
  PRESIGN_MAX_SECONDS,
  UNIT_MAX_BYTES,
} from "../limits.ts";
import { keySchema, nameSchema, prefixSchema } from "../manifest/dataset.ts";
import { globsSchema } from "../migration/filter.ts";
import { GLOB_MAX_CHARS, GLOBS_MAX } from "../migration/glob.ts";
import { namedValues } from "./named-values.ts";

/** `name`, `name@live`, `name@3` or `name@alias`. */
const datasetRefSchema = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9-]{0,62}(@([1-9]\d{0,8}|[a-z][a-z0-9-]{0,62}))?$/,
    "must be a dataset's name, or name@version",
  );

/** Along one dimension, as Python writes it: from `start` to before `stop`; either may be left out. */
const sliceSchema = z.string().regex(/^(\d{1,15})?:(\d{1,15})?$/, 'must be "start:stop", and either may be left out');

/** R2 keeps keys in Unicode NFC, and so does a version: in whatever spelling the input names them, scope, units and URLs say NFC. */
const inputKeySchema = keySchema.normalize("NFC");

/** Checked as they are in NFC, in which a glob may be longer, and a range of characters run backwards. */
const inputGlobsSchema = z.array(z.string().max(GLOB_MAX_CHARS).normalize("NFC")).max(GLOBS_MAX).pipe(globsSchema);

/** An array of a Zarr hierarchy: the folder of its metadata, without a slash at the end; "" is the dataset's root. */
const zarrSchema = z.strictObject({
  path: z
    .string()
    .max(512)
    .regex(/^$|[^/]$/, 'must not end in "/"')
    .normalize("NFC"),
  /** A slice for each dimension; all of the array, if absent. */
  select: z.array(sliceSchema).max(32).optional(),
});

/** What a job reads. An object that several of these name is read once. */
const inputSchema = z
  .strictObject({
    prefixes: z.array(prefixSchema).max(INPUT_SCOPES_MAX).default([]),
    globs: inputGlobsSchema.default([]),
    keys: z.array(inputKeySchema).max(INPUT_KEYS_MAX).default([]),
    /** JSONL objects whose records are handed out, not the whole. */
    records: z.array(inputKeySchema).max(INPUT_SCOPES_MAX).default([]),
    /** Arrays whose chunks (of a sharded array: shards) are handed out. */
    zarr: z.array(zarrSchema).max(INPUT_SCOPES_MAX).default([]),
  })
  .refine(
    (input) => Object.values(input).some((some) => some.length > 0),
    "names at least one of prefixes, globs, keys, records and zarr",
  );
export type JobInput = z.infer<typeof inputSchema>;

/** How the input is cut and handed out. */
const unitsSchema = z.strictObject({
  /** Bytes that a unit has, near enough: small objects and chunks are put together, large ones stay whole. */
  targetBytes: z
    .number()
    .int()
    .min(1)
    .max(UNIT_MAX_BYTES)
    .default(8 * 1024 * 1024),
  epochs: z.number().int().min(1).max(1_000_000).default(1),
  /** The order of an epoch depends on it, the epoch and the units, and on nothing else. */
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
  /** Whether the order is shuffled; else units come as their keys do. */
  shuffle: z.boolean().default(true),
  /** How long a node may have a unit. */
  leaseSeconds: z.number().int().min(10).max(86_400).default(900),
  /** How often a unit is handed out before it is given up and reported. */
  maxAttempts: z.number().int().min(1).max(ATTEMPTS_MAX).default(5),
});

const labelSchema = z.string().max(255);

/** The body of `POST /v1/jobs`. */
export const jobBodySchema = z
  .strictObject({
    name: nameSchema,
    owner: z.string().max(200).default(""),
    labels: namedValues(nameSchema, labelSchema)
      .refine((labels) => Object.keys(labels).length <= 64, "has more than 64 labels")
      .default({}),
    dataset: datasetRefSchema,
    input: inputSchema,
    /** Where its outputs go, within the dataset. */
    outputPrefix: prefixSchema.refine((text) => text !== "", "must not be empty").optional(),
    /** How many nodes are expected; as many as like may come. */
    nodes: z.number().int().min(1).max(NODES_MAX).default(1),
    units: unitsSchema.prefault({}),
    /** How many checkpoints stay; all, if null. */
    checkpoints: z.strictObject({ keep: z.number().int().min(1).max(1000).nullable().default(null) }).prefault({}),
    /** What `checkpoint` of an earlier job answered: its units and order, from where it was. */
    resumeFrom: z.string().max(1_000_000).optional(),
    ttlSeconds: z.number().int().min(60).max(PRESIGN_MAX_SECONDS).default(86_400),
    /** A node that says nothing for so long loses its leases. */
    heartbeatTimeoutSeconds: z.number().int().min(1).max(86_400).default(90),
    /** When no node says anything for so long, the job is lost; ten times the heartbeat timeout, if absent. */
    lostAfterSeconds: z.number().int().min(1).max(PRESIGN_MAX_SECONDS).optional(),
  })
  .refine(
    ({ lostAfterSeconds, heartbeatTimeoutSeconds }) =>
      lostAfterSeconds === undefined || lostAfterSeconds >= heartbeatTimeoutSeconds,
    { path: ["lostAfterSeconds"], error: "must not be less than heartbeatTimeoutSeconds" },
  );
export type JobBody = z.infer<typeof jobBodySchema>;

/** An output prefix may not overlap the job's input: a node must not be able to write what others read as input. */
export function checkOutputPrefix({ outputPrefix, input }: Pick<JobBody, "outputPrefix" | "input">): Failure | null {
  if (outputPrefix === undefined) return null;
  const folders = [
    ...input.prefixes,
    ...input.globs.map(folderOfGlob),
    ...input.zarr.map(({ path }) => folderOf(path)),
  ];
  const clash =
    folders.find((prefix) => overlaps(prefix, outputPrefix)) ??
    [...input.keys, ...input.records].find((key) => key.normalize("NFC").startsWith(outputPrefix));
  if (clash === undefined) return null;
  const detail = `The output prefix "${outputPrefix}" overlaps the input "${clash}"; choose a prefix beside it.`;
  return failure("prefix-overlap", detail, { field: "outputPrefix" });
}

/** The prefix of all keys of an array. */
export const folderOf = (path: string): string => (path === "" ? "" : `${path}/`);

/** The folder in which, or below which, all keys are that a glob can match. */
function folderOfGlob(glob: string): string {
  const plain = /^[^*?[\]{}\\]*/.exec(glob)?.[0] ?? "";
  return plain.slice(0, plain.lastIndexOf("/") + 1);
}
