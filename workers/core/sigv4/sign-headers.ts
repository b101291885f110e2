/**
 * S3 requests that are signed in a header, as AWS describes it in "Authenticating Requests: Using the Authorization Header
 * (AWS Signature Version 4)": https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
 */
import { ALGORITHM, canonicalHeaders, scopeOf, signingKey } from "./canonical.ts";
import { type Hmac, type Sign, toHex } from "./hmac.ts";
import { formatAmzDate } from "./presign.ts";

export interface HeaderSignerOptions {
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface SignedRequest {
  readonly method: string;
  readonly host: string;
  /** As it goes over the wire, from its first slash: `encodeWireKey`. */
  readonly path: string;
  /** As it goes over the wire: `canonicalQuery`, or "". */
  readonly query: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The request's headers, with the signature. */
export type SignHeaders = (request: SignedRequest, nowMs: number) => Promise<Record<string, string>>;

const UNSIGNED = "UNSIGNED-PAYLOAD";

const encoder = new TextEncoder();

/**
 * Derives its key once a day; a request then costs one SHA-256 and one HMAC.
 *
 * Signed are Host, Content-MD5 and all `x-amz-` headers, as S3 insists, and nothing that may be rewritten on the way, such
 * as Accept-Encoding. The body is unsigned.
 */
export function createHeaderSigner(hmac: Hmac, options: HeaderSignerOptions): SignHeaders {
  const { region, accessKeyId, secretAccessKey } = options;
  let derived: { scope: string; sign: Sign } | null = null;

  return async ({ method, host, path, query, headers }, nowMs) => {
    const time = formatAmzDate(nowMs);
    const scope = scopeOf(time, region);
    const key = derived?.scope === scope ? derived : { scope, sign: await signingKey(hmac, secretAccessKey, scope) };
    derived = key;

    const all = { ...headers, "x-amz-content-sha256": UNSIGNED, "x-amz-date": time };
    const signed = canonicalHeaders(Object.fromEntries(Object.entries(all).filter(isSigned)), host);
    const names = signed.map(([name]) => name).join(";");
    const lines = signed.map(([name, value]) => `${name}:${value}\n`).join("");
    // Of a slash beside a dot segment S3 signs what it stands for.
    const canonical = [method, path.replaceAll("%2F", "/"), query, lines, names, UNSIGNED].join("\n");
    const digest = toHex(await hmac.sha256(encoder.encode(canonical)));
    const signature = toHex(await key.sign(encoder.encode([ALGORITHM, time, scope, digest].join("\n"))));
    const authorization = `${ALGORITHM} Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
    return { ...all, authorization };
  };
}

const isSigned = ([name]: [string, string]): boolean => name.startsWith("x-amz-") || name === "content-md5";
