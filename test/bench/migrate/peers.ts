/** What we are compared with, and what empties the bucket in between. Runs in workerd; the types are structural. */
import { AwsClient } from "aws4fetch";

interface Bucket {
  put(key: string, body: unknown): Promise<unknown>;
  delete(keys: string[]): Promise<void>;
  list(options: { prefix: string; startAfter?: string }): Promise<{ objects: { key: string }[] }>;
}

/** What `POST /copy` takes; `/empty` and `/count` take the prefix of it. */
export interface CopyOrder {
  readonly source: {
    readonly endpoint: string;
    readonly bucket: string;
    readonly region: string;
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
  };
  /** Keys at the source; the same in the bucket behind `prefix`. */
  readonly keys: readonly string[];
  readonly prefix: string;
  /** Objects under way at once. */
  readonly connections: number;
}

export default {
  async fetch(request: Request, { BUCKET }: { BUCKET: Bucket }): Promise<Response> {
    const { pathname } = new URL(request.url);
    const order = (await request.json()) as CopyOrder;
    if (pathname === "/copy") await bareLoop(order, BUCKET);
    else if (pathname === "/empty") await empty(BUCKET, order.prefix);
    return Response.json(pathname === "/count" ? await count(BUCKET, order.prefix) : null);
  },
};

/** `fetch`, then `R2.put`: no listing, no condition, no proof, no metadata, no books. What the machine allows. */
async function bareLoop({ source, keys, prefix, connections }: CopyOrder, bucket: Bucket): Promise<void> {
  const client = new AwsClient({ ...source, service: "s3", retries: 0 });
  const queue = keys.values();
  const work = async () => {
    for (const key of queue) {
      const answer = await fetch(await client.sign(`${source.endpoint}/${source.bucket}/${key}`));
      if (answer.status !== 200) throw new Error(`${key} was answered ${answer.status}: ${await answer.text()}`);
      await bucket.put(prefix + key, answer.body);
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
}

async function empty(bucket: Bucket, prefix: string): Promise<void> {
  for (;;) {
    const { objects } = await bucket.list({ prefix });
    if (objects.length === 0) return;
    await bucket.delete(objects.map(({ key }) => key));
  }
}

async function count(bucket: Bucket, prefix: string): Promise<number> {
  let found = 0;
  let after: string | undefined;
  for (;;) {
    const { objects } = await bucket.list({ prefix, ...(after === undefined ? {} : { startAfter: after }) });
    if (objects.length === 0) return found;
    found += objects.length;
    after = objects.at(-1)?.key;
  }
}
