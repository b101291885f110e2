/** The site that the data is read from: a page on an origin of its own, with zarrita for its scripts to import. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { ROOT } from "../../harness/instance.ts";

const PAGE = join(import.meta.dirname, "page.html");

/**
 * A page that asks for it is isolated from other origins, which is what browsers give SharedArrayBuffer for; it may
 * then only load what allows it.
 */
const ISOLATION = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

export interface Document {
  contentType: string;
  bytes: Uint8Array<ArrayBuffer>;
}

export interface PageServer {
  /** `http://127.0.0.1:<port>`. */
  origin: string;
  /** The same page as another site: `http://localhost:<port>`. */
  otherSite: string;
  stop(): Promise<void>;
}

/**
 * Serves the page as `/` and `/isolated`, `node_modules` for the page's import map, and `documents` by path, each with
 * nothing but its type.
 */
export async function startPageServer(documents: ReadonlyMap<string, Document>): Promise<PageServer> {
  const server = createServer((request, response) => {
    // A parsed URL has no dot segments left.
    const path = new URL(request.url ?? "/", "http://page").pathname;
    const document = documents.get(path);
    const answer = (contentType: string, bytes: Uint8Array, headers: Record<string, string> = {}) =>
      response.writeHead(200, { "content-type": contentType, ...headers }).end(bytes);
    if (document !== undefined) answer(document.contentType, document.bytes);
    else if (path === "/") answer("text/html; charset=utf-8", readFileSync(PAGE));
    else if (path === "/isolated") answer("text/html; charset=utf-8", readFileSync(PAGE), ISOLATION);
    else if (path.startsWith("/node_modules/") && extname(path) === ".js") {
      answer("text/javascript", readFileSync(join(ROOT, path)));
    } else response.writeHead(404).end();
  });
  await new Promise<void>((listening, failed) => {
    server.once("error", failed).listen(0, "127.0.0.1", listening);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    origin: `http://127.0.0.1:${port}`,
    otherSite: `http://localhost:${port}`,
    async stop() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
