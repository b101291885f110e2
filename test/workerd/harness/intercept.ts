import { vi } from "vitest";
import { ownSource } from "./own-source.ts";

/** A request to the source, as it goes on the wire. */
export interface Wire {
  method: string;
  /** Behind the bucket. */
  path: string;
  query: URLSearchParams;
  headers: Headers;
}

/**
 * Puts itself between us and the real S3 endpoint: `answer` is called with each request and with what asks the real one, and says
 * what we are answered. Returns the requests, in order. It ends with the test (`vi.restoreAllMocks`).
 */
export function intercept(
  answer: (wire: Wire, pass: () => Promise<Response>) => Response | Promise<Response> = (_, pass) => pass(),
): Wire[] {
  const wires: Wire[] = [];
  const real = globalThis.fetch.bind(globalThis);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (...args: Parameters<typeof fetch>) => {
    const request = new Request(...args);
    const url = new URL(request.url);
    const bucket = `${new URL(ownSource().endpoint).pathname}/${ownSource().bucket}`;
    const wire = {
      method: request.method,
      path: url.pathname.slice(bucket.length),
      query: url.searchParams,
      headers: new Headers(request.headers),
    };
    wires.push(wire);
    return answer(wire, () => real(request));
  });
  return wires;
}

/** An answer with other headers; null takes one away. */
export async function withHeaders(
  real: Promise<Response>,
  headers: Readonly<Record<string, string | null>>,
): Promise<Response> {
  const response = await real;
  const all = new Headers(response.headers);
  for (const [name, value] of Object.entries(headers)) {
    if (value === null) all.delete(name);
    else all.set(name, value);
  }
  return new Response(response.body, { status: response.status, headers: all, encodeBody: "manual" });
}

export const refusal = (status: number, code: string): Response =>
  new Response(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>Said by the test.</Message></Error>`, {
    status,
    headers: { "content-type": "application/xml" },
  });
