/** What signed URLs and signed headers have in common: AWS Signature Version 4 for S3. */
import type { Hmac, Sign } from "./hmac.ts";
import { encodeRfc3986 } from "./wire-key.ts";

export const ALGORITHM = "AWS4-HMAC-SHA256";

const encoder = new TextEncoder();

/** What a signature is good for: a day, a region, S3. */
export const scopeOf = (time: string, region: string): string => `${time.slice(0, 8)}/${region}/s3/aws4_request`;

/** A chain of HMACs over the date, the region, the service and `aws4_request`, which is the scope's own text. */
export async function signingKey(hmac: Hmac, secretAccessKey: string, scope: string): Promise<Sign> {
  let sign = await hmac.hmacKey(encoder.encode(`AWS4${secretAccessKey}`));
  for (const step of scope.split("/")) sign = await hmac.hmacKey(await sign(encoder.encode(step)));
  return sign;
}

/** By lower-case name, with the host. */
export function canonicalHeaders(headers: Readonly<Record<string, string>>, host: string): [string, string][] {
  const tidy = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) tidy.set(name.toLowerCase(), value.trim().replace(/\s+/g, " "));
  return [...tidy.set("host", host)].sort(byName);
}

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
