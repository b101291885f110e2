/** Puts objects into a third-party server, and asks it what it made of them. */
import { AwsClient } from "aws4fetch";
import type { Uploaded } from "./corpus.ts";
import { storedHeaders } from "./headers.ts";
import { putMultipart, unescapeXml } from "./put-multipart.ts";
import { createS3Client, encodeKey, refusalOf, type S3Client } from "./s3-client.ts";
import type { SourceServer } from "./source-server.ts";

const AT_ONCE = 12;

export async function forEachAtOnce<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>) {
  let next = 0;
  const worker = async () => {
    for (let index = next++; index < items.length; index = next++) await work(items[index] as T);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

export interface Filled {
  /** The server's ETags by key. */
  etags: Map<string, string>;
  /** Keys that the server refused, with its words. */
  refused: Map<string, string>;
}

/** Where objects are put: everything under one prefix of one bucket. */
export interface SourcePlace {
  bucket: string;
  prefix: string;
}

/** Puts each object under the prefix. One after the other when `inOrder`: what a server refuses may depend on it. */
export async function fill(
  server: SourceServer,
  { bucket, prefix }: SourcePlace,
  objects: readonly Uploaded[],
  { inOrder = false } = {},
): Promise<Filled> {
  const client = createS3Client(server);
  const filled: Filled = { etags: new Map(), refused: new Map() };
  await forEachAtOnce(objects, inOrder ? 1 : AT_ONCE, async (object) => {
    const key = prefix + object.key;
    const put =
      object.partSizes === undefined ? putOne(client, bucket, key, object) : putParts(server, bucket, key, object);
    const done = await put.catch((error: unknown): Put => ({ refused: String(error) }));
    if ("etag" in done) filled.etags.set(object.key, done.etag);
    else filled.refused.set(object.key, done.refused);
  });
  return filled;
}

/** Puts ordinary objects, none of which may be refused, the fastest way that the server has. Returns the ETags by key. */
export async function fillMany(
  server: SourceServer,
  place: SourcePlace,
  objects: readonly Uploaded[],
): Promise<Map<string, string>> {
  if (server.putMany === undefined) {
    const { etags, refused } = await fill(server, place, objects);
    if (refused.size > 0) throw new Error(`${server.name} refuses ${JSON.stringify([...refused].slice(0, 5))}`);
    return etags;
  }
  const etags = await server.putMany(place.bucket, place.prefix, objects);
  return new Map(objects.map(({ key }, index) => [key, etags[index] ?? ""]));
}

type Put = { etag: string } | { refused: string };

async function putOne(client: S3Client, bucket: string, key: string, { bytes, headers }: Uploaded): Promise<Put> {
  const answer = await client.send("PUT", bucket, key, { headers, body: bytes });
  return answer.status === 200 ? { etag: unquoted(answer.headers["etag"]) } : { refused: refusalOf(answer) };
}

async function putParts(server: SourceServer, bucket: string, key: string, object: Uploaded): Promise<Put> {
  const { accessKeyId, secretAccessKey, region } = server;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 2 });
  const url = `${server.endpoint}/${bucket}/${encodeKey(key)}`;
  return { etag: await putMultipart(client, url, object.bytes, object.partSizes ?? [], object.headers) };
}

/** What the server says of an object where it is read. */
export interface Said {
  etag: string;
  /** Seconds since 1970. */
  modified: number;
  /** What it keeps beside the bytes. */
  headers: Record<string, string>;
}

/** Reads each object for its headers: gofakes3 guesses a type in the answer to GET, and none in that to HEAD. */
export async function askFor(
  server: SourceServer,
  { bucket, prefix }: SourcePlace,
  keys: readonly string[],
): Promise<Map<string, Said>> {
  const client = createS3Client(server);
  const said = new Map<string, Said>();
  await forEachAtOnce(keys, AT_ONCE, async (key) => {
    const answer = await client.send("GET", bucket, prefix + key);
    if (answer.status !== 200) throw new Error(`${server.name} answers GET ${JSON.stringify(key)}: ${answer.status}`);
    said.set(key, {
      etag: unquoted(answer.headers["etag"]),
      modified: Date.parse(answer.headers["last-modified"] ?? "") / 1000,
      headers: storedHeaders(answer),
    });
  });
  return said;
}

/** An object as the server lists it, without the prefix. */
interface Listed {
  key: string;
  size: number;
  etag: string;
  /** Seconds since 1970. */
  modified: number;
  storageClass: string;
}

/** Everything under the prefix as the server lists it, with an XML reader that is not the product's. */
export async function list(server: SourceServer, { bucket, prefix }: SourcePlace): Promise<Listed[]> {
  const client = createS3Client(server);
  const listed: Listed[] = [];
  for (let after: string | null = null; ;) {
    const start: Record<string, string> = after === null ? {} : { "start-after": after };
    const query = { "list-type": "2", "encoding-type": "url", prefix, ...start };
    const answer = await client.send("GET", bucket, null, { query });
    const xml = answer.bytes.toString();
    if (answer.status !== 200) throw new Error(`${server.name} does not list: ${answer.status} ${xml}`);
    const isUrlEncoded = xml.includes("<EncodingType>url</EncodingType>");
    for (const [, entry = ""] of xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)) {
      const of = (name: string) => unescapeXml(new RegExp(`<${name}>(.*?)</${name}>`, "s").exec(entry)?.[1] ?? "");
      after = isUrlEncoded ? decodeURIComponent(of("Key").replaceAll("+", "%20")) : of("Key");
      const modified = Math.floor(Date.parse(of("LastModified")) / 1000);
      const key = after.slice(prefix.length);
      const size = Number(of("Size"));
      listed.push({ key, size, etag: unquoted(of("ETag")), modified, storageClass: of("StorageClass") });
    }
    if (!xml.includes("<IsTruncated>true</IsTruncated>")) return listed;
  }
}

export const unquoted = (etag: string | undefined): string => (etag ?? "").replace(/^W\//, "").replaceAll('"', "");

/** A key as it is printed: long ones cut. */
export const shown = (key: string): string =>
  JSON.stringify(key.length > 80 ? `${key.slice(0, 30)}… (${key.length})` : key);
