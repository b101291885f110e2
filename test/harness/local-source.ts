import { randomBytes } from "node:crypto";
import { AwsClient } from "aws4fetch";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { encodeWireKey } from "../../workers/core/sigv4/wire-key.ts";
import { putMultipart, putObject } from "../sources/put-multipart.ts";

/** An S3 bucket somewhere on this machine that a Worker can migrate from. */
export interface Source {
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
}

/**
 * A real S3 endpoint with SigV4 that npm alone can provide: Miniflare's own, over a simulated R2 bucket. In a process
 * of its own (this one), apart from the Worker's. `bucket` is the first of `buckets`.
 *
 * Known differences from S3: no `partNumber` on HEAD, no ListParts, no CreateBucket, no checksums headers.
 */
export async function startLocalSource(
  buckets: readonly string[] = ["penstock-source"],
): Promise<Source & { stop(): Promise<void> }> {
  const accessKeyId = randomBytes(10).toString("hex");
  const secretAccessKey = randomBytes(20).toString("hex");
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      modules: true,
      script: "export default { fetch: () => new Response(null, { status: 404 }) }",
      compatibilityDate: "2026-10-01",
      r2Buckets: Object.fromEntries(
        buckets.map((id, i) => [`SOURCE_${i}`, { id, s3Credentials: { accessKeyId, secretAccessKey } }]),
      ),
    }),
  );
  const url = await miniflare.ready;
  const endpoint = `${url.origin}/cdn-cgi/local/r2/s3`;
  return {
    endpoint,
    region: "auto",
    bucket: buckets[0] ?? "",
    accessKeyId,
    secretAccessKey,
    stop: () => miniflare.dispose(),
  };
}

export interface SourceObject {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  contentType: string;
  /** Upload in parts of this many bytes, as S3 tools do with large objects. */
  partBytes?: number;
}

/** Puts objects into a source's bucket over S3, six at a time. */
export async function fillSource(source: Source, objects: readonly SourceObject[]): Promise<void> {
  const { accessKeyId, secretAccessKey, region } = source;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 3 });
  const queue = [...objects];
  const worker = async () => {
    for (let object = queue.shift(); object !== undefined; object = queue.shift()) {
      const url = `${source.endpoint}/${source.bucket}/${encodeWireKey(object.key)}`;
      const headers = { "content-type": object.contentType };
      if (object.partBytes === undefined) await putObject(client, url, object.bytes, headers);
      else await putMultipart(client, url, object.bytes, object.partBytes, headers);
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
}
