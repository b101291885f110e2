/**
 * Ten thousand presigned URLs, as a node asks for them at the start of an epoch, beside aws4fetch: its signer itself, with
 * one key cache for all URLs, which spares it the Request that `AwsClient.sign` would make of each. WebCrypto on both
 * sides, one URL after the other on both. The signatures are compared first: a faster wrong URL is worth nothing.
 */
import { AwsV4Signer } from "aws4fetch";
import { webHmac } from "../../workers/adapters/web-hmac.ts";
import { createPresigner, formatAmzDate, type PresignRequest } from "../../workers/core/sigv4/presign.ts";
import { comparedTimes, type Measurement } from "./measure.ts";

const URLS = 10_000;
const HOST = "https://account-id.r2.cloudflarestorage.com";
const CREDENTIALS = { accessKeyId: "0123456789abcdef0123456789abcdef", secretAccessKey: "benchmark".repeat(7) };
const NOW = Date.UTC(2026, 0, 1);

const PUT_HEADERS = { "content-length": "1048576", "content-type": "application/octet-stream", "if-none-match": "*" };

const CASES: Readonly<Record<string, Pick<PresignRequest, "method" | "headers">>> = {
  "10,000 GET URLs": { method: "GET" },
  "10,000 PUT URLs with signed headers": { method: "PUT", headers: PUT_HEADERS },
};

export async function benchPresign(): Promise<Measurement[]> {
  const measured: Measurement[] = [];
  for (const [name, { method, headers }] of Object.entries(CASES)) {
    const requests = Array.from({ length: URLS }, (_, index): PresignRequest => {
      const key = `era5/t2m/c/${Math.floor(index / 100)}/${index % 100}/0`;
      return { method, bucket: "datasets", key, expiresSeconds: 3600, ...(headers && { headers }) };
    });
    expectSameSignatures(await ours(requests.slice(0, 100)), await theirs(requests.slice(0, 100)));
    const pair = { suite: "presign", case: name, peer: "aws4fetch" };
    measured.push(await comparedTimes({ ...pair, ours: () => ours(requests), theirs: () => theirs(requests) }));
  }
  return measured;
}

async function ours(requests: readonly PresignRequest[]): Promise<string[]> {
  const options = { ...CREDENTIALS, endpoint: HOST, region: "auto", addressing: "path" } as const;
  const presign = await createPresigner(webHmac, options, NOW);
  const urls: string[] = [];
  for (const request of requests) {
    const url = await presign(request);
    if (!url.ok) throw new Error(url.failure.detail);
    urls.push(url.value);
  }
  return urls;
}

async function theirs(requests: readonly PresignRequest[]): Promise<string[]> {
  const datetime = formatAmzDate(NOW);
  const cache = new Map<string, ArrayBuffer>();
  const options = { ...CREDENTIALS, service: "s3", region: "auto", signQuery: true, allHeaders: true, datetime, cache };
  const urls: string[] = [];
  for (const { method, bucket, key, expiresSeconds, headers = {} } of requests) {
    const url = `${HOST}/${bucket}/${key}?X-Amz-Expires=${expiresSeconds}`;
    const signed = await new AwsV4Signer({ ...options, method, url, headers: { ...headers } }).sign();
    urls.push(signed.url.href);
  }
  return urls;
}

function expectSameSignatures(a: readonly string[], b: readonly string[]): void {
  const signature = (url: string) => new URL(url).searchParams.get("X-Amz-Signature");
  const different = a.findIndex((url, index) => signature(url) !== signature(b[index] ?? HOST));
  if (different !== -1) throw new Error(`The signatures differ:\n${a[different]}\n${b[different]}`);
}
