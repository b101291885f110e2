import { createHash, createHmac } from "node:crypto";
import { expect, vi } from "vitest";
import type { Client } from "../harness/client.ts";
import type { InstanceSecrets } from "./fresh-instance.ts";
import { send } from "./raw-http.ts";

/**
 * Puts an object into the instance's R2 by its S3 endpoint, past the Worker; the headers are stored with it.
 *
 * The key goes out as one segment, each slash as %2F, so that no dot segment is resolved on the way. The simulator's
 * endpoint signs the path as it is on the wire; S3 signs the decoded key (miniflare 5.20261102). Hence not our presigner.
 */
export async function storeObject(
  instance: { url: string; secrets: InstanceSecrets },
  key: string,
  bytes: Uint8Array,
  headers: Record<string, string> = {},
): Promise<void> {
  const { accessKeyId, secretAccessKey } = instance.secrets.r2;
  const time = `${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
  const scope = `${time.slice(0, 8)}/auto/s3/aws4_request`;
  const path = `/cdn-cgi/local/r2/s3/penstock-datasets/${encodeRfc3986(key)}`;
  const host = instance.url.replace("http://", "");
  const signed = `host:${host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:${time}\n`;
  const names = "host;x-amz-content-sha256;x-amz-date";
  const request = ["PUT", path, "", signed, names, "UNSIGNED-PAYLOAD"].join("\n");
  const digest = createHash("sha256").update(request).digest("hex");
  let signer = Buffer.from(`AWS4${secretAccessKey}`);
  for (const step of [...scope.split("/"), ["AWS4-HMAC-SHA256", time, scope, digest].join("\n")]) {
    signer = createHmac("sha256", signer).update(step).digest();
  }
  const credential = `Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signer.toString("hex")}`;
  const answer = await send(`${instance.url}${path}`, {
    method: "PUT",
    body: bytes,
    headers: {
      ...headers,
      authorization: `AWS4-HMAC-SHA256 ${credential}`,
      "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      "x-amz-date": time,
    },
  });
  if (answer.status !== 200) throw new Error(`PUT ${key}: ${answer.status} ${answer.bytes.toString()}`);
}

/** Has a dataset's manifest learn what was stored past the Worker: a job reads what a version of it holds. */
export async function listStored(admin: Client, dataset: string): Promise<void> {
  const path = `/v1/datasets/${dataset}/reconcile`;
  await admin.call("POST", path, {});
  await vi.waitFor(async () => expect(await admin.call("GET", path)).toMatchObject({ state: "done" }), {
    timeout: 240_000,
    interval: 100,
  });
}

const encodeRfc3986 = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
