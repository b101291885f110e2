/**
 * Temporary credentials of R2, signed here and not asked for: a JWT under the parent's secret access key, as
 * https://developers.cloudflare.com/r2/api/s3/temporary-credentials/ and
 * https://developers.cloudflare.com/r2/examples/authenticate-r2-temp-credentials/ describe it (read 2026-11-22).
 *
 * Tested against another implementation of JWT and the documented derivation, and never against R2: the simulator's S3
 * endpoint refuses session tokens (Miniflare 5.20261102, 2026-11-22).
 */
import { encodeBase64Url } from "../capability/jwt.ts";
import { type Hmac, toHex } from "./hmac.ts";

/** R2's names of S3's operations. */
export type R2Action =
  | "HeadObject"
  | "GetObject"
  | "ListObjectsV1"
  | "ListObjectsV2"
  | "PutObject"
  | "CreateMultipartUpload"
  | "UploadPart"
  | "CompleteMultipartUpload"
  | "AbortMultipartUpload";

export interface Grant {
  /** The documentation's example gives both, and says that `actions` narrow it: deletes are in the scope, and in no list of ours. */
  readonly scope: "object-read-only" | "object-read-write";
  readonly actions: readonly R2Action[];
  /** Keys of the bucket that begin with one of these. */
  readonly prefixPaths: readonly string[];
  /** Single keys of the bucket. */
  readonly objectPaths: readonly string[];
}

export interface Parent {
  /** R2's S3 endpoint. */
  readonly endpoint: string;
  readonly accountId: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface TemporaryCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

/**
 * The session token is sent with each request, in a header or a presigned URL's query: what it says must not be longer than
 * this many bytes of JSON, which are some 8,000 characters of it.
 */
const SESSION_CLAIMS_MAX_BYTES = 4500;

const encoder = new TextEncoder();

/**
 * The account that an endpoint of R2 belongs to: its host's first label, with a jurisdiction behind it or not
 * (`<account>.eu.r2.cloudflarestorage.com`). Null for any other endpoint.
 */
export function accountOf(endpoint: string): string | null {
  const { hostname } = new URL(endpoint);
  return /^([0-9a-z-]+)(\.[0-9a-z-]+)?\.r2\.cloudflarestorage\.com$/.exec(hostname)?.[1] ?? null;
}

/**
 * Credentials that allow what is granted in one bucket, from `nowSeconds` (since 1970) for `lifeSeconds`. Nothing revokes
 * them before but the revocation of the parent. Null where the grant names no path, for then R2 would open the whole
 * bucket, or more than a session token should carry.
 */
export async function mintTemporaryCredentials(
  hmac: Hmac,
  parent: Parent,
  bucket: string,
  { scope, actions, prefixPaths, objectPaths }: Grant,
  nowSeconds: number,
  lifeSeconds: number,
): Promise<TemporaryCredentials | null> {
  if (prefixPaths.length + objectPaths.length === 0) return null;
  const claims = {
    bucket,
    scope,
    actions,
    paths: { prefixPaths, objectPaths },
    sub: parent.accountId,
    iss: parent.accessKeyId,
    aud: new URL(parent.endpoint).host,
    iat: nowSeconds,
    exp: nowSeconds + lifeSeconds,
  };
  const payload = encoder.encode(JSON.stringify(claims));
  if (payload.length > SESSION_CLAIMS_MAX_BYTES) return null;
  const header = encoder.encode(JSON.stringify({ alg: "HS256", typ: "JWT" }));
  const signingInput = `${encodeBase64Url(header)}.${encodeBase64Url(payload)}`;
  const sign = await hmac.hmacKey(encoder.encode(parent.secretAccessKey));
  const jwt = `${signingInput}.${encodeBase64Url(await sign(encoder.encode(signingInput)))}`;
  return {
    accessKeyId: parent.accessKeyId,
    secretAccessKey: toHex(await hmac.sha256(encoder.encode(jwt))),
    sessionToken: btoa(`jwt/${jwt}`),
  };
}
