/** What a job's nodes may do at R2's own S3 endpoint, with credentials that end by themselves. */
import { CREDENTIALS_MAX_SECONDS } from "../limits.ts";
import type { Hmac } from "../sigv4/hmac.ts";
import {
  accountOf,
  type Grant,
  mintTemporaryCredentials,
  type Parent,
  type R2Action,
} from "../sigv4/temporary-credentials.ts";
import { inputKeys, inputPrefixes, type JobSpec } from "./job.ts";
import { refreshAfter } from "./times.ts";

export interface JobCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  /** Milliseconds since 1970. */
  expiresAt: number;
  /** Milliseconds since 1970. */
  refreshAfter: number;
  actions: readonly R2Action[];
  /** Of the bucket, with the dataset's prefix. */
  prefixes: readonly string[];
  keys: readonly string[];
}

/** `note` says what is missing and why; null where nothing is. */
export interface CredentialSets {
  read: JobCredentials | null;
  write: JobCredentials | null;
  note: string | null;
}

const READ: readonly R2Action[] = ["HeadObject", "GetObject", "ListObjectsV1", "ListObjectsV2"];
/** No DeleteObject, and no CopyObject, which reads too. */
const WRITE: readonly R2Action[] = [
  "PutObject",
  "CreateMultipartUpload",
  "UploadPart",
  "CompleteMultipartUpload",
  "AbortMultipartUpload",
];

type Scoped = Pick<JobSpec, "input" | "outputPrefix" | "prefix" | "expiresAt">;

/** Seconds that credentials of a job live which are minted at `now`: an hour, and not beyond the job. */
export const credentialsLife = ({ expiresAt }: Pick<JobSpec, "expiresAt">, now: number): number =>
  Math.min(CREDENTIALS_MAX_SECONDS, Math.floor((expiresAt - now) / 1000));

/**
 * Mints both sets. The endpoint is the configured one, and where it is not R2's there are none.
 *
 * @param bucket its S3 name
 * @param now milliseconds since 1970
 */
export async function jobCredentials(
  hmac: Hmac,
  parent: Omit<Parent, "accountId">,
  bucket: string,
  spec: Scoped,
  now: number,
): Promise<CredentialSets> {
  const accountId = accountOf(parent.endpoint);
  const life = credentialsLife(spec, now);
  if (accountId === null) return none("R2_ENDPOINT is not of the form https://<account>.r2.cloudflarestorage.com.");
  if (life < 1) return none("The job ends within a second.");
  const nowSeconds = Math.floor(now / 1000);
  const mint = async (grant: Grant): Promise<JobCredentials | null> => {
    const minted = await mintTemporaryCredentials(hmac, { ...parent, accountId }, bucket, grant, nowSeconds, life);
    if (minted === null) return null;
    const times = { expiresAt: (nowSeconds + life) * 1000, refreshAfter: refreshAfter(nowSeconds * 1000, life) };
    return { ...minted, ...times, actions: grant.actions, prefixes: grant.prefixPaths, keys: grant.objectPaths };
  };
  const { grant, notes } = readGrant(spec);
  let read = await mint(grant);
  if (read === null && grant.objectPaths.length > 0) {
    notes.push("The keys that the input names do not fit into credentials: read them by signed URLs.");
    read = await mint({ ...grant, objectPaths: [] });
  }
  if (read === null && grant.prefixPaths.length > 0) {
    notes.push("The prefixes of the input do not fit into credentials: read by signed URLs.");
  }
  const write = await mint(writeGrant(spec));
  return { read, write, note: notes.length === 0 ? null : notes.join(" ") };
}

function readGrant(spec: Scoped): { grant: Grant; notes: string[] } {
  const inBucket = (names: readonly string[]) => names.map((name) => spec.prefix + name.normalize("NFC"));
  const notes: string[] = [];
  if (spec.input.globs.length > 0) {
    notes.push("Credentials know prefixes and keys, and no globs: what only a glob matches is read by signed URLs.");
  }
  const paths = { prefixPaths: inBucket(inputPrefixes(spec)), objectPaths: inBucket(inputKeys(spec)) };
  return { grant: { scope: "object-read-only", actions: READ, ...paths }, notes };
}

const writeGrant = ({ prefix, outputPrefix }: Scoped): Grant => ({
  scope: "object-read-write",
  actions: WRITE,
  objectPaths: [],
  prefixPaths: outputPrefix === undefined ? [] : [prefix + outputPrefix],
});

const none = (why: string): CredentialSets => ({ read: null, write: null, note: `There are no credentials: ${why}` });
