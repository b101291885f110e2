/**
 * S3 requests whose path and headers go out as they are written, and whose answers come as they are on the wire. `fetch`
 * resolves dot segments, takes no header beyond Latin-1, and undoes Content-Encoding. A SigV4 of its own, so that the
 * product's is not tested against itself.
 */
import { createHash, createHmac } from "node:crypto";
import { type RawAnswer, send } from "../e2e/raw-http.ts";

export interface S3Address {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
}

export interface S3Request {
  query?: Record<string, string>;
  /** Lower-case names; values may be any text, which goes out as UTF-8. */
  headers?: Record<string, string>;
  body?: Uint8Array;
}

/** `headers` by lower-case name, read as UTF-8. */
export interface S3Answer {
  status: number;
  headers: Record<string, string>;
  bytes: Buffer;
}

export interface S3Client {
  /** A null key is the bucket itself. */
  send(method: string, bucket: string, key: string | null, request?: S3Request): Promise<S3Answer>;
}

/**
 * S3 signs the decoded path, in which %2F is a slash; Miniflare's endpoint signs it as it came (5.20261102): `signs`
 * says which of the two.
 */
export function createS3Client(address: S3Address, signs: "decoded" | "wire" = "decoded"): S3Client {
  const { endpoint, region, accessKeyId, secretAccessKey } = address;
  const { host, pathname, origin } = new URL(endpoint);
  const base = pathname === "/" ? "" : pathname;
  const signingKeys = new Map<string, Buffer>();

  function signingKey(day: string): Buffer {
    const known = signingKeys.get(day);
    if (known !== undefined) return known;
    let key: Buffer = Buffer.from(`AWS4${secretAccessKey}`);
    for (const step of [day, region, "s3", "aws4_request"]) key = hmac(key, step);
    signingKeys.set(day, key);
    return key;
  }

  return {
    async send(method, bucket, key, { query = {}, headers = {}, body } = {}) {
      const time = `${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
      const path = `${base}/${bucket}${key === null ? "" : `/${encodeKey(key)}`}`;
      const search = Object.entries(query)
        .map(([name, value]) => `${encodeRfc3986(name)}=${encodeRfc3986(value)}`)
        .sort()
        .join("&");
      const signed: Record<string, string> = {
        ...headers,
        host,
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "x-amz-date": time,
      };
      const names = Object.keys(signed).sort();
      const lines = names.map((name) => `${name}:${(signed[name] ?? "").trim().replace(/ +/g, " ")}\n`).join("");
      const signedPath = signs === "wire" ? path : path.replaceAll("%2F", "/");
      const request = [method, signedPath, search, lines, names.join(";"), "UNSIGNED-PAYLOAD"].join("\n");
      const scope = `${time.slice(0, 8)}/${region}/s3/aws4_request`;
      const digest = createHash("sha256").update(request).digest("hex");
      const toSign = ["AWS4-HMAC-SHA256", time, scope, digest].join("\n");
      const signature = hmac(signingKey(time.slice(0, 8)), toSign).toString("hex");
      const credential = `Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
      const answer = await send(`${origin}${path}${search === "" ? "" : `?${search}`}`, {
        method,
        headers: onWire({ ...signed, authorization: `AWS4-HMAC-SHA256 ${credential}` }),
        ...(body === undefined ? {} : { body }),
      });
      return { ...answer, headers: read(answer.headers) };
    },
  };
}

/**
 * Every byte but the unreserved ones and `/` is percent-encoded (RFC 3986, section 2.3). Where a segment is `.` or `..`
 * the slashes are encoded too, for servers and proxies resolve dot segments.
 */
export function encodeKey(key: string): string {
  const encoded = encodeRfc3986(key);
  const hasDots = key.split("/").some((segment) => segment === "." || segment === "..");
  return hasDots ? encoded : encoded.replaceAll("%2F", "/");
}

/** The `<Code>` of an S3 refusal, or its status. */
export const refusalOf = ({ status, bytes }: Pick<S3Answer, "status" | "bytes">): string =>
  /<Code>(\w+)<\/Code>/.exec(bytes.toString())?.[1] ?? String(status);

const encodeRfc3986 = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

const hmac = (key: Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** Node writes and reads a header's characters as one byte each. */
const onWire = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value).toString("latin1")]));

const read = (headers: RawAnswer["headers"]): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Buffer.from(String(value), "latin1").toString()]),
  );
