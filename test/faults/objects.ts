import { AwsClient } from "aws4fetch";
import type { Source } from "../harness/local-source.ts";
import { putMultipart, putObject } from "../sources/put-multipart.ts";

const MiB = 1024 * 1024;
/** What the runtimes are given as PART_BYTES and MULTIPART_THRESHOLD_BYTES: the least that R2 takes. */
export const PART_BYTES = 5 * MiB;
const PUTS_AT_ONCE = 8;

export interface SourceObject {
  key: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** As S3 takes and gives them, in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Put at the source in parts of this many bytes. */
  partBytes?: number;
}

/** An object as the source has it. */
export interface Stored extends SourceObject {
  etag: string;
}

/** An object of chance content, with headers of its own. */
export function objectOf(key: string, size: number, chance: () => number, partBytes?: number): SourceObject {
  const bytes = bytesOf(size, chance);
  const headers = {
    "content-type": "application/x-test",
    "cache-control": `max-age=${size}`,
    "content-disposition": `attachment; filename="${size}.bin"`,
    "content-language": "de",
    "x-amz-meta-size": String(size),
    "x-amz-meta-first-byte": String(bytes[0] ?? "none"),
  };
  return { key, bytes, headers, ...(partBytes === undefined ? {} : { partBytes }) };
}

/** Small objects `c/0000` and on, of up to 4 KB; one of them is empty. */
export const smallObjects = (count: number, chance: () => number): SourceObject[] =>
  Array.from({ length: count }, (_, n) =>
    objectOf(`c/${String(n).padStart(4, "0")}`, n === 0 ? 0 : 1 + Math.floor(chance() * 4000), chance),
  );

/** An object that is copied as a stream, one in parts, and one in parts that was put in parts. */
export const largeObjects = (chance: () => number, suffix = ""): SourceObject[] => [
  objectOf(`large/streamed${suffix}`, 1.5 * MiB, chance),
  objectOf(`large/whole${suffix}`, 2 * PART_BYTES + 12_345, chance),
  objectOf(`large/in-parts${suffix}`, 2 * PART_BYTES + 54_321, chance, PART_BYTES),
];

function bytesOf(size: number, chance: () => number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = 1 + Math.floor(chance() * 0xffff_fffe);
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

const clientOf = ({ accessKeyId, secretAccessKey, region }: Source) =>
  new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 3 });

/** Puts objects under a prefix of the source's bucket; returns them by key, with their ETags. */
export async function fill(
  source: Source,
  prefix: string,
  objects: readonly SourceObject[],
): Promise<Map<string, Stored>> {
  const client = clientOf(source);
  const stored = new Map<string, Stored>();
  const queue = [...objects];
  const worker = async () => {
    for (let object = queue.shift(); object !== undefined; object = queue.shift()) {
      const { key, bytes, headers, partBytes } = object;
      const url = urlOf(source, prefix + key);
      const etag =
        partBytes === undefined
          ? await putObject(client, url, bytes, headers)
          : await putMultipart(client, url, bytes, partBytes, headers);
      stored.set(key, { ...object, etag });
    }
  };
  await Promise.all(Array.from({ length: PUTS_AT_ONCE }, worker));
  return stored;
}

export async function remove(source: Source, key: string): Promise<void> {
  const answer = await clientOf(source).fetch(urlOf(source, key), { method: "DELETE" });
  if (!answer.ok) throw new Error(`${key} could not be deleted: ${answer.status} ${await answer.text()}`);
}

/** Keys here are of letters, digits and `/.~-`. */
export const urlOf = ({ endpoint, bucket }: Source, key: string): string => `${endpoint}/${bucket}/${key}`;
