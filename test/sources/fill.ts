/** Puts objects into a third-party server, and lists what it made of them. */
import { AwsClient } from "aws4fetch";
import type { Uploaded } from "./corpus.ts";
import { putMultipart, putObject, unescapeXml } from "./put-multipart.ts";
import type { SourceServer } from "./servers.ts";

const AT_ONCE = 12;

export const forEachAtOnce = async <T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>) => {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
};

export interface Filled {
  /** The server's ETags by key. */
  etags: Map<string, string>;
  /** Keys that the server refused, with its words. */
  refused: Map<string, string>;
}

/** Puts each object under `prefix`. One after the other when `inOrder`: what a server refuses may depend on it. */
export async function fill(
  server: SourceServer,
  prefix: string,
  objects: readonly Uploaded[],
  { inOrder = false } = {},
): Promise<Filled> {
  const client = clientOf(server);
  const filled: Filled = { etags: new Map(), refused: new Map() };
  await forEachAtOnce(objects, inOrder ? 1 : AT_ONCE, async ({ key, bytes, partBytes, ...object }) => {
    const url = `${server.endpoint}/${server.bucket}/${encodeKey(prefix + key)}`;
    const headers: Record<string, string> = { "content-type": object.contentType };
    if (object.contentEncoding !== undefined) headers["content-encoding"] = object.contentEncoding;
    for (const [name, value] of Object.entries(object.metadata)) headers[`x-amz-meta-${name}`] = value;
    try {
      const put =
        partBytes === undefined
          ? putObject(client, url, bytes, headers)
          : putMultipart(client, url, bytes, partBytes, headers);
      filled.etags.set(key, await put);
    } catch (error) {
      const said = /<Code>(\w+)<\/Code>|answered (\d+)/.exec(String(error));
      filled.refused.set(key, said?.[1] ?? said?.[2] ?? String(error));
    }
  });
  return filled;
}

/** Every key under `prefix` as the server lists it, without the prefix; with an XML reader that is not the product's. */
export async function listKeys(server: SourceServer, prefix: string): Promise<string[]> {
  const client = clientOf(server);
  const keys: string[] = [];
  for (;;) {
    const after = keys.length === 0 ? "" : `&start-after=${encodeURIComponent(keys.at(-1) ?? "")}`;
    const query = `list-type=2&encoding-type=url&prefix=${encodeURIComponent(prefix)}${after}`;
    const answer = await client.fetch(`${server.endpoint}/${server.bucket}?${query}`);
    const xml = await answer.text();
    if (!answer.ok) throw new Error(`${server.name} does not list: ${answer.status} ${xml}`);
    const isUrlEncoded = xml.includes("<EncodingType>url</EncodingType>");
    for (const [, text = ""] of xml.matchAll(/<Key>(.*?)<\/Key>/gs)) {
      const key = unescapeXml(text);
      keys.push(isUrlEncoded ? decodeURIComponent(key.replaceAll("+", "%20")) : key);
    }
    if (!xml.includes("<IsTruncated>true</IsTruncated>")) break;
  }
  return keys.map((key) => key.slice(prefix.length));
}

function clientOf({ accessKeyId, secretAccessKey, region }: Omit<SourceServer, "stop">): AwsClient {
  return new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 2 });
}

/** With dot segments the slashes stay encoded, since `new URL()` would resolve them; aws4fetch signs plain slashes. */
export function encodeKey(key: string): string {
  const encoded = encodeURIComponent(key).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  const hasDots = key.split("/").some((segment) => segment === "." || segment === "..");
  return hasDots ? encoded : encoded.replaceAll("%2F", "/");
}
