/** Writes objects to an S3 server, for tests and the demo. Bodies go out unsigned, as `UNSIGNED-PAYLOAD`. */
import type { AwsClient } from "aws4fetch";

type Headers = Readonly<Record<string, string>>;

/** `url` is the object's, its key percent-encoded: every byte but the unreserved ones and `/`. Returns the ETag without quotes. */
export async function putObject(
  client: AwsClient,
  url: string,
  body: Uint8Array<ArrayBuffer>,
  headers: Headers = {},
): Promise<string> {
  const { response } = await send(client, url, { method: "PUT", headers, body });
  return etagOf(url, response.headers.get("etag"));
}

/**
 * One object in parts of `partBytes`, the last one smaller; or of these many bytes each. `headers` are the object's, sent
 * where the upload is created. Returns the ETag of the whole, without quotes. An upload that fails is aborted.
 */
export async function putMultipart(
  client: AwsClient,
  url: string,
  body: Uint8Array<ArrayBuffer>,
  partBytes: number | readonly number[],
  headers: Headers = {},
): Promise<string> {
  const created = await send(client, `${url}?uploads=`, { method: "POST", headers });
  const uploadId = /<UploadId>(.+?)<\/UploadId>/.exec(created.text)?.[1];
  if (uploadId === undefined) throw new Error(`${url} did not name the upload: ${created.text}`);
  const upload = `uploadId=${encodeURIComponent(unescapeXml(uploadId))}`;

  try {
    let parts = "";
    for (let number = 1, start = 0; start < body.byteLength || number === 1; number++) {
      const bytes = typeof partBytes === "number" ? partBytes : (partBytes[number - 1] ?? body.byteLength);
      const part = body.subarray(start, start + bytes);
      start += bytes;
      const { response } = await send(client, `${url}?partNumber=${number}&${upload}`, { method: "PUT", body: part });
      const etag = etagOf(url, response.headers.get("etag"));
      parts += `<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag></Part>`;
    }
    const completed = await send(client, `${url}?${upload}`, {
      method: "POST",
      headers: { "content-type": "application/xml" },
      body: `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts}</CompleteMultipartUpload>`,
    });
    // S3 may answer 200 before it knows, and say in the body that it failed.
    if (completed.text.includes("<Error>")) throw new Error(`${url} was not completed: ${completed.text}`);
    return etagOf(url, unescapeXml(/<ETag>(.+?)<\/ETag>/.exec(completed.text)?.[1] ?? ""));
  } catch (error) {
    await send(client, `${url}?${upload}`, { method: "DELETE" }).catch(() => undefined);
    throw error;
  }
}

interface Outgoing {
  readonly method: string;
  readonly headers?: Headers;
  readonly body?: Uint8Array<ArrayBuffer> | string;
}

async function send(client: AwsClient, url: string, { method, headers, body }: Outgoing) {
  // A URL and an init, never a Request: aws4fetch would clone and buffer a Request's body.
  const response = await client.fetch(url, {
    method,
    headers: { ...headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url} was answered ${response.status}: ${text}`);
  return { response, text };
}

function etagOf(url: string, header: string | null): string {
  if (!header) throw new Error(`${url} was answered without an ETag`);
  return header.replace(/^"|"$/g, "");
}

const XML_NAMES: Headers = { quot: '"', apos: "'", lt: "<", gt: ">", amp: "&" };

export function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([\da-f]+)|#(\d+)|(\w+));/gi, (entity, hex?: string, decimal?: string, name?: string) => {
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return XML_NAMES[name ?? ""] ?? entity;
  });
}
