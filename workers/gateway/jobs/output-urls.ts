import { webHmac } from "../../adapters/web-hmac.ts";
import { failure } from "../../core/failure.ts";
import type { JobSpec } from "../../core/jobs/job.ts";
import { markOf } from "../../core/jobs/output-mark.ts";
import { fail, ok, type Result } from "../../core/result.ts";
import { createPresigner, type PresignRequest } from "../../core/sigv4/presign.ts";
import type { Ctx } from "../context.ts";

/** A URL of R2, and the headers that must be sent with it as they are: what is signed differs otherwise. */
export interface SignedRequest {
  url: string;
  headers: Record<string, string>;
}

/** Signs URLs for one job's outputs. Keys are the store's, relative to the dataset's prefix. */
export interface OutputSigner {
  /** It writes once, and only what was announced. */
  put(output: { key: string; size: number; contentType: string; generation: number }): Result<SignedRequest>;
  /** A part of another size is refused by R2. */
  part(key: string, uploadId: string, part: { number: number; size: number }): Result<SignedRequest>;
  /** It reads this object and no later one. */
  get(key: string, etag: string): Result<SignedRequest>;
  /** What an answer says of when its URLs expire: RFC 3339. */
  times: { expiresAt: string; refreshAfter: string; serverTime: string };
}

/** @param life seconds that the URLs are asked to live, and until when they may (milliseconds since 1970) */
export async function outputSigner(
  c: Ctx,
  spec: JobSpec,
  life: { seconds: number; until?: number },
): Promise<Result<OutputSigner>> {
  const config = c.get("config");
  const bucket = config.buckets.get(spec.bucket);
  if (bucket === undefined) return fail(failure("unknown-bucket", `"${spec.bucket}" has no name in [vars.BUCKETS].`));
  // As the URLs of R2 say it, in whole seconds.
  const now = Math.floor(Date.now() / 1000) * 1000;
  const most = life.until === undefined ? life.seconds : Math.floor((life.until - now) / 1000);
  const expiresSeconds = Math.max(1, Math.min(life.seconds, most));
  const endpoint = { endpoint: config.r2Endpoint, region: "auto", addressing: "path" as const };
  const presign = await createPresigner(webHmac, { ...endpoint, ...config.r2Credentials }, now);
  const sign = (
    method: PresignRequest["method"],
    key: string,
    headers: Record<string, string>,
    query: Record<string, string> = {},
  ): Result<SignedRequest> => {
    const url = presign({ method, bucket, key: spec.prefix + key, headers, query, expiresSeconds });
    return url.ok ? ok({ url: url.value, headers }) : url;
  };
  return ok({
    put: ({ generation, ...output }) => sign("PUT", output.key, putHeaders(spec, output, generation)),
    part: (key, uploadId, { number, size }) =>
      sign("PUT", key, { "content-length": String(size) }, { partNumber: String(number), uploadId }),
    get: (key, etag) => sign("GET", key, { "if-match": `"${etag}"` }),
    times: {
      expiresAt: new Date(now + expiresSeconds * 1000).toISOString(),
      refreshAfter: new Date(now + expiresSeconds * 750).toISOString(),
      serverTime: new Date(now).toISOString(),
    },
  });
}

/** What a PUT URL of an output signs. It writes once, and only what was announced. */
export function putHeaders(
  spec: JobSpec,
  { size, contentType }: { size: number; contentType: string },
  generation: number,
): Record<string, string> {
  // By these, a commit knows what was put for this announcement from what was there before.
  const marks = Object.entries(markOf(spec.id, generation)).map(([name, value]) => [`x-amz-meta-${name}`, value]);
  return {
    "content-length": String(size),
    "content-type": contentType,
    "if-none-match": "*",
    ...(Object.fromEntries(marks) as Record<string, string>),
  };
}
