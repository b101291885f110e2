import { scopeBatches } from "../capability/scope-batches.ts";
import { covers, type Scope } from "../capability/scope.ts";
import { CAPABILITY_MAX_SCOPES } from "../limits.ts";
import { compileGlobs } from "../migration/glob.ts";
import { folderOf, type JobBody } from "./request.ts";
import type { ArrayShape } from "./units/selected.ts";

/** The custom metadata by which an output names the job that put it. */
export const OUTPUT_JOB = "penstock-job";

/** A job as it is kept; fixed when it is created. */
export interface JobSpec extends Omit<JobBody, "resumeFrom" | "lostAfterSeconds"> {
  id: string;
  datasetName: string;
  datasetId: string;
  /** The number of the sealed version that it reads. */
  version: string;
  bucket: string;
  /** The dataset's prefix in the bucket. */
  prefix: string;
  lostAfterSeconds: number;
  /**
   * How many units its input was cut into, their bytes, and a digest of what they are: hex SHA-256. How many parts they have, and
   * bytes of the list as it is stored: what an answer with some of them takes, near enough.
   */
  unitList: { count: number; bytes: number; digest: string; parts?: number; listBytes?: number };
  /** Arrays of the input of which it selects elements. */
  arrays?: ArrayShape[];
  createdAt: number;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

/** All prefixes that the input names: its own and its arrays'. */
export const inputPrefixes = ({ input }: Pick<JobSpec, "input">): string[] => [
  ...new Set([...input.prefixes, ...input.zarr.map(({ path }) => folderOf(path))]),
];

/** All single keys that the input names. */
export const inputKeys = ({ input }: Pick<JobSpec, "input">): string[] => [
  ...new Set([...input.keys, ...input.records]),
];

/**
 * What the root URL of a job opens: of whole prefixes and arrays as many as fit a capability, and the single keys if all of
 * them fit beside. What a glob matches is not in it.
 */
export function readScope({ input }: Pick<JobSpec, "input">): { prefixes: string[]; keys: string[] } {
  const [prefixes = []] = scopeBatches(inputPrefixes({ input }), ROOT_SCOPE);
  const all = inputKeys({ input });
  const [both = []] = scopeBatches([...prefixes, ...all], ROOT_SCOPE);
  return { prefixes, keys: both.length === prefixes.length + all.length ? all : [] };
}

/** A root URL may be long: it is one a job. */
const ROOT_SCOPE = { scopes: CAPABILITY_MAX_SCOPES - 1, bytes: 10_000 };

/** Whether a job's nodes may read a key of the version: it is one that the input names, in any of its ways. */
export function inputOf({ input }: Pick<JobSpec, "input">): (key: string) => boolean {
  const keys = new Set(inputKeys({ input }));
  const globs = input.globs.length === 0 ? null : compileGlobs(input.globs);
  const scope: Scope = { prefixes: inputPrefixes({ input }), keys: [] };
  return (key) => keys.has(key) || covers(scope, key) || (globs?.ok === true && globs.value(key));
}

/** What the nodes put out, and read back at the moving head: a version never holds it. */
export function outputScope({
  outputPrefix,
}: Pick<JobSpec, "outputPrefix">): { prefixes: string[]; keys: string[] } | null {
  return outputPrefix === undefined ? null : { prefixes: [outputPrefix], keys: [] };
}
