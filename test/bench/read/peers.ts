/** What we are compared with, as Workers of their own. They run in workerd; the types are structural. */

interface Bindings {
  BUCKET: {
    get(
      key: string,
      options?: { range: { offset: number; length: number } | { suffix: number } },
    ): Promise<{
      body: ReadableStream;
    } | null>;
  };
}

/** Does nothing but `get`: no authorisation, no validators, no cache. */
export const bareGet = {
  async fetch(request: Request, env: Bindings): Promise<Response> {
    const key = decodeURIComponent(new URL(request.url).pathname.slice(1));
    const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("range") ?? "");
    const object = await (range === null ? env.BUCKET.get(key) : env.BUCKET.get(key, { range: parsed(range) }));
    if (object === null) return new Response("Not found", { status: 404 });
    return new Response(object.body, { status: range === null ? 200 : 206 });
  },
};

function parsed([, first = "", last = ""]: readonly string[]) {
  if (first === "") return { suffix: Number(last) };
  return { offset: Number(first), length: Number(last) - Number(first) + 1 };
}

const CONSTANT = new Uint8Array(65_536);

/** The floor: the least that workerd does for 64 KiB. */
export const constant = {
  fetch: (): Response => new Response(CONSTANT),
};

export default bareGet;
