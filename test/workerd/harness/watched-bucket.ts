import { env } from "cloudflare:workers";

/** One operation that reached R2. */
export interface Operation {
  name: "get" | "head";
  key: string;
  /** Whether R2 answered with a body: a get whose condition did not hold brings none. */
  hasBody: boolean;
  /** Whether the reader gave the body up before its end; watched where the bucket was asked to. */
  isCancelled: boolean;
  /** Bytes of the body that were taken; likewise. */
  taken: number;
}

type Got = R2ObjectBody | R2Object | null;

/** What becomes of the bucket's answers. By default: nothing. */
export interface Interference {
  get?(key: string, answer: () => Promise<Got>): Promise<Got>;
  head?(key: string, answer: () => Promise<R2Object | null>): Promise<R2Object | null>;
  /** The object that is stored under another key. */
  alias?(key: string): string;
  /** Follow each body. It is then a stream of ours, of which R2 is not asked for more than is read. */
  watchBodies?: boolean;
}

/** R2 of which every read is noted, in order. */
export function watchBucket(interference: Interference = {}, bucket: R2Bucket = env.DATASETS) {
  const operations: Operation[] = [];
  const { alias = (key: string) => key } = interference;
  const note = (name: "get" | "head", key: string): Operation => {
    const operation = { name, key, hasBody: false, isCancelled: false, taken: 0 };
    operations.push(operation);
    return operation;
  };
  const reads = {
    async get(key: string, options: R2GetOptions = {}): Promise<Got> {
      const operation = note("get", key);
      const answer = () => bucket.get(alias(key), options) as Promise<Got>;
      const got = await (interference.get?.(key, answer) ?? answer());
      if (got === null || !("body" in got) || got.body === undefined) return got;
      operation.hasBody = true;
      return interference.watchBodies === true ? withBody(got, (body) => watched(body, operation)) : got;
    },
    head(key: string): Promise<R2Object | null> {
      note("head", key);
      const answer = () => bucket.head(alias(key));
      return interference.head?.(key, answer) ?? answer();
    },
  };
  return {
    bucket: new Proxy(bucket, {
      get(target, name) {
        const value: unknown = Reflect.get(name in reads ? reads : target, name);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    }),
    operations,
    /** Gets, those of them with a body, and heads, since it was last asked. */
    count(): { gets: number; bodies: number; heads: number } {
      const seen = operations.splice(0);
      const gets = seen.filter(({ name }) => name === "get");
      return {
        gets: gets.length,
        bodies: gets.filter(({ hasBody }) => hasBody).length,
        heads: seen.length - gets.length,
      };
    },
  };
}

/** What R2 got, with another body. */
export function withBody(got: R2ObjectBody, change: (body: ReadableStream) => ReadableStream): R2ObjectBody {
  const body = change(got.body);
  return new Proxy(got, {
    get(target, name) {
      if (name === "body") return body;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

/** The first bytes of a body, after which it breaks off: by an error, or as if it were whole. */
export const brokenOff = (body: ReadableStream, after: number, how: "error" | "end"): ReadableStream => {
  let left = after;
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        controller.enqueue(chunk.subarray(0, left));
        left -= Math.min(left, chunk.length);
        if (left > 0) return;
        if (how === "error") controller.error(new Error("Network connection lost."));
        else controller.terminate();
      },
    }),
  );
};

function watched(body: ReadableStream<Uint8Array>, operation: Operation): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await reader.read();
        if (done) return controller.close();
        operation.taken += value.length;
        controller.enqueue(value);
      },
      async cancel(reason) {
        operation.isCancelled = true;
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
