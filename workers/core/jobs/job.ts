import { covers, type Scope } from "../capability/scope.ts";
import { CAPABILITY_MAX_SCOPES } from "../limits.ts";
import { compileGlobs } from "../migration/glob.ts";
import { folderOf, type JobBody } from "./request.ts";

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
  /** How many units its input was cut into, their bytes, and a digest of their list: hex SHA-256. */
  unitList: { count: number; bytes: number; digest: string };
  createdAt: number;
  /** Milliseconds since 1970. */
  expiresAt: number;
}

/** What the root URL of a job opens: whole prefixes and arrays, and as many single keys as fit a capability beside them. */
export function readScope({ input }: Pick<JobSpec, "input">): { prefixes: string[]; keys: string[] } {
  const prefixes = [...new Set([...input.prefixes, ...input.zarr.map(({ path }) => folderOf(path))])];
  const keys = [...new Set([...input.keys, ...input.records])];
  const room = CAPABILITY_MAX_SCOPES - 1;
  return { prefixes: prefixes.slice(0, room), keys: prefixes.length + keys.length <= room ? keys : [] };
}

/** Whether a job's nodes may read a key of the version: it is one that the input names, in any of its ways. */
export function inputOf({ input }: Pick<JobSpec, "input">): (key: string) => boolean {
  const { prefixes } = readScope({ input });
  const keys = new Set([...input.keys, ...input.records]);
  const globs = input.globs.length === 0 ? null : compileGlobs(input.globs);
  const scope: Scope = { prefixes, keys: [] };
  return (key) => keys.has(key) || covers(scope, key) || (globs?.ok === true && globs.value(key));
}

/** What the nodes put out, and read back at the moving head: a version never holds it. */
export function outputScope({ outputPrefix }: Pick<JobSpec, "outputPrefix">): { prefixes: string[]; keys: string[] } | null {
  return outputPrefix === undefined ? null : { prefixes: [outputPrefix], keys: [] };
}
