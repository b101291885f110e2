/** One page of the browser: runs functions in it, and remembers what the browser says of its requests. */
import { sleep } from "../../harness/instance.ts";
import type { DevTools, Params } from "./devtools.ts";

const SEEN_WITHIN_MS = 60_000;

export interface Page {
  /**
   * Runs a function in the page. It is sent as text, arguments and result as JSON: it sees the page's globals, and
   * nothing of the module that it is written in.
   */
  run<Args extends unknown[], Result>(
    work: (...args: Args) => Result | Promise<Result>,
    ...args: Args
  ): Promise<Result>;
  /** Opens another document in its place, as a link would. Ends when it is loaded, or has become a download. */
  navigate(url: string): Promise<"document" | "download">;
  /** The page as a PNG. */
  screenshot(): Promise<Buffer>;
  /** What was asked in OPTIONS requests so far, by URL: the method, and the headers in small letters. */
  preflights: readonly { url: string; method: string; headers: string }[];
  /** Statuses as they came over the wire: a script sees a 200 where the browser asked again and got a 304. */
  statuses: readonly { url: string; status: number }[];
  /** Requests that failed, and the browser's own word for it, such as `MissingAllowOriginHeader`. */
  failures: readonly { url: string; reason: string }[];
  /** URLs whose answer became a download. */
  downloads: readonly string[];
  /** Waits until `look` finds something, such as an event that is on its way; null if it does not within 5 s. */
  find<T>(look: () => T | undefined): Promise<T | null>;
}

interface RequestEvent {
  requestId: string;
  request: { url: string; method: string; headers: Record<string, string> };
}
interface AnswerEvent {
  requestId: string;
  statusCode: number;
}
interface FailureEvent {
  requestId: string;
  errorText: string;
  corsErrorStatus?: { corsError: string };
}
interface Evaluated {
  result: { value?: unknown };
  exceptionDetails?: { text: string; exception?: { description?: string } };
}

/** `session` is attached to an empty page, which goes to `url`. */
export async function openPage(devtools: DevTools, session: string, url: string): Promise<Page> {
  const preflights: { url: string; method: string; headers: string }[] = [];
  const statuses: { url: string; status: number }[] = [];
  const failures: { url: string; reason: string }[] = [];
  const downloads: string[] = [];
  const urls = new Map<string, string>();
  let loads = 0;
  const call = <T>(method: string, params?: Params) => devtools.call<T>(method, params, session);
  const hear = (event: string, listener: (params: Params) => void) => devtools.on(event, listener, session);

  hear("Network.requestWillBeSent", (params) => {
    const { requestId, request } = params as unknown as RequestEvent;
    urls.set(requestId, request.url);
    if (request.method !== "OPTIONS") return;
    const headers = new Headers(request.headers);
    const asked = (name: string) => headers.get(`access-control-request-${name}`) ?? "";
    preflights.push({ url: request.url, method: asked("method"), headers: asked("headers") });
  });
  hear("Network.responseReceivedExtraInfo", (params) => {
    const { requestId, statusCode: status } = params as unknown as AnswerEvent;
    statuses.push({ url: urls.get(requestId) ?? "", status });
  });
  hear("Network.loadingFailed", (params) => {
    const { requestId, errorText, corsErrorStatus } = params as unknown as FailureEvent;
    failures.push({ url: urls.get(requestId) ?? "", reason: corsErrorStatus?.corsError ?? errorText });
  });
  hear("Page.loadEventFired", () => loads++);
  devtools.on("Browser.downloadWillBegin", (params) => downloads.push((params as { url: string }).url));
  await call("Network.enable");
  await call("Page.enable");

  const find = async <T>(look: () => T | undefined): Promise<T | null> => {
    for (const until = Date.now() + SEEN_WITHIN_MS; Date.now() < until; await sleep(10)) {
      const found = look();
      if (found !== undefined) return found;
    }
    return null;
  };
  const page: Page = {
    async run<Args extends unknown[], Result>(work: (...args: Args) => Result | Promise<Result>, ...args: Args) {
      const expression = `(${work.toString()})(...${JSON.stringify(args)})`;
      const how = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails: thrown } = await call<Evaluated>("Runtime.evaluate", how);
      if (thrown === undefined) return result.value as Result;
      throw new Error(`In the page: ${thrown.exception?.description ?? thrown.text}`);
    },
    async navigate(to) {
      const before = { loads, downloads: downloads.length };
      await call("Page.navigate", { url: to });
      const outcome = await find(() => {
        if (loads > before.loads) return "document";
        return downloads.length > before.downloads ? "download" : undefined;
      });
      if (outcome === null) throw new Error(`${to} became neither a document nor a download`);
      return outcome;
    },
    async screenshot() {
      const { cssContentSize } = await call<{ cssContentSize: Params }>("Page.getLayoutMetrics");
      const how = { format: "png", captureBeyondViewport: true, clip: { ...cssContentSize, scale: 1 } };
      return Buffer.from((await call<{ data: string }>("Page.captureScreenshot", how)).data, "base64");
    },
    preflights,
    statuses,
    failures,
    downloads,
    find,
  };
  await page.navigate(url);
  return page;
}
