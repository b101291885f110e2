/**
 * What runs in the page. Each function is sent there as text (`Page.run`), so it sees its arguments and the page's
 * globals, and imports what it needs itself. They only report; what is right is judged by the checks.
 */

/** As much of a document as is used here: the tests' types are Node's. */
interface Element {
  width: number;
  height: number;
  className: string;
  textContent: string;
  src: string;
  getContext(kind: "2d"): {
    createImageData(width: number, height: number): { data: Uint8ClampedArray };
    putImageData(image: { data: Uint8ClampedArray }, x: number, y: number): void;
  };
  append(child: Element): void;
  addEventListener(event: string, listener: () => void): void;
}
declare const document: {
  title: string;
  contentType: string;
  body: Element | null;
  querySelector(selector: string): Element;
  createElement(tag: string): Element;
};
declare const crossOriginIsolated: boolean;
declare const origin: string;
declare function addEventListener(event: "message", listener: (message: { data: unknown }) => void): void;

/** What a script sees of an answer; `failed` instead where the browser shows it none. */
export interface Seen {
  status: number;
  headers: Record<string, string>;
  size: number;
  sha256: string;
  text: string;
  failed: string | null;
}

export async function fetchSeen(url: string, init: RequestInit = {}): Promise<Seen> {
  try {
    const response = await fetch(url, init);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      size: bytes.length,
      sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
      text: new TextDecoder().decode(bytes.subarray(0, 1_000)),
      failed: null,
    };
  } catch (error) {
    return { status: 0, headers: {}, size: 0, sha256: "", text: "", failed: String(error) };
  }
}

export interface ArraysRead {
  arrays: Record<string, { shape: number[]; values: number[] }>;
  requests: number;
  /** Requests by method and kind of range, such as `GET bytes=-N`. */
  kinds: Record<string, number>;
  isShared: boolean;
}

/** Reads whole arrays with zarrita, by their paths under the root URL; "" is an array that is the root itself. */
export async function readArrays(
  root: string,
  paths: string[],
  options: { useSuffixRequest?: boolean; useSharedArrayBuffer?: boolean } = {},
): Promise<ArraysRead> {
  const { useSuffixRequest = false, useSharedArrayBuffer = false } = options;
  const zarr = await import("zarrita");
  const read: ArraysRead = { arrays: {}, requests: 0, kinds: {}, isShared: useSharedArrayBuffer };
  const store = new zarr.FetchStore(root, {
    useSuffixRequest,
    fetch(request) {
      const kind = `${request.method} ${request.headers.get("range") ?? ""}`.replaceAll(/\d+/g, "N").trim();
      read.kinds[kind] = (read.kinds[kind] ?? 0) + 1;
      read.requests++;
      return fetch(request);
    },
  });
  for (const path of paths) {
    const at = path === "" ? zarr.root(store) : zarr.root(store).resolve(path);
    const { data, shape } = await zarr.get(await zarr.open(at, { kind: "array" }), null, { useSharedArrayBuffer });
    const { buffer } = data as Int16Array;
    if (useSharedArrayBuffer && !(buffer instanceof SharedArrayBuffer)) read.isShared = false;
    read.arrays[path] = { shape, values: Array.from(data as ArrayLike<number>) };
  }
  return read;
}

export const isIsolated = (): boolean => crossOriginIsolated;

/** The steps of a fetch's Server-Timing: as the header names them, and as the browser's own entry does. */
export async function fetchTimed(url: string): Promise<{ inHeader: string[]; inEntry: string[] }> {
  interface Timing {
    serverTiming: { name: string }[];
  }
  // A page's list of entries takes 250, and no more after that.
  performance.clearResourceTimings();
  const response = await fetch(url, { cache: "no-store" });
  await response.arrayBuffer();
  const metrics = (response.headers.get("server-timing") ?? "").split(",");
  const inHeader = metrics.map((metric) => metric.split(";")[0]?.trim() ?? "");
  for (let tries = 0; tries < 3000; tries++) {
    const entry = performance.getEntriesByName(url, "resource").at(-1) as unknown as Timing | undefined;
    if (entry !== undefined) return { inHeader, inEntry: entry.serverTiming.map(({ name }) => name) };
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`The browser wrote no timing entry of ${url}`);
}

/** What a frame with this document says to the page around it, until it is loaded, or for as long as is given. */
export async function frame(url: string, waitMs: number): Promise<{ isLoaded: boolean; said: unknown[] }> {
  const said: unknown[] = [];
  addEventListener("message", ({ data }) => said.push(data));
  const element = document.createElement("iframe");
  const loaded = new Promise<boolean>((done) => {
    element.addEventListener("load", () => done(true));
    setTimeout(() => done(false), waitMs);
  });
  element.src = url;
  document.body?.append(element);
  const isLoaded = await loaded;
  // A message of the frame's script was posted before the load, and is delivered before this turn.
  await new Promise((done) => setTimeout(done, 50));
  return { isLoaded, said };
}

/** Whether the page may show it as a picture. */
export function loadsAsPicture(url: string): Promise<boolean> {
  const picture = document.createElement("img");
  return new Promise((done) => {
    picture.addEventListener("load", () => done(true));
    picture.addEventListener("error", () => done(false));
    picture.src = url;
  });
}

/** How a document that was opened by itself stands; the origin "null" is one that matches no other. */
export function standing(): { title: string; origin: string; type: string; text: string } {
  return { title: document.title, origin, type: document.contentType, text: document.body?.textContent ?? "" };
}

/** Draws values of rows and columns as a picture, white to blue. */
export function draw(shape: number[], values: number[]): void {
  const canvas = document.querySelector("canvas");
  const [height = 0, width = 0] = shape;
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const max = Math.max(...values);
  values.forEach((value, index) => {
    const dark = 255 - Math.round(255 * Math.sqrt(Math.max(0, value) / max));
    image.data.set([dark, dark, 128 + dark / 2, 255], index * 4);
  });
  context.putImageData(image, 0, 0);
}

/** Adds a check to the page's list. */
export function showCheck(sentence: string, holds: boolean): void {
  const item = document.createElement("li");
  item.className = holds ? "" : "failed";
  item.textContent = `${holds ? "ok" : "FAIL"}: ${sentence}`;
  document.querySelector("ol").append(item);
}
