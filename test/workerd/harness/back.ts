import { createS3Store } from "../../../workers/adapters/s3-store.ts";
import { createS3Writer } from "../../../workers/adapters/s3-writer.ts";
import { type Carrier, carry } from "./delivery.ts";
import type { Wire } from "./intercept.ts";
import { must, startRun, statusOf } from "./run.ts";
import { envWithSource } from "./source.ts";
import { ownSource } from "./own-source.ts";

const { endpoint, region, bucket, accessKeyId, secretAccessKey } = ownSource();
const place = { endpoint, region, bucket, addressing: "path" } as const;
/** The source's bucket, as its owner has it. */
export const source = createS3Store(place, { accessKeyId, secretAccessKey });
export const writer = createS3Writer(place, { accessKeyId, secretAccessKey });
/** Straight to the endpoint: the fault proxy reads, and does not write. */
export const seen = envWithSource({});

export async function keysAtSource(prefix: string): Promise<string[]> {
  const page = must(await source.list({ prefix, after: null }));
  return page.objects.map(({ key }) => key.slice(prefix.length));
}

export async function bytesAtSource(key: string): Promise<Uint8Array> {
  const { body } = must(await source.get(key));
  return new Uint8Array(await new Response(body).arrayBuffer());
}

export const same = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && crypto.subtle.timingSafeEqual(a, b);

/** A run back of a registered dataset, to its end. */
export async function runBack(dataset: string, carrier: Carrier = {}) {
  const run = await startRun(dataset, seen, { direction: "back" });
  await carry(run, carrier);
  return { run, status: await statusOf(run) };
}

export const isCreate = ({ method, query }: Wire): boolean => method === "POST" && query.has("uploads");
export const isPut = ({ method, query }: Wire): boolean => method === "PUT" && !query.has("partNumber");
export const isPart = ({ method, query }: Wire): boolean => method === "PUT" && query.has("partNumber");
export const isComplete = ({ method, query }: Wire): boolean => method === "POST" && query.has("uploadId");
export const isWrite = ({ method }: Wire): boolean => method !== "GET" && method !== "HEAD";
