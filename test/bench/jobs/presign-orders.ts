/** What is signed, the same in workerd and in Node, and how we sign it. */
import { webHmac } from "../../../workers/adapters/web-hmac.ts";
import { createPresigner, type PresignRequest } from "../../../workers/core/sigv4/presign.ts";

export const HOST = "https://account-id.r2.cloudflarestorage.com";
export const CREDENTIALS = {
  accessKeyId: "0123456789abcdef0123456789abcdef",
  secretAccessKey: "benchmark".repeat(7),
};
const BUCKET = "datasets";
export const NOW = Date.UTC(2026, 0, 1);
const EXPIRES_SECONDS = 3600;

export type Signer = "penstock" | "aws4fetch";

export interface Order {
  readonly signer: Signer;
  readonly method: "GET" | "PUT";
  readonly count: number;
  /** URLs that the answer has. */
  readonly shown: number;
}

const HEADERS: Readonly<Record<Order["method"], PresignRequest["headers"]>> = {
  GET: {},
  PUT: { "content-length": "1048576", "content-type": "application/octet-stream", "if-none-match": "*" },
};

/** Chunks of an array, as a node asks for them at the start of an epoch. */
const keyAt = (index: number): string => `era5/t2m/c/${Math.floor(index / 100)}/${index % 100}/0`;

export const requestsOf = ({ method, count }: Pick<Order, "method" | "count">): PresignRequest[] =>
  Array.from({ length: count }, (_, index) => {
    const headers = HEADERS[method];
    return {
      ...{ method, bucket: BUCKET, key: keyAt(index), expiresSeconds: EXPIRES_SECONDS },
      ...(headers === undefined ? {} : { headers }),
    };
  });

export async function signOurs(order: Pick<Order, "method" | "count">): Promise<string[]> {
  const options = { ...CREDENTIALS, endpoint: HOST, region: "auto", addressing: "path" } as const;
  const presign = await createPresigner(webHmac, options, NOW);
  return requestsOf(order).map((request) => {
    const url = presign(request);
    if (!url.ok) throw new Error(url.failure.detail);
    return url.value;
  });
}
