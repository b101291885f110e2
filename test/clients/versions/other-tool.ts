/** A tool that writes into the bucket past Penstock: R2's S3 endpoint with the owner's own credentials. */
import { AwsClient } from "aws4fetch";
import { encodeWireKey } from "../../../workers/core/sigv4/wire-key.ts";
import { putObject } from "../../sources/put-multipart.ts";
import type { Name, Stage } from "../stage.ts";

interface OtherTool {
  put(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  remove(key: string): Promise<void>;
}

/** @param dataset whose prefix the keys are below */
export function openBucket({ r2, prefixOf }: Stage, dataset: Name): OtherTool {
  const { accessKeyId, secretAccessKey, endpoint } = r2;
  const client = new AwsClient({ accessKeyId, secretAccessKey, region: "auto", service: "s3", retries: 3 });
  const urlOf = (key: string) => `${endpoint}/penstock-datasets/${encodeWireKey(prefixOf(dataset) + key)}`;
  return {
    async put(key, bytes) {
      await putObject(client, urlOf(key), bytes, { "content-type": "application/octet-stream" });
    },
    async remove(key) {
      const answer = await client.fetch(urlOf(key), { method: "DELETE" });
      if (!answer.ok) throw new Error(`DELETE ${key} answered ${answer.status}: ${await answer.text()}`);
    },
  };
}
