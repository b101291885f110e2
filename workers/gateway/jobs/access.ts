import { webHmac } from "../../adapters/web-hmac.ts";
import { type CredentialSets, jobCredentials } from "../../core/jobs/credentials.ts";
import { exportLines } from "../../core/jobs/environment.ts";
import { type JobSpec, outputScope, readScope } from "../../core/jobs/job.ts";
import { failure } from "../../core/failure.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import type { Ctx } from "../context.ts";
import { signedRoot, type SignedRoot } from "../routes/capabilities.ts";

/** A root URL, and what it opens. */
type ScopedRoot = SignedRoot & { scope: { prefixes: string[]; keys: string[] } };

/** Everything that a job's nodes read and write by. */
export interface Access {
  /** Null where the input names globs alone, or more keys than fit a capability: those are read by URLs of their own. */
  read: ScopedRoot | null;
  readOutputs?: ScopedRoot;
  direct: { endpoint: string; bucket: string; prefix: string; credentials: object };
  /** Lines of sh, ready to be pasted. */
  environment: string;
  serverTime: string;
}

/**
 * Makes a job's access anew: capabilities that live as long as the job, and credentials of an hour. The same for the answer
 * that creates a job and for every refresh; `token` is the job's own.
 *
 * @param now milliseconds since 1970
 */
export async function accessOf(c: Ctx, spec: JobSpec, token: string, now: number): Promise<Result<Access>> {
  const { r2Endpoint: endpoint, r2Credentials, buckets } = c.get("config");
  const bucket = buckets.get(spec.bucket);
  if (bucket === undefined) return fail(failure("unknown-bucket", `"${spec.bucket}" has no name in [vars.BUCKETS].`));
  const read = await rootOf(c, spec, readScope(spec), spec.version, now);
  if (!read.ok) return read;
  const own = outputScope(spec);
  const outputs = own === null ? ok(null) : await rootOf(c, spec, own, "live", now);
  if (!outputs.ok) return outputs;
  const credentials = await jobCredentials(webHmac, { endpoint, ...r2Credentials }, bucket, spec, now);
  const { prefix } = spec;
  const environment = exportLines({
    PENSTOCK_URL: new URL(c.req.url).origin,
    PENSTOCK_JOB: spec.id,
    PENSTOCK_TOKEN: token,
    PENSTOCK_ROOT_URL: read.value?.rootUrl,
    PENSTOCK_OUTPUT_ROOT_URL: outputs.value?.rootUrl,
    PENSTOCK_BUCKET: bucket,
    PENSTOCK_PREFIX: prefix,
    ...credentialVariables(credentials, endpoint),
  });
  return ok({
    read: read.value,
    ...(outputs.value === null ? {} : { readOutputs: outputs.value }),
    direct: { endpoint, bucket, prefix, credentials: shown(credentials) },
    environment,
    serverTime: new Date(now).toISOString(),
  });
}

async function rootOf(
  c: Ctx,
  spec: JobSpec,
  scope: ScopedRoot["scope"],
  version: string,
  now: number,
): Promise<Result<ScopedRoot | null>> {
  if (scope.prefixes.length + scope.keys.length === 0) return ok(null);
  const dataset = { id: spec.datasetId, name: spec.datasetName };
  const life = Math.max(1, Math.floor((spec.expiresAt - now) / 1000));
  const nowSeconds = Math.floor(now / 1000);
  const root = await signedRoot(c, dataset, scope, spec.id, life, { version, nowSeconds });
  return "failure" in root ? fail(root.failure) : ok({ ...root, scope });
}

/** The AWS variables are those of reading, which is what tools do by themselves; writing is asked for by name. */
function credentialVariables({ read, write }: CredentialSets, endpoint: string): Record<string, string | undefined> {
  if (read === null && write === null) return {};
  return {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: "auto",
    AWS_ACCESS_KEY_ID: read?.accessKeyId,
    AWS_SECRET_ACCESS_KEY: read?.secretAccessKey,
    AWS_SESSION_TOKEN: read?.sessionToken,
    PENSTOCK_WRITE_ACCESS_KEY_ID: write?.accessKeyId,
    PENSTOCK_WRITE_SECRET_ACCESS_KEY: write?.secretAccessKey,
    PENSTOCK_WRITE_SESSION_TOKEN: write?.sessionToken,
  };
}

function shown({ read, write, note }: CredentialSets): object {
  const at = (time: number) => new Date(time).toISOString();
  const withTimes = (set: CredentialSets["read"]) =>
    set === null ? null : { ...set, expiresAt: at(set.expiresAt), refreshAfter: at(set.refreshAfter) };
  return { read: withTimes(read), write: withTimes(write), note };
}
