import { createExecutionContext, createMessageBatch, getQueueResult } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { consumeManifest } from "../../../queues/manifest/consumer.ts";

/** What R2 tells of an object in the bucket of datasets: put with this ETag, or deleted (null). */
export const notification = (key: string, etag: string | null, bucket = "penstock-datasets") => ({
  account: "3f4b7e3dcab231cbfdaa90a6a28bd548",
  action: etag === null ? "DeleteObject" : "PutObject",
  bucket,
  object: etag === null ? { key } : { key, size: 1, eTag: etag },
  eventTime: "2026-11-22T10:00:00.000Z",
});

/** Hands messages to the consumer of the manifest queue as one batch; says which were acknowledged. */
export async function handOver(bodies: readonly unknown[], seen: Env = env): Promise<("ack" | "retry")[]> {
  const messages = bodies.map((body, n) => ({ id: String(n), timestamp: new Date(), attempts: 1, body }));
  const batch = createMessageBatch("penstock-manifest", messages);
  await consumeManifest(batch, seen);
  const { explicitAcks } = await getQueueResult(batch, createExecutionContext());
  return messages.map(({ id }) => (explicitAcks.includes(id) ? "ack" : "retry"));
}

/** An environment whose manifest queue keeps what it is sent; `delays` are the seconds of what is sent alone. */
export function keepingSent(seen: Env = env): { seen: Env; sent: unknown[]; delays: number[] } {
  const sent: unknown[] = [];
  const delays: number[] = [];
  const queue = {
    send: async (body: unknown, options: QueueSendOptions = {}) => {
      sent.push(body);
      delays.push(options.delaySeconds ?? 0);
    },
    sendBatch: async (messages: Iterable<{ body: unknown }>) =>
      void sent.push(...[...messages].map(({ body }) => body)),
  };
  return { seen: { ...seen, MANIFEST_QUEUE: queue as unknown as Queue }, sent, delays };
}
