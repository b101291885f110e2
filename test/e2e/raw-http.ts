import { type IncomingHttpHeaders, request } from "node:http";

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  bytes: Buffer;
}

export interface RawRequest {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
}

/**
 * A request whose path goes out as it is written, and an answer whose bytes come as they are on the wire: `fetch`
 * resolves dot segments on the way out and undoes Content-Encoding on the way in.
 */
export function send(url: string, { method = "GET", headers = {}, body }: RawRequest = {}): Promise<RawAnswer> {
  const [, host = "", path = "/"] = /^http:\/\/([^/]+)(\/.*)$/s.exec(url) ?? [];
  const [hostname = "", port = "80"] = host.split(":");
  return new Promise((resolve, reject) => {
    const chunked = body === undefined || "transfer-encoding" in headers;
    const length = chunked ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const sent = request({ hostname, port, path, method, headers: { ...length, ...headers } }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.once("error", reject);
      answer.once("end", () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, bytes: Buffer.concat(chunks) }),
      );
    });
    sent.once("error", reject);
    sent.end(body);
  });
}
