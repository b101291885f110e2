import { env } from "cloudflare:workers";
import { AwsClient } from "aws4fetch";
import { inject } from "vitest";
import { putMultipart, putObject } from "../../sources/put-multipart.ts";
import { ownSource } from "./own-source.ts";

const MiB = 1024 * 1024;
/** What vitest.config.ts sets as PART_BYTES and MULTIPART_THRESHOLD_BYTES. */
export const PART_BYTES = 5 * MiB;

/** One object at the source; `etag` is the source's. */
export interface Stored {
  bytes: Uint8Array<ArrayBuffer>;
  etag: string;
}

/** The Worker's environment with one source named `test`, behind the fault proxy in one of its modes. */
export function envWith(mode: "plain" | "pages-of-20", more: Record<string, unknown> = {}): Env {
  return envWithSource({ endpoint: `${inject("faults")}/${mode}` }, more);
}

/** The Worker's environment with one source named `test`: the real S3 endpoint, but for what `source` replaces. */
export function envWithSource(
  source: Partial<{ endpoint: string; bucket: string; accessKeyId: string; secretAccessKey: string }>,
  more: Record<string, unknown> = {},
): Env {
  const { accessKeyId, secretAccessKey, ...place } = { ...ownSource(), ...source };
  const secrets = { SOURCE_TEST_ACCESS_KEY_ID: accessKeyId, SOURCE_TEST_SECRET_ACCESS_KEY: secretAccessKey };
  return { ...env, SOURCES: { test: place }, ...secrets, ...more };
}

/** Puts objects into the real S3 endpoint; those that `multipart` names in parts of `partBytes`. */
export async function fill(
  prefix: string,
  objects: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  options: { multipart?: ReadonlySet<string>; partBytes?: number; headers?: Readonly<Record<string, string>> } = {},
): Promise<Map<string, Stored>> {
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = ownSource();
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 0 });
  const stored = new Map<string, Stored>();
  const queue = [...objects];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [key, bytes] = next;
      const url = `${endpoint}/${bucket}/${encodeKey(prefix + key)}`;
      const headers = { "content-type": "application/x-test", ...options.headers };
      const etag =
        options.multipart?.has(key) === true
          ? await putMultipart(client, url, bytes, options.partBytes ?? PART_BYTES, headers)
          : await putObject(client, url, bytes, headers);
      stored.set(key, { bytes, etag });
    }
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return stored;
}

const encodeKey = (key: string): string =>
  key
    .split("/")
    .map((segment) =>
      encodeURIComponent(segment).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`),
    )
    .join("/");

export const text = (value: string): Uint8Array<ArrayBuffer> => Uint8Array.from(new TextEncoder().encode(value));

/** Bytes that follow from a seed, no two objects alike. */
export function bytesOf(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** Sixty small objects (an empty one, awkward names, one above what is held in memory) and two that go in parts. */
export function sixtyAndTwo(): { objects: Map<string, Uint8Array<ArrayBuffer>>; multipart: Set<string> } {
  const objects = new Map<string, Uint8Array<ArrayBuffer>>();
  const awkward = ["empty", "a b+c%2F&d=e.json", "schöne/höhe.bin", "日本/語.bin", "😀/'(*)!~.bin", "raw/deep/er/x"];
  for (const [i, key] of awkward.entries()) objects.set(key, bytesOf(i * 31, i + 1));
  for (let i = 0; i < 53; i++) objects.set(`c/${i % 7}/${i}`, bytesOf(100 + i * 37, 100 + i));
  objects.set("streamed.bin", bytesOf(1.5 * MiB, 900));
  objects.set("uploaded-in-parts.bin", bytesOf(2 * PART_BYTES + 12_345, 901));
  objects.set("uploaded-whole.bin", bytesOf(PART_BYTES + 54_321, 902));
  return { objects, multipart: new Set(["uploaded-in-parts.bin"]) };
}
