/** What signed URLs and signed headers have in common: AWS Signature Version 4 for S3. */
import type { Hmac, Sign } from "./hmac.ts";
import { encodeRfc3986 } from "./wire-key.ts";

export const ALGORITHM = "AWS4-HMAC-SHA256";

const encoder = new TextEncoder();

/** What a signature is good for: a day, a region, S3. */
export const scopeOf = (time: string, region: string): string => `${time.slice(0, 8)}/${region}/s3/aws4_request`;

/** A chain of HMACs over the date, the region, the service and `aws4_request`, which is the scope's own text: 32 bytes. */
export async function signingKeyBytes(hmac: Hmac, secretAccessKey: string, scope: string): Promise<Uint8Array> {
  let key = encoder.encode(`AWS4${secretAccessKey}`) as Uint8Array;
  for (const step of scope.split("/")) {
    const sign = await hmac.hmacKey(key);
    key = await sign(encoder.encode(step));
  }
  return key;
}

/** The same, to sign with. */
export async function signingKey(hmac: Hmac, secretAccessKey: string, scope: string): Promise<Sign> {
  return hmac.hmacKey(await signingKeyBytes(hmac, secretAccessKey, scope));
}

/** By lower-case name, with the host. */
export function canonicalHeaders(headers: Readonly<Record<string, string>>, host: string): [string, string][] {
  const tidy = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) tidy.set(name.toLowerCase(), tidyValue(value));
  return [...tidy.set("host", host)].sort(byName);
}

/** Without spaces at its ends, and of several in a row one. */
export const tidyValue = (value: string): string => (SPACE.test(value) ? value.trim().replace(/\s+/g, " ") : value);

const SPACE = /\s/;

/** Sorted by encoded name; the same text goes over the wire, so that no parser's taste comes between. */
export function canonicalQuery(query: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(query).map(([name, value]): [string, string] => [
    encodeRfc3986(name),
    encodeRfc3986(value),
  ]);
  const sorted = pairs.sort(byName).map((pair) => pair.join("="));
  return sorted.join("&");
}

const byName = ([a]: [string, string], [b]: [string, string]): number => (a < b ? -1 : a > b ? 1 : 0);
