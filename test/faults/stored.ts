/** What the Worker has stored, seen past the Worker: through R2's S3 endpoint, and in the simulator's own files. */
import { globSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { AwsClient } from "aws4fetch";
import type { Source } from "../harness/local-source.ts";
import { unescapeXml } from "../sources/put-multipart.ts";
import { urlOf } from "./objects.ts";

export interface R2Object {
  bytes: Uint8Array;
  etag: string;
  headers: Headers;
}

/** R2 as any S3 client sees it. */
export interface R2View {
  /** Every key under a prefix, without it. */
  list(prefix: string): Promise<string[]>;
  get(key: string): Promise<R2Object>;
}

export function viewOf(bucket: Source): R2View {
  const { accessKeyId, secretAccessKey, region } = bucket;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3", retries: 3 });
  return {
    async list(prefix) {
      const keys: string[] = [];
      for (;;) {
        const after = keys.length === 0 ? "" : `&start-after=${encodeURIComponent(prefix + (keys.at(-1) ?? ""))}`;
        const query = `list-type=2&prefix=${encodeURIComponent(prefix)}${after}`;
        const answer = await client.fetch(`${bucket.endpoint}/${bucket.bucket}?${query}`);
        const xml = await answer.text();
        if (!answer.ok) throw new Error(`R2 does not list: ${answer.status} ${xml}`);
        for (const [, key = ""] of xml.matchAll(/<Key>(.*?)<\/Key>/gs))
          keys.push(unescapeXml(key).slice(prefix.length));
        if (!xml.includes("<IsTruncated>true</IsTruncated>")) return keys;
      }
    },
    async get(key) {
      const answer = await client.fetch(urlOf(bucket, key), { headers: { "accept-encoding": "identity" } });
      if (!answer.ok) throw new Error(`R2 answers ${answer.status} for ${key}`);
      const etag = (answer.headers.get("etag") ?? "").replaceAll('"', "");
      return { bytes: await answer.bytes(), etag, headers: answer.headers };
    },
  };
}

export interface OpenUpload {
  key: string;
  uploadId: string;
  parts: number;
}

/** Multipart uploads that were neither completed nor aborted, in any bucket (miniflare's r2/schemas.worker.ts: state 0). */
export function openUploads(folder: string): OpenUpload[] {
  return inEach<OpenUpload>(
    join(folder, "state/r2/miniflare-R2BucketObject/*.sqlite"),
    `SELECT u.key AS key, u.upload_id AS uploadId, count(p.part_number) AS parts
       FROM _mf_multipart_uploads u LEFT JOIN _mf_multipart_parts p ON p.upload_id = u.upload_id
       WHERE u.state = 0 GROUP BY u.upload_id`,
  );
}

/** Messages that Migration objects still keep, by run. */
export function keptMessages(folder: string): { body: string; sends: number }[] {
  return inEach(join(folder, "state/do/penstock-Migration/*.sqlite"), "SELECT body, sends FROM outbox");
}

/** Whether a Migration object has this upload in its books. */
export function isRecorded(folder: string, uploadId: string): boolean {
  const found = inEach<{ n: number }>(
    join(folder, "state/do/penstock-Migration/*.sqlite"),
    "SELECT count(*) AS n FROM upload WHERE upload_id = ?",
    uploadId,
  );
  return found.some(({ n }) => n > 0);
}

/** The rows of a query in each of the simulator's databases that has the tables of it. */
function inEach<T>(pattern: string, query: string, ...values: string[]): T[] {
  const files = globSync(pattern).filter((file) => !file.endsWith("metadata.sqlite"));
  if (files.length === 0) throw new Error(`The simulator keeps nothing at ${pattern}`);
  return files.flatMap((file) => {
    const database = new DatabaseSync(file);
    try {
      return database.prepare(query).all(...values) as T[];
    } finally {
      database.close();
    }
  });
}
