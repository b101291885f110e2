import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { PresignRequest } from "../../../workers/core/sigv4/presign.ts";
import { installOnce, PENSTOCK_FOLDER, run } from "../../sources/install.ts";
import { CREDENTIALS, HOST, NOW, type Order, requestsOf } from "./presign-orders.ts";

const VERSION = "3.1163.0";
const PACKAGES = ["client-s3", "s3-request-presigner"] as const;

/** What is used of AWS's packages, which are no dependency of this program: they have no types here. */
interface AwsSdk {
  S3Client: new (options: object) => object;
  GetObjectCommand: new (input: object) => object;
  PutObjectCommand: new (input: object) => object;
  getSignedUrl(client: object, command: object, options: object): Promise<string>;
}

/** Signs as AWS's documentation has it: one client, a command for each URL, one after the other. */
export async function installAwsPresigner(): Promise<(order: Pick<Order, "method" | "count">) => Promise<string[]>> {
  const { S3Client, GetObjectCommand, PutObjectCommand, getSignedUrl } = await load();
  return async (order) => {
    const client = new S3Client({
      ...{ region: "auto", endpoint: HOST, forcePathStyle: true, credentials: CREDENTIALS },
      requestChecksumCalculation: "WHEN_REQUIRED",
    });
    const urls: string[] = [];
    for (const { method, bucket, key, expiresSeconds, headers = {} } of requestsOf(order)) {
      const named = { Bucket: bucket, Key: key };
      const command =
        method === "GET" ? new GetObjectCommand(named) : new PutObjectCommand({ ...named, ...put(headers) });
      const signableHeaders = new Set(Object.keys(headers));
      const options = { expiresIn: expiresSeconds, signingDate: new Date(NOW), signableHeaders };
      urls.push(await getSignedUrl(client, command, options));
    }
    return urls;
  };
}

const put = (headers: NonNullable<PresignRequest["headers"]>) => ({
  ContentLength: Number(headers["content-length"]),
  ContentType: headers["content-type"],
  IfNoneMatch: headers["if-none-match"],
});

/** Into a folder that git ignores, once. */
async function load(): Promise<AwsSdk> {
  const folder = join(PENSTOCK_FOLDER, "aws-sdk");
  const entry = (name: (typeof PACKAGES)[number]) => join(folder, "node_modules/@aws-sdk", name, "dist-cjs/index.js");
  await installOnce({
    what: PACKAGES.map((name) => `@aws-sdk/${name}@${VERSION}`).join(" and "),
    program: entry("s3-request-presigner"),
    install: () => {
      mkdirSync(folder, { recursive: true });
      const packages = PACKAGES.map((name) => `@aws-sdk/${name}@${VERSION}`);
      const args = ["install", "--prefix", folder, "--no-save", "--no-package-lock", "--no-audit", "--no-fund"];
      const wayOut = "To measure without it: npm run bench -- jobs --case presign-10k --peer aws4fetch";
      return run(
        "npm",
        [...args, ...packages],
        `AWS's presigner is installed by npm, and there is no "npm" on the PATH. ${wayOut}`,
      );
    },
  });
  const parts = (await Promise.all(PACKAGES.map(async (name) => import(pathToFileURL(entry(name)).href)))) as object[];
  return Object.assign({}, ...parts) as AwsSdk;
}
